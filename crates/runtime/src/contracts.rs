//! Reads the contracts' folder and the masking keys. `sluice-contract` makes every decision about them.

mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use sluice_contract::{
    ContractFiles, ContractSelection, ContractSet, FindingList, KeyRing, SelectionMistake,
};
use zeroize::Zeroizing;

use crate::config::{ConfigError, ConfigErrors, FilePlace, MistakeOrigin, SecretReference};

pub use watch::{ContractUse, ContractWatcher, reads};

/// Largest size of a contract's file, in bytes. Such a file is a page of text; a larger one is a mistake.
const FILE_LIMIT: u64 = 4 << 20;
/// Depth of folders below the root that is searched. `schemas/<domain>/<topic>/file` and
/// `schemas/<domain>/views/file` need three; the rest lets domains have parent folders of their own.
const DEPTH: usize = 6;

/// Masking keys by name, each with its epochs: `{pseudonym: {1: {file: …}}}`. A key is at least 32 bytes, in
/// base64.
pub type KeysSection = BTreeMap<String, BTreeMap<u32, SecretReference>>;

/// The contracts' folder at the time of reading.
#[derive(Debug, Clone)]
pub struct ContractFolderSnapshot {
    /// Path of the folder.
    pub path: PathBuf,
    /// Its files: path and text, sorted.
    pub files: ContractFiles,
    /// The contracts in these files.
    pub contracts: ContractSet,
}

/// Reads every contract under `folder`.
///
/// # Errors
/// Fails with the unreadable files, or with all findings of all contracts, each with file, line and hint.
pub fn load(folder: &Path) -> Result<ContractSet, ConfigErrors> {
    open(folder).map(|folder| folder.contracts)
}

/// Reads every contract under `path` and keeps the files for a later comparison.
///
/// # Errors
/// As [`load`].
pub fn open(path: &Path) -> Result<ContractFolderSnapshot, ConfigErrors> {
    let files = read_contract_files(path).map_err(|message| {
        let hint = "`schemas` names the folder that holds <domain>/<topic>/".to_owned();
        ConfigErrors::one("schemas", message, Some(hint))
    })?;
    let contracts = parse(&files)?;
    Ok(ContractFolderSnapshot { path: path.to_owned(), files, contracts })
}

/// Reads every contract under `path` and the texts of the SQL views beside them. The snapshot's files are
/// those of the contracts, sorted, and after them the views in the order of reading.
///
/// # Errors
/// As [`load`].
pub fn open_with_view_files(path: &Path) -> Result<ContractFolderSnapshot, ConfigErrors> {
    let mut snapshot = open(path)?;
    // The views come after parsing, because they are no files of contracts.
    read_folder(path, path, DEPTH, &["sql"], &mut snapshot.files)
        .map_err(|(path, message)| ConfigErrors::one("schemas", format!("{path}: {message}"), None))?;
    Ok(snapshot)
}

/// Returns the selection of a worker's setting `contracts`.
///
/// # Errors
/// Fails with every pattern that selects no contract.
pub fn selection(patterns: &[String], contracts: &ContractSet) -> Result<ContractSelection, ConfigErrors> {
    let selection = ContractSelection::new(patterns.iter().map(String::as_str));
    let mut errors = ConfigErrors::default();
    for SelectionMistake { index, message, hint } in selection.check(contracts) {
        errors.add(format!("contracts[{index}]"), message, Some(hint));
    }
    errors.or(selection)
}

/// Reads the texts of the contracts and of the SQL views under `path`, sound or not.
///
/// # Errors
/// Fails with the files that cannot be read.
pub fn read_with_view_files(path: &Path) -> Result<ContractFiles, ConfigErrors> {
    let mut files = vec![];
    read_folder(path, path, DEPTH, &["avsc", "yaml", "sql"], &mut files)
        .map_err(|(path, message)| ConfigErrors::one("schemas", format!("{path}: {message}"), None))?;
    files.sort();
    Ok(files)
}

/// Returns the folder's contract files, sorted.
///
/// # Errors
/// Fails with path and reason if a file or folder cannot be read.
fn read_contract_files(folder: &Path) -> Result<ContractFiles, String> {
    let mut files = vec![];
    read_folder(folder, folder, DEPTH, &["avsc", "yaml"], &mut files)
        .map_err(|(path, message)| format!("{path}: {message}"))?;
    // The order in which a file system lists a folder is not fixed. Snapshots are compared, so it has to be.
    files.sort();
    Ok(files)
}

/// Parses the contracts.
fn parse(files: &ContractFiles) -> Result<ContractSet, ConfigErrors> {
    ContractSet::parse(files).map_err(|findings| errors(&findings))
}

/// Returns findings as mistakes of contracts.
pub fn errors(findings: &FindingList) -> ConfigErrors {
    let mistakes = findings.0.iter().map(|finding| ConfigError {
        place: (!finding.file.is_empty())
            .then(|| FilePlace { file: finding.file.clone(), line: finding.line }),
        path: finding.path.clone(),
        message: finding.message.clone(),
        hint: finding.hint.clone(),
        origin: MistakeOrigin::Contract,
    });
    ConfigErrors(mistakes.collect())
}

/// Adds the files of `folder` whose extension is one of `kinds` to `files`, and those of its folders down to
/// `depth`.
///
/// # Errors
/// Fails with the path and the reason if a file or folder cannot be read or a file is too large.
fn read_folder(
    root: &Path,
    folder: &Path,
    depth: usize,
    kinds: &[&str],
    files: &mut ContractFiles,
) -> Result<(), (String, String)> {
    let failed_at =
        |path: &Path, error: &dyn std::fmt::Display| (path.display().to_string(), error.to_string());
    for entry in std::fs::read_dir(folder).map_err(|error| failed_at(folder, &error))? {
        let path = entry.map_err(|error| failed_at(folder, &error))?.path();

        // Hidden: .git, an editor's copy, and the folders that a ConfigMap's links point to.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }

        // The depth bounds the search if a link leads back to a parent folder.
        if path.is_dir() {
            if depth > 1 {
                read_folder(root, &path, depth - 1, kinds, files)?;
            }
        } else if path.extension().is_some_and(|is| kinds.iter().any(|kind| is == *kind)) {
            // The size is checked first, so that a large file is never read into memory.
            let size = path.metadata().map_err(|error| failed_at(&path, &error))?.len();
            if size > FILE_LIMIT {
                return Err(failed_at(
                    &path,
                    &format!(
                        "the file has {size} bytes; expected at most {FILE_LIMIT} for a contract's file"
                    ),
                ));
            }

            let text = std::fs::read_to_string(&path).map_err(|error| failed_at(&path, &error))?;
            files.push((contract_path(root, &path), text));
        }
    }
    Ok(())
}

/// Returns the path under which a file counts. A ConfigMap has no folders: `aviation__flight__value.avsc` in
/// the root is read as `aviation/flight/value.avsc`.
fn contract_path(root: &Path, path: &Path) -> String {
    // Only a file in the root is flat: further down two underscores are part of a name.
    let flat = path.parent() == Some(root);
    match path.file_name().and_then(|name| name.to_str()).filter(|name| flat && name.contains("__")) {
        Some(name) => root.join(name.replace("__", "/")).display().to_string(),
        None => path.display().to_string(),
    }
}

/// Reveals the masking keys.
///
/// # Errors
/// Fails with the name of every key that is missing, not base64 or too short; never with its content.
pub fn keys(section: &KeysSection) -> Result<KeyRing, ConfigErrors> {
    let mut ring = KeyRing::new();
    let mut errors = ConfigErrors::default();
    for (name, epochs) in section {
        for (epoch, secret) in epochs {
            let path = format!("keys.{name}.{epoch}");
            let hint = || Some("make one with: head -c 32 /dev/urandom | base64".to_owned());

            // The text of a key is wiped from memory when it goes out of scope.
            let text = match secret.reveal(&path) {
                Ok(text) => Zeroizing::new(text),
                Err(mut missing) => {
                    // All mistakes are reported together, so the other keys are looked at as well.
                    errors.0.append(&mut missing.0);
                    continue;
                }
            };

            // A decoding error would quote a byte of the key: the message names the expectation only.
            match base64::engine::general_purpose::STANDARD.decode(text.trim()) {
                Err(_) => errors.add(path, "expected base64", hint()),
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
        let found = read_contract_files(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            found,
            Ok(vec![(dir.join("club/member/value.avsc").display().to_string(), "{}".to_owned())])
        );
    }
}
