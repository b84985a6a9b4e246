//! The topics whose records may be shown, and to which role.

use sluice_contract::contract::{Contract, ContractRole, RoleView};
use sluice_contract::finding::did_you_mean;
use sluice_core::names::DEAD_LETTER_SUFFIX;
use sluice_govern::plan::{DesiredTopic, TopicPurpose};
use sluice_runtime::config::ConfigErrors;
use sluice_wire::{DatumSchema, LeafInfo};

use super::TopicLook;

/// A topic whose records may be shown.
pub(super) struct ReadableTopic<'c> {
    /// Its name.
    pub(super) name: &'c str,
    /// Its contract.
    contract: &'c Contract,
    /// True if its records, or those that its dead letters are about, are masked ones.
    masked: bool,
    /// The fleet's schema of facts, if its records are facts.
    fact: Option<&'c DatumSchema>,
}

impl TopicLook {
    /// Returns a topic of the contracts if the role may read it. Without a role only open topics may be read.
    ///
    /// # Errors
    /// Fails if no contract has the topic or the role, and if the role may not read it. The error names those that
    /// would do.
    pub(super) fn readable(&self, name: &str, role: Option<&str>) -> Result<ReadableTopic<'_>, ConfigErrors> {
        let topics = || self.desired.topics.iter().filter(|topic| topic.purpose != TopicPurpose::Receipts);
        let found = topics().find(|topic| topic.name == name);
        let found = found.and_then(|topic| {
            Some((topic, self.contracts.iter().find(|contract| contract.id == topic.contract)?))
        });
        let Some((topic, contract)) = found else {
            let hint = did_you_mean(name, topics().map(|topic| topic.name.as_str()));
            let hint = hint.unwrap_or_else(|| "`sluice topics` lists them".to_owned());
            return Err(ConfigErrors::one("topic", format!("no contract has the topic {name}"), Some(hint)));
        };
        check_role(topic, contract, role)?;

        // A dead letter has the value of its source.
        let source = name.strip_suffix(DEAD_LETTER_SUFFIX).unwrap_or(name);
        let is_fact = contract.facts.as_ref().is_some_and(|facts| facts.topic == source);
        Ok(ReadableTopic {
            name: &topic.name,
            contract,
            masked: source == contract.masked_topic,
            fact: self.contracts.fact().filter(|_| is_fact),
        })
    }
}

impl ReadableTopic<'_> {
    /// Tells whether its keys have a schema of their own. Keys of facts are texts.
    pub(super) fn has_key_schema(&self) -> bool {
        self.fact.is_none() && self.contract.record_key.schema().is_some()
    }

    /// Returns the leaves of its values, as the contract has them.
    pub(super) fn leaves(&self) -> Vec<LeafInfo> {
        match self.fact {
            Some(fact) => fact.leaves(),
            None if self.masked => self.contract.masked_schema().leaves(),
            None => self.contract.value.leaves(),
        }
    }
}

/// Checks that the role may read the topic.
fn check_role(topic: &DesiredTopic, contract: &Contract, role: Option<&str>) -> Result<(), ConfigErrors> {
    // The role that was named must exist, also where the topic is open to all.
    let named = role.map(|name| (name, contract.roles.iter().find(|role| role.name == name)));
    if let Some((name, None)) = named {
        let names: Vec<&str> = contract.roles.iter().map(|role| role.name.as_str()).collect();
        let hint = did_you_mean(name, names.iter().copied());
        let hint = hint.unwrap_or_else(|| match names.len() {
            0 => "the contract has no roles".to_owned(),
            _ => format!("its roles: {}", names.join(", ")),
        });
        let message = format!("the contract {} has no role {name}", contract.id);
        return Err(ConfigErrors::one("--as", message, Some(hint)));
    }

    // Without a name the most closed role is taken.
    let outsider = ContractRole {
        name: String::new(),
        view: RoleView::Masked,
        reads: true,
        writes: false,
        operates: false,
    };
    let role = named.and_then(|(_, role)| role).unwrap_or(&outsider);
    if topic.is_open_to(role) {
        return Ok(());
    }

    // The sentence names the roles that may, and the topic that everyone may read instead.
    let kind = match topic.purpose {
        TopicPurpose::DeadLetter => "dead letters with raw values",
        _ => "raw records",
    };
    let message = match role.name.as_str() {
        "" => format!("{} holds {kind} and is not shown without a role", topic.name),
        name => {
            format!("{} holds {kind}, and the role {name} of {} has no `view: raw`", topic.name, contract.id)
        }
    };
    let able: Vec<_> = contract
        .roles
        .iter()
        .filter(|role| topic.is_open_to(role))
        .map(|role| format!("`--as {}`", role.name))
        .collect();
    let able = match able.len() {
        0 => "no role of the contract has `view: raw`; ".to_owned(),
        _ => format!("use {}, or ", able.join(" or ")),
    };
    let hint = format!("{able}read the masked topic {}", contract.masked_topic);
    Err(ConfigErrors::one("--as", message, Some(hint)))
}
