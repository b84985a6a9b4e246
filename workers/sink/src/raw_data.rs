//! Raw data in stores: raw topics and their dead letters are landed only into the location that their contract
//! names for them, by a sink that lands nothing else.
//!
//! Every reader of a lake reads all of its tables. A raw table beside the masked ones is open to them.

use std::path::{Component, Path, PathBuf};

use sluice_contract::{Contract, ContractSet};
use sluice_core::names::DEAD_LETTER_SUFFIX;
use sluice_location::Location;
use sluice_runtime::config::ConfigErrors;

use crate::config::{SinkConfig, StoreConfig};

/// Checks the topics and stores of a sink against the contracts. `None` means that there are no contracts.
pub(crate) fn check(config: &SinkConfig, contracts: Option<&ContractSet>) -> ConfigErrors {
    let mut errors = ConfigErrors::default();
    let folders: Vec<(String, PathBuf)> = config
        .stores
        .iter()
        .enumerate()
        // A store without a folder has an error of its own.
        .filter_map(|(index, store)| Some((store_place(index, store), plain(&store.folder().ok()?))))
        .collect();

    // Each restricted topic must go where its contract says.
    let mut restricted = 0;
    for (index, topic) in config.topics.iter().enumerate() {
        let place = format!("topics[{index}]");
        let Some(contracts) = contracts else {
            if topic.ends_with(DEAD_LETTER_SUFFIX) {
                let hint = "set `schemas` to the folder of the contracts".to_owned();
                let message =
                    "dead letters can be raw data, and there are no contracts that decide about them";
                errors.add(place, message, Some(hint));
            }
            continue;
        };
        let Some(contract) = owner(contracts, topic) else { continue };
        restricted += 1;
        let Some(location) = &contract.raw_location else {
            let hint = format!(
                "add `- {{property: rawLocation, value: <folder>}}` to {}, or land {} instead",
                contract.file(),
                contract.masked_topic
            );
            let message = format!("`{topic}` is raw data, and its contract names no location for raw data");
            errors.add(place, message, Some(hint));
            continue;
        };
        for (store, folder) in &folders {
            if !folder.starts_with(local(location)) {
                let message = format!(
                    "`{topic}` is raw data: its contract allows {location} only, and the store is at {}",
                    folder.display()
                );
                let hint = "give raw data a sink of its own, with stores in that location".to_owned();
                errors.add(store.clone(), message, Some(hint));
            }
        }
    }

    // One sink has one principal: it must not read raw topics and write open tables.
    let lands_all = config.topics.is_empty();
    if restricted > 0 && restricted < config.topics.len() {
        let message = "names raw data and open topics: expected one kind";
        let hint = "start a sink of its own for raw data, with its own group and principal".to_owned();
        errors.add("topics", message, Some(hint));
    }

    // Open tables must not be beside raw ones either.
    if restricted == 0 || lands_all {
        for contract in contracts.into_iter().flat_map(ContractSet::iter) {
            let Some(location) = &contract.raw_location else { continue };
            for (store, folder) in &folders {
                if folder.starts_with(local(location)) || local(location).starts_with(folder) {
                    let message = format!(
                        "{} is beside the raw data of {}, which is at {location}",
                        folder.display(),
                        contract.id
                    );
                    let hint = "land open topics in another folder, neither above nor below".to_owned();
                    errors.add(store.clone(), message, Some(hint));
                }
            }
        }
    }
    errors
}

/// Returns the contract whose raw records a topic holds: its raw topic, or the dead letters of it.
fn owner<'c>(contracts: &'c ContractSet, topic: &str) -> Option<&'c Contract> {
    contracts.iter().find(|contract| contract.raw_topic == topic || contract.raw_dead_letter() == topic)
}

/// Returns the path of a store's setting.
fn store_place(index: usize, store: &StoreConfig) -> String {
    format!("stores[{index}].{}.path", store.kind())
}

/// Returns the folder of a location, in plain form; the text itself if it is no folder of this machine.
fn local(location: &str) -> PathBuf {
    let folder =
        location.parse::<Location>().ok().and_then(|location| location.local_folder().map(Path::to_owned));
    plain(&folder.unwrap_or_else(|| PathBuf::from(location)))
}

/// Returns an absolute path without `.`, `..` and links, as far as its folders exist.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut parts = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => {}
            other => parts.push(other),
        }
    }
    // The nearest folder that exists, with its links followed, and the rest behind it.
    for above in parts.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), parts.strip_prefix(above)) {
            return real.join(rest);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "string"}]}"#;

    fn contracts(more: &str) -> ContractSet {
        let text = format!(
            "apiVersion: v3.1.0\nkind: DataContract\nid: r\nversion: 1.0.0\nstatus: active\ndomain: red\n\
             team: {{name: t}}\nslaProperties: [{{property: retention, value: 7, unit: d}}]\n\
             customProperties:\n  - {{property: maskedTopic, value: red.r.masked.v1}}\n  - {{property: recordKey, value: id}}\n{more}\
             schema:\n  - name: r\n    physicalName: red.r.v1\n    physicalType: topic\n    logicalType: object\n    properties:\n\
             \x20     - {{name: id, logicalType: string, required: true, classification: internal, customProperties: [{{property: masking, value: {{op: keep}}}}]}}\n"
        );
        let files = [
            ("red/r/contract.odcs.yaml".to_owned(), text),
            ("red/r/value.avsc".to_owned(), VALUE.to_owned()),
        ];
        ContractSet::parse(&files).unwrap_or_else(|findings| panic!("{findings}"))
    }

    fn places(topics: &str, stores: &str, contracts: Option<&ContractSet>) -> Vec<String> {
        let text = format!(
            "kafka: {{brokers: 'b:9092'}}\nregistry: {{url: 'http://r'}}\ngroup: lake\nstores: {stores}\ntopics: {topics}\n"
        );
        let config: SinkConfig = sluice_runtime::config::parse(&text, "sink.yaml").unwrap();
        check(&config, contracts).0.into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn raw_data_goes_only_where_its_contract_says_and_never_beside_open_tables() {
        let (nowhere, named) = (contracts(""), contracts("  - {property: rawLocation, value: /raw}\n"));
        let delta = |folder: &str| format!("[{{delta: {{path: {folder}}}}}]");
        for (topics, folder, contracts, wrong) in [
            ("[red.r.v1]", "/lake", &nowhere, &["topics[0]"][..]),
            ("[red.r.v1.dead-letter]", "/lake", &nowhere, &["topics[0]"]),
            ("[red.r.v1]", "/lake", &named, &["stores[0].delta.path"]),
            ("[red.r.v1]", "/raw/../lake", &named, &["stores[0].delta.path"]),
            ("[red.r.v1]", "/rawer", &named, &["stores[0].delta.path"]),
            ("[red.r.v1]", "/raw/delta", &named, &[]),
            ("[red.r.v1, red.r.v1.dead-letter]", "file:///raw", &named, &[]),
            ("[red.r.v1, red.r.masked.v1]", "/raw", &named, &["topics"]),
            ("[red.r.masked.v1]", "/raw/open", &named, &["stores[0].delta.path"]),
            ("[red.r.masked.v1]", "/", &named, &["stores[0].delta.path"]),
            ("[]", "/raw", &named, &["stores[0].delta.path"]),
            ("[red.r.masked.v1, red.r.masked.v1.dead-letter, other]", "/lake", &named, &[]),
            ("[]", "/lake", &named, &[]),
        ] {
            assert_eq!(places(topics, &delta(folder), Some(contracts)), wrong, "{topics} in {folder}");
        }
        assert_eq!(places("[a.v1, a.v1.dead-letter]", &delta("/lake"), None), ["topics[1]"]);
    }
}
