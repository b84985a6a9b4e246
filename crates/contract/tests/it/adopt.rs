//! A folder that changes under a running worker.

use sluice_contract::{Contract, ContractAdoption, ContractFiles, ContractSet, hold_back};

use crate::files;

const ANY: fn(&Contract) -> Result<(), String> = |_| Ok(());

fn ids(adopted: &ContractAdoption) -> Vec<&str> {
    adopted.contracts.iter().map(|contract| contract.id.as_str()).collect()
}

fn without(files: ContractFiles, folder: &str) -> ContractFiles {
    files.into_iter().filter(|(path, _)| !path.starts_with(folder)).collect()
}

fn edited(mut files: ContractFiles, file: &str, from: &str, to: &str) -> ContractFiles {
    let (_, text) = files.iter_mut().find(|(path, _)| path == file).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    *text = text.replace(from, to);
    files
}

#[test]
fn a_new_folder_is_served_and_one_that_is_gone_is_not() {
    let all = files::all();
    let fewer = without(all.clone(), files::FLIGHT);
    let adopted = ContractSet::adopt(&all, &fewer, &ANY).unwrap();
    assert_eq!((ids(&adopted).len(), adopted.refused.len()), (4, 0));
    assert_eq!(adopted.changed(&fewer).into_iter().collect::<Vec<_>>(), [files::FLIGHT]);
    let adopted = ContractSet::adopt(&fewer, &all, &ANY).unwrap();
    assert_eq!(ids(&adopted).len(), 3);
}

#[test]
fn a_broken_contract_is_refused_and_the_rest_goes_on() {
    let good = without(files::all(), files::FLIGHT);
    let contract = format!("{}/contract.odcs.yaml", files::FLIGHT);
    let new = edited(files::all(), &contract, "kind: DataContract", "kind: [");
    let adopted = ContractSet::adopt(&new, &good, &ANY).unwrap();
    assert_eq!(ids(&adopted).len(), 3);
    assert!(adopted.refused.iter().all(|finding| finding.file == contract), "{:?}", adopted.refused);
    assert!(!adopted.refused.is_empty() && adopted.changed(&good).is_empty());
}

#[test]
fn a_contract_that_breaks_is_served_as_it_was() {
    let good = files::all();
    let contract = format!("{}/contract.odcs.yaml", files::METER_READING);
    let new = edited(good.clone(), &contract, "masking", "maskin");
    let new =
        edited(new, &format!("{}/contract.odcs.yaml", files::ACCOUNT_PROFILE), "version: 1.", "version: 2.");
    let adopted = ContractSet::adopt(&new, &good, &ANY).unwrap();
    assert_eq!(ids(&adopted).len(), 4);
    assert!(adopted.refused.iter().all(|finding| finding.file == contract));
    let version =
        |id: &str| adopted.contracts.iter().find(|contract| contract.id == id).unwrap().version.clone();
    assert!(version("account-profile").starts_with("2."), "a sound change beside it is taken");
    assert_eq!(adopted.changed(&good).into_iter().collect::<Vec<_>>(), [files::ACCOUNT_PROFILE]);
}

#[test]
fn of_two_that_do_not_go_together_the_one_that_was_there_stays() {
    let good = files::all();
    let mut new = good.clone();
    for (path, text) in &good {
        if let Some(rest) = path.strip_prefix(files::FLIGHT) {
            new.push((format!("schemas/aviation/another{rest}"), text.clone()));
        }
    }
    let adopted = ContractSet::adopt(&new, &good, &ANY).unwrap();
    assert_eq!(ids(&adopted).len(), 4);
    assert!(!adopted.refused.is_empty() && adopted.changed(&good).is_empty());
}

#[test]
fn what_the_worker_cannot_serve_is_refused_with_its_words() {
    let all = files::all();
    let good = without(all.clone(), files::FLIGHT);
    let picky = |contract: &Contract| match contract.folder.as_str() {
        files::FLIGHT => Err("no key named pseudonym".to_owned()),
        _ => Ok(()),
    };
    let adopted = ContractSet::adopt(&all, &good, &picky).unwrap();
    assert_eq!(ids(&adopted).len(), 3);
    assert_eq!(adopted.refused[0].message, "no key named pseudonym");
}

#[test]
fn nothing_at_all_changes_nothing() {
    let good = files::all();
    assert!(ContractSet::adopt(&ContractFiles::new(), &good, &ANY).is_none());
}

#[test]
fn what_is_held_back_is_as_it_was() {
    let good = without(files::all(), files::FLIGHT);
    let folders = [files::FLIGHT.to_owned()].into();
    let mut expected = good.clone();
    expected.sort();
    assert_eq!(hold_back(&files::all(), &good, &folders), expected);
}
