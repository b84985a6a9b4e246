//! The Kafka resources of a kind of worker, as its descriptor names them.

use sluice_core::names::NamePattern;

use crate::contract::Contract;

/// The topics, consumer groups and transactional ids that a kind of worker uses. Its permissions are derived
/// from this, and the topics of its lanes too.
#[derive(Debug, Clone, Copy)]
pub struct WorkerAccess {
    /// Name of the worker, for example `masker`. It is also its default group and the name of its usual Kafka
    /// user.
    pub name: &'static str,
    /// Returns the topics that the worker reads for a contract. Empty if the contract does not concern the
    /// worker, or if the worker reads no topic.
    pub reads: fn(&Contract) -> Vec<String>,
    /// Returns the topics that the worker writes for a contract, without dead letters.
    pub writes: fn(&Contract) -> Vec<String>,
    /// Returns the consumer groups that belong to the setting `group`. A worker that has one also writes
    /// receipts.
    pub groups: fn(&str) -> Vec<NamePattern>,
    /// Returns the transactional ids that belong to the setting `group`.
    pub transactional_ids: fn(&str) -> Vec<NamePattern>,
    /// Prefixes of topics that the worker creates for itself and reads outside of any group.
    pub own_topics: &'static [&'static str],
    /// True if `sluice replay` and `sluice dead-letters replay` can act in the worker's name.
    pub replays: bool,
}

impl WorkerAccess {
    /// Returns the topics whose dead letters the worker writes for a contract: those that it reads. A worker
    /// that reads none, such as the collector, refuses records on their way to the topics that it writes.
    pub fn letter_sources(&self, contract: &Contract) -> Vec<String> {
        let reads = (self.reads)(contract);
        if reads.is_empty() { (self.writes)(contract) } else { reads }
    }
}
