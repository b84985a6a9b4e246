//! Reads the contracts' folder and the masking keys; everything that is decided about them is in `sluice-contract`.

mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use sluice_contract::{ContractFiles, ContractSet, FindingList, KeyRing};
use zeroize::Zeroizing;

use crate::config::{ConfigErrors, SecretReference};

pub use watch::{ContractUse, ContractWatcher, reads};

/// A file of a contract is a page of text; one that is larger is a mistake.
const FILE_LIMIT: u64 = 4 << 20;
/// `schemas/<domain>/<topic>/file`, `schemas/<domain>/views/file`; domains may stand in folders of their own.
const DEPTH: usize = 6;

/// Masking keys by name, each with its epochs: `{pseudonym: {1: {file: …}}}`. A key is at least 32 bytes, in base64.
pub type KeysSection = BTreeMap<String, BTreeMap<u32, SecretReference>>;

/// The contracts' folder as it was read.
#[derive(Debug, Clone)]
pub struct ContractFolderSnapshot {
    /// Where it is.
    pub path: PathBuf,
    /// Its files: path and text, sorted.
    pub files: ContractFiles,
    /// What they say.
    pub contracts: ContractSet,
}

/// Reads every contract under `folder`.
///
/// # Errors
/// Unreadable files, and all findings of all contracts, each with file, line and hint.
pub fn load(folder: &Path) -> Result<ContractSet, ConfigErrors> {
    open(folder).map(|folder| folder.contracts)
}

/// Reads every contract under `path`, and keeps the files to compare with later.
///
/// # Errors
/// As [`load`].
pub fn open(path: &Path) -> Result<ContractFolderSnapshot, ConfigErrors> {
    let files = files(path).map_err(|message| {
        let hint = "`schemas` names the folder that holds <domain>/<topic>/".to_owned();
        ConfigErrors::one("schemas", message, Some(hint))
    })?;
    let contracts = parse(&files)?;
    Ok(ContractFolderSnapshot { path: path.to_owned(), files, contracts })
}

/// Reads every contract under `path`, and the texts of the views beside them: all files, sorted as they were read.
///
/// # Errors
/// As [`load`].
pub fn open_with_view_files(path: &Path) -> Result<ContractFolderSnapshot, ConfigErrors> {
    let mut folder = open(path)?;
    read(path, path, DEPTH, &["sql"], &mut folder.files)
        .map_err(|(path, message)| ConfigErrors::one("schemas", format!("{path}: {message}"), None))?;
    Ok(folder)
}

/// The folder's files, sorted; or what is wrong with one of them.
fn files(folder: &Path) -> Result<ContractFiles, String> {
    let mut files = vec![];
    read(folder, folder, DEPTH, &["avsc", "yaml"], &mut files)
        .map_err(|(path, message)| format!("{path}: {message}"))?;
    files.sort();
    Ok(files)
}

fn parse(files: &ContractFiles) -> Result<ContractSet, ConfigErrors> {
    ContractSet::parse(files).map_err(|findings| errors(&findings))
}

/// Returns findings as mistakes of configuration.
pub fn errors(findings: &FindingList) -> ConfigErrors {
    let mut errors = ConfigErrors::default();
    for finding in &findings.0 {
        let line = finding.line.map_or_else(String::new, |line| format!(":{line}"));
        let path = if finding.path.is_empty() { String::new() } else { format!(" {}", finding.path) };
        errors.add(format!("{}{line}{path}", finding.file), finding.message.clone(), finding.hint.clone());
    }
    errors
}

fn read(
    root: &Path,
    folder: &Path,
    depth: usize,
    kinds: &[&str],
    files: &mut ContractFiles,
) -> Result<(), (String, String)> {
    let at = |path: &Path, error: &dyn std::fmt::Display| (path.display().to_string(), error.to_string());
    for entry in std::fs::read_dir(folder).map_err(|error| at(folder, &error))? {
        let path = entry.map_err(|error| at(folder, &error))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue; // .git, an editor's copy, and the folders that a ConfigMap's links point to
        }
        if path.is_dir() {
            if depth > 1 {
                read(root, &path, depth - 1, kinds, files)?;
            }
        } else if path.extension().is_some_and(|is| kinds.iter().any(|kind| is == *kind)) {
            let size = path.metadata().map_err(|error| at(&path, &error))?.len();
            if size > FILE_LIMIT {
                return Err(at(
                    &path,
                    &format!("is {size} bytes; a contract's file has at most {FILE_LIMIT}"),
                ));
            }
            let text = std::fs::read_to_string(&path).map_err(|error| at(&path, &error))?;
            files.push((name(root, &path), text));
        }
    }
    Ok(())
}

/// A file's path. A ConfigMap has no folders: `aviation__flight__value.avsc` in the root stands for
/// `aviation/flight/value.avsc`.
fn name(root: &Path, path: &Path) -> String {
    let flat = path.parent() == Some(root);
    match path.file_name().and_then(|name| name.to_str()).filter(|name| flat && name.contains("__")) {
        Some(name) => root.join(name.replace("__", "/")).display().to_string(),
        None => path.display().to_string(),
    }
}

/// Reveals the masking keys.
///
/// # Errors
/// Every key that is missing, not base64 or too short, by name; never its content.
pub fn keys(section: &KeysSection) -> Result<KeyRing, ConfigErrors> {
    let mut ring = KeyRing::new();
    let mut errors = ConfigErrors::default();
    for (name, epochs) in section {
        for (epoch, secret) in epochs {
            let path = format!("keys.{name}.{epoch}");
            let hint = || Some("make one with: head -c 32 /dev/urandom | base64".to_owned());
            let text = match secret.reveal(&path) {
                Ok(text) => Zeroizing::new(text),
                Err(mut missing) => {
                    errors.0.append(&mut missing.0);
                    continue;
                }
            };
            match base64::engine::general_purpose::STANDARD.decode(text.trim()) {
                Err(_) => errors.add(path, "is not base64", hint()),
                Ok(bytes) => {
                    if let Err(error) = ring.insert(name, *epoch, Zeroizing::new(bytes)) {
                        errors.add(path, error.to_string(), hint());
                    }
                }
            }
        }
    }
    errors.or(ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_map_is_read_as_the_folders_it_stands_for() {
        let dir = std::env::temp_dir().join(format!("sluice-contracts-{}", std::process::id()));
        let real = dir.join("..2026_11_21");
        std::fs::create_dir_all(&real).unwrap();
        std::fs::write(real.join("club__member__value.avsc"), "{}").unwrap();
        std::os::unix::fs::symlink("..2026_11_21", dir.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/club__member__value.avsc", dir.join("club__member__value.avsc"))
            .unwrap();
        let found = files(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            found,
            Ok(vec![(dir.join("club/member/value.avsc").display().to_string(), "{}".to_owned())])
        );
    }
}
