//! Taking over what has changed in a folder of contracts, contract by contract: one that is broken is refused, and what
//! was served in its place before goes on being served.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::Contract;
use crate::contracts::{CONTRACT_FILE, ContractSet};
use crate::finding::ContractFinding;

/// Files of contracts: path and text.
pub type ContractFiles = Vec<(String, String)>;

/// What a folder of contracts comes to.
#[derive(Debug, Clone)]
pub struct ContractAdoption {
    /// The contracts to serve.
    pub contracts: ContractSet,
    /// Their files: the new ones, and the former ones of contracts that were refused.
    pub files: ContractFiles,
    /// What is wrong with those that were refused; sorted.
    pub refused: Vec<ContractFinding>,
}

/// Files of one folder.
type FolderFiles<'a> = BTreeMap<&'a str, Vec<&'a (String, String)>>;

impl ContractAdoption {
    /// Folders of contracts whose files are not the same in `former`.
    pub fn changed(&self, former: &ContractFiles) -> BTreeSet<String> {
        let (now, before) = (by_folder(&self.files), by_folder(former));
        let differs = |folder: &&str| now.get(*folder) != before.get(*folder);
        now.keys().copied().filter(differs).map(str::to_owned).collect()
    }
}

impl ContractSet {
    /// Takes `new` over as far as it is sound; `good` are the files served so far, and `accept` says whether the caller
    /// can serve a contract. A folder that is gone is served no more. `None` if nothing can be made of it at all: then
    /// everything stays as it is.
    pub fn adopt(
        new: &ContractFiles,
        good: &ContractFiles,
        accept: &dyn Fn(&Contract) -> Result<(), String>,
    ) -> Option<ContractAdoption> {
        let former = by_folder(good);
        let mut using = by_folder(new);
        let mut refused = Vec::new();
        loop {
            let files: ContractFiles = using.values().flatten().map(|file| (*file).clone()).collect();
            let found = match Self::parse(&files) {
                Err(findings) => findings.0,
                Ok(contracts) => {
                    let found = unserved(&contracts, accept);
                    if found.is_empty() {
                        refused.sort();
                        refused.dedup();
                        return Some(ContractAdoption { contracts, files, refused });
                    }
                    found
                }
            };
            let is_new = |folder: &&str| using.get(*folder) != former.get(*folder);
            let named: BTreeSet<&str> = found.iter().map(|finding| folder_of(&finding.file)).collect();
            // Two contracts that do not go together: the one that was there first stays.
            let mut blamed: Vec<&str> =
                using.keys().copied().filter(|f| named.contains(f)).filter(is_new).collect();
            if blamed.is_empty() {
                blamed = using.keys().copied().filter(is_new).collect();
            }
            if blamed.is_empty() {
                return None;
            }
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

/// The same files, but of `folders` the former ones, or none if there were none.
pub fn hold_back(files: &ContractFiles, former: &ContractFiles, folders: &BTreeSet<String>) -> ContractFiles {
    let kept = files.iter().filter(|(path, _)| !folders.contains(folder_of(path)));
    let before = former.iter().filter(|(path, _)| folders.contains(folder_of(path)));
    let mut all: ContractFiles = kept.chain(before).cloned().collect();
    all.sort();
    all
}

fn unserved(
    contracts: &ContractSet,
    accept: &dyn Fn(&Contract) -> Result<(), String>,
) -> Vec<ContractFinding> {
    let refuse = |contract: &Contract| {
        let message = accept(contract).err()?;
        let file = format!("{}/{CONTRACT_FILE}", contract.folder);
        Some(ContractFinding { file, line: None, path: String::new(), message, hint: None })
    };
    contracts.iter().filter_map(refuse).collect()
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn by_folder(files: &ContractFiles) -> FolderFiles<'_> {
    let mut folders = FolderFiles::new();
    for file in files {
        folders.entry(folder_of(&file.0)).or_default().push(file);
    }
    folders
}
