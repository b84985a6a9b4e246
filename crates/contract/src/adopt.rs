//! Taking over the changes of a folder of contracts, contract by contract. A broken contract is refused, and
//! its former version stays in service.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::Contract;
use crate::contracts::{CONTRACT_FILE, ContractSet};
use crate::finding::ContractFinding;

/// Files of contracts, as pairs of path and text.
pub type ContractFiles = Vec<(String, String)>;

/// The result of taking over a folder of contracts.
#[derive(Debug, Clone)]
pub struct ContractAdoption {
    /// The contracts to serve.
    pub contracts: ContractSet,
    /// Their files: the new ones, and the former ones of contracts that were refused.
    pub files: ContractFiles,
    /// The mistakes of the refused contracts, sorted, each once.
    pub refused: Vec<ContractFinding>,
}

/// Files by folder, in the order of the list they come from.
type FolderFiles<'a> = BTreeMap<&'a str, Vec<&'a (String, String)>>;

impl ContractAdoption {
    /// Returns the folders of contracts whose files differ from those in `former`. Folders that are gone are
    /// not in it.
    pub fn changed(&self, former: &ContractFiles) -> BTreeSet<String> {
        let (now, before) = (by_folder(&self.files), by_folder(former));
        let differs = |folder: &&str| now.get(*folder) != before.get(*folder);
        now.keys().copied().filter(differs).map(str::to_owned).collect()
    }
}

impl ContractSet {
    /// Takes `new` over as far as it is sound. `good` are the files that have been in service so far.
    /// `accept` returns an error if the caller cannot serve a contract. A folder that is gone is no longer in
    /// service. Returns `None` if no sound set can be made: then all contracts stay as they are.
    pub fn adopt(
        new: &ContractFiles,
        good: &ContractFiles,
        accept: &dyn Fn(&Contract) -> Result<(), String>,
    ) -> Option<ContractAdoption> {
        // `using` begins with the new files and ends with a sound mix of new and former ones.
        let former = by_folder(good);
        let mut using = by_folder(new);
        let mut refused = Vec::new();

        // Each round takes at least one new folder back, so the loop ends.
        loop {
            let files: ContractFiles = using.values().flatten().map(|file| (*file).clone()).collect();

            // Parse the mix, then ask the caller about each contract.
            let found = match Self::parse(&files) {
                Err(findings) => findings.0,
                Ok(contracts) => {
                    let found = unserved(&contracts, accept);
                    if found.is_empty() {
                        // Several rounds may have found the same mistake.
                        refused.sort();
                        refused.dedup();
                        return Some(ContractAdoption { contracts, files, refused });
                    }
                    found
                }
            };

            // Find the folders to blame: those that the findings name, if they are new.
            let is_new = |folder: &&str| using.get(*folder) != former.get(*folder);
            let named: BTreeSet<&str> = found.iter().map(|finding| folder_of(&finding.file)).collect();
            // Of two contracts that conflict, the one that was there first stays.
            let mut blamed: Vec<&str> =
                using.keys().copied().filter(|f| named.contains(f)).filter(is_new).collect();

            // The findings name only contracts that were sound before: any new folder may be the cause.
            if blamed.is_empty() {
                blamed = using.keys().copied().filter(is_new).collect();
            }

            // Only former files are left, and even they are not sound.
            if blamed.is_empty() {
                return None;
            }

            // Put the blamed folders back to their former files, or take them out if they had none.
            refused.extend(found);
            for folder in blamed {
                match former.get(folder) {
                    Some(files) => drop(using.insert(folder, files.clone())),
                    None => drop(using.remove(folder)),
                }
            }
        }
    }
}

/// Returns `files` with the former files of `folders`, or without these folders if they had none. Sorted by
/// path.
pub fn hold_back(files: &ContractFiles, former: &ContractFiles, folders: &BTreeSet<String>) -> ContractFiles {
    let kept = files.iter().filter(|(path, _)| !folders.contains(folder_of(path)));
    let before = former.iter().filter(|(path, _)| folders.contains(folder_of(path)));
    let mut all: ContractFiles = kept.chain(before).cloned().collect();
    all.sort();
    all
}

/// Returns a finding for each contract that the caller cannot serve, with the caller's own message.
fn unserved(
    contracts: &ContractSet,
    accept: &dyn Fn(&Contract) -> Result<(), String>,
) -> Vec<ContractFinding> {
    let refuse = |contract: &Contract| {
        let message = accept(contract).err()?;
        // The cause is in the worker's settings, for example a missing masking key: the file has no line for
        // it.
        let file = format!("{}/{CONTRACT_FILE}", contract.folder);
        Some(ContractFinding { file, line: None, path: String::new(), message, hint: None })
    };
    contracts.iter().filter_map(refuse).collect()
}

/// Returns the folder of a file; empty if the path has none.
fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Sorts files into their folders.
fn by_folder(files: &ContractFiles) -> FolderFiles<'_> {
    let mut folders = FolderFiles::new();
    for file in files {
        folders.entry(folder_of(&file.0)).or_default().push(file);
    }
    folders
}
