//! Where a refusal is to be mended, and how.

use super::{CLEANUP, PlanRefusal, RETENTION};
use sluice_contract::contract::{Contract, value_subject};
use sluice_contract::contracts::ContractSet;
use sluice_contract::key::{self, key_subject};

impl PlanRefusal {
    /// File and line that ask for what is refused; `None` if no contract does.
    pub fn place(&self, contracts: &ContractSet) -> Option<(String, u32)> {
        let of_topic = |name: &str| contracts.iter().find(|contract| speaks_of(contract, name));
        match self {
            Self::FewerPartitions { topic, .. } => {
                of_topic(topic).map(|contract| (contract.file(), contract.line("customProperties.topic")))
            }
            Self::ShorterRetention { topic, .. } => {
                of_topic(topic).map(|contract| (contract.file(), contract.line("slaProperties.retention")))
            }
            Self::OtherCleanup { topic, .. } => {
                of_topic(topic).map(|contract| (contract.file(), contract.line("customProperties.topic")))
            }
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
                let is_of = |contract: &&Contract| {
                    let facts = contract.facts.as_ref().map(|facts| &facts.topic);
                    let topics = [Some(&contract.raw_topic), Some(&contract.masked_topic), facts];
                    topics.into_iter().flatten().any(|topic| value_subject(topic) == *subject)
                };
                contracts.iter().find(is_of).map(|contract| (contract.file(), contract.line(path)))
            }
            Self::Table { topic, path, .. } => {
                of_topic(topic).map(|contract| (contract.file(), contract.line(path)))
            }
            Self::Leak { leak } => Some((leak.file.clone(), leak.line)),
        }
    }

    /// What would mend it.
    pub fn hint(&self) -> String {
        match self {
            Self::FewerPartitions { is, .. } => format!("say `partitions: {is}` in the contract"),
            Self::ShorterRetention { .. } => format!("`--allow` sets a shorter {RETENTION} all the same"),
            Self::OtherCleanup { .. } => format!("`--allow` sets another {CLEANUP} all the same"),
            Self::Incompatible { breaks, .. } => match breaks.first() {
                Some(first) if first.why.contains("no default") => {
                    "give the field a default, or make a new topic with the next version in its name".to_owned()
                }
                _ => "keep type and masking as they were, or make a new topic with the next version in its name"
                    .to_owned(),
            },
            Self::Table { .. } => "keep the type, or make a new topic with the next version in its name".to_owned(),
            Self::Leak { leak } => leak.hint.clone(),
        }
    }
}

/// Is it one of the contract's topics, or the dead letters of one?
fn speaks_of(contract: &Contract, name: &str) -> bool {
    let name = name.strip_suffix(".dead-letter").unwrap_or(name);
    let facts = contract.facts.as_ref().map(|facts| facts.topic.as_str());
    name == contract.raw_topic || name == contract.masked_topic || facts == Some(name)
}
