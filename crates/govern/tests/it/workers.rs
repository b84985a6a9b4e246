//! The access of a fleet's four workers. A test of the binary compares it with that of the real descriptors.

use sluice_contract::{Contract, WorkerAccess};
use sluice_core::names::{COLLECTOR_TOPICS, NamePattern};

/// The workers in the order of a record's way: collector, raw topic, masker, masked topic, normaliser, facts
/// topic, sink.
pub(crate) const WORKERS: [WorkerAccess; 4] = [
    WorkerAccess {
        name: "collector",
        reads: |_| vec![],
        writes: raw,
        groups: |_| vec![],
        transactional_ids: |group| vec![NamePattern::prefix(format!("{group}-"))],
        own_topics: &[COLLECTOR_TOPICS],
        replays: false,
    },
    WorkerAccess {
        name: "masker",
        reads: raw,
        writes: |contract| vec![contract.masked_topic.clone()],
        groups: |group| vec![NamePattern::literal(group)],
        transactional_ids: |group| vec![NamePattern::prefix(format!("{group}-masker-"))],
        own_topics: &[],
        replays: true,
    },
    WorkerAccess {
        name: "normaliser",
        reads: |contract| contract.facts.iter().map(|_| contract.masked_topic.clone()).collect(),
        writes: facts,
        groups: |group| vec![NamePattern::literal(group)],
        transactional_ids: |group| vec![NamePattern::prefix(format!("{group}-normaliser-"))],
        own_topics: &[],
        replays: true,
    },
    WorkerAccess {
        name: "sink",
        reads: |contract| [vec![contract.masked_topic.clone()], facts(contract)].concat(),
        writes: |_| vec![],
        groups: |group| vec![NamePattern::prefix(format!("{group}-"))],
        transactional_ids: |group| vec![NamePattern::prefix(format!("{group}-"))],
        own_topics: &[],
        replays: false,
    },
];

fn raw(contract: &Contract) -> Vec<String> {
    vec![contract.raw_topic.clone()]
}

fn facts(contract: &Contract) -> Vec<String> {
    contract.facts.iter().map(|facts| facts.topic.clone()).collect()
}
