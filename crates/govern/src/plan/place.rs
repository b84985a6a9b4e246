//! The file and line at which a refusal can be mended, and a hint.

use super::{CLEANUP, PlanRefusal, RETENTION};
use sluice_contract::contract::{Contract, value_subject};
use sluice_contract::contracts::ContractSet;
use sluice_contract::key::{self, key_subject};

impl PlanRefusal {
    /// Returns the file and line that ask for the refused change; `None` if no contract asks for it.
    pub fn place(&self, contracts: &ContractSet) -> Option<(String, u32)> {
        let of_topic = |name: &str| contracts.iter().find(|contract| has_topic(contract, name));
        match self {
            // Settings of a topic: the line of the setting.
            Self::FewerPartitions { topic, .. } => {
                of_topic(topic).map(|contract| (contract.file(), contract.line("customProperties.topic")))
            }
            Self::ShorterRetention { topic, .. } => {
                of_topic(topic).map(|contract| (contract.file(), contract.line("slaProperties.retention")))
            }
            Self::OtherCleanup { topic, .. } => {
                of_topic(topic).map(|contract| (contract.file(), contract.line("customProperties.topic")))
            }

            // Schemas: the line of the first broken field. A subject of keys is looked for first, because a
            // key's path has a prefix in the contract file.
            Self::Incompatible { subject, breaks, .. } => {
                let path = breaks.first().map(|first| first.path.as_str()).unwrap_or_default();
                let of_key = |contract: &Contract| {
                    [&contract.raw_topic, &contract.masked_topic]
                        .map(|topic| key_subject(topic))
                        .contains(subject)
                };
                if let Some(contract) = contracts.iter().find(|contract| of_key(contract)) {
                    return Some((contract.file(), contract.line(&key::place(path))));
                }

                // Else a subject of values: raw, masked or facts.
                let is_of = |contract: &&Contract| {
                    let facts = contract.facts.as_ref().map(|facts| &facts.topic);
                    let topics = [Some(&contract.raw_topic), Some(&contract.masked_topic), facts];
                    topics.into_iter().flatten().any(|topic| value_subject(topic) == *subject)
                };
                contracts.iter().find(is_of).map(|contract| (contract.file(), contract.line(path)))
            }

            // A table's refusal has the field's path, a leak carries its own file and line.
            Self::Table { topic, path, .. } => {
                of_topic(topic).map(|contract| (contract.file(), contract.line(path)))
            }
            Self::View { file, .. } => Some((file.clone(), 1)),
            Self::Unkept { setting } => Some((setting.file.clone(), setting.line)),
            Self::Leak { leak } => Some((leak.file.clone(), leak.line)),
        }
    }

    /// Returns the action that mends the refusal.
    pub fn hint(&self) -> String {
        match self {
            Self::FewerPartitions { is, .. } => format!("set `partitions: {is}` in the contract"),
            Self::ShorterRetention { .. } => format!("use `--allow` to set the shorter {RETENTION}"),
            Self::OtherCleanup { .. } => format!("use `--allow` to set the other {CLEANUP}"),
            // A missing default is the one cause that the author can mend without a new topic.
            Self::Incompatible { breaks, .. } => match breaks.first() {
                Some(first) if first.why.contains("no default") => {
                    "give the field a default, or make a new topic with the next version in its name".to_owned()
                }
                _ => "keep type and masking as they were, or make a new topic with the next version in its name"
                    .to_owned(),
            },
            Self::Table { .. } => "keep the type, or make a new topic with the next version in its name".to_owned(),
            Self::View { hint, .. } => hint.clone(),
            Self::Unkept { setting } => setting.hint.clone(),
            Self::Leak { leak } => leak.hint.clone(),
        }
    }
}

/// Returns true if this is one of the contract's topics, or the topic of its dead letters.
fn has_topic(contract: &Contract, name: &str) -> bool {
    let name = name.strip_suffix(sluice_core::names::DEAD_LETTER_SUFFIX).unwrap_or(name);
    let facts = contract.facts.as_ref().map(|facts| facts.topic.as_str());
    name == contract.raw_topic || name == contract.masked_topic || facts == Some(name)
}
