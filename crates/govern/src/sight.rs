//! The tables that a role may see.

use std::collections::BTreeSet;

use sluice_contract::contract::{Contract, RoleView};
use sluice_contract::contracts::ContractSet;
use sluice_contract::finding::did_you_mean;

/// The reason why nothing can be shown to a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no contract has a role `{role}` that reads; {hint}")]
pub struct UnknownRole {
    /// The role that was asked for.
    pub role: String,
    /// The nearest role, or all of them.
    pub hint: String,
}

/// Returns the topics whose tables a role may see: the masked and the facts topics of the contracts that have
/// the role, and their raw topics and dead letters if it has `view: raw` there. Without a role it is what is
/// open to every role: masked and facts topics.
///
/// # Errors
/// [`UnknownRole`] if no contract has the role.
pub fn visible_topics(contracts: &ContractSet, role: Option<&str>) -> Result<BTreeSet<String>, UnknownRole> {
    let Some(role) = role else {
        return Ok(contracts.iter().flat_map(open_topics).collect());
    };

    let mut visible = BTreeSet::new();
    let mut is_known = false;
    for contract in contracts.iter() {
        for seat in contract.roles.iter().filter(|seat| seat.reads && seat.name == role) {
            is_known = true;
            visible.extend(open_topics(contract));
            if seat.view == RoleView::Raw {
                visible.extend([contract.raw_topic.clone(), contract.raw_dead_letter()]);
            }
        }
    }
    if is_known {
        return Ok(visible);
    }

    // A mistyped role must not look like one that may see nothing.
    let readers = contracts.iter().flat_map(|contract| &contract.roles).filter(|seat| seat.reads);
    let names: BTreeSet<&str> = readers.map(|seat| seat.name.as_str()).collect();
    let hint = did_you_mean(role, names.iter().copied()).unwrap_or_else(|| match names.is_empty() {
        true => "the contracts have no role that reads".to_owned(),
        false => format!("there are: {}", names.into_iter().collect::<Vec<_>>().join(", ")),
    });
    Err(UnknownRole { role: role.to_owned(), hint })
}

/// Returns the topics of a contract that every role of it may read.
fn open_topics(contract: &Contract) -> Vec<String> {
    let facts = contract.facts.as_ref().map(|facts| facts.topic.clone());
    std::iter::once(contract.masked_topic.clone()).chain(facts).collect()
}
