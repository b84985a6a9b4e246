//! Derives topics, subjects and permissions from the contracts.

use std::collections::BTreeMap;

use super::{
    AclPrincipals, CLEANUP, DesiredState, DesiredSubject, DesiredTopic, RETENTION, TopicAccess, TopicPurpose,
    acl,
};
use sluice_contract::WorkerAccess;
use sluice_contract::contract::{CleanupPolicy, Contract, TopicRetention, dead_letter_topic, value_subject};
use sluice_contract::contracts::ContractSet;
use sluice_contract::key::key_subject;
use sluice_core::names::RECEIPTS;

/// Retention of dead letters where the topic's own records stay for ever, in milliseconds: 30 days.
const DEAD_LETTERS: i64 = 30 * 86_400_000;

/// Kafka's name for the largest batch that a topic takes, in bytes.
const LARGEST: &str = "max.message.bytes";
/// Kafka's default of `max.message.bytes`: a mebibyte and the overhead of a batch.
const KAFKAS_LARGEST: i64 = 1_048_588;
/// Bytes for the headers of an output or a dead letter, and for pseudonyms that are longer than their
/// originals.
const ROOM: i64 = 64 << 10;

impl DesiredState {
    /// Returns everything that the contracts and `workers` ask for. The principal of each role and worker is
    /// `User:<its name>`.
    pub fn of(contracts: &ContractSet, workers: &[WorkerAccess]) -> Self {
        Self::with(contracts, workers, &AclPrincipals::default())
    }

    /// Returns the same state with this number of copies for each new topic.
    #[must_use]
    pub fn with_copies(self, copies: u32) -> Self {
        Self { copies, ..self }
    }

    /// Returns everything that the contracts and `workers` ask for. The same contracts give the same state, in
    /// the same order.
    pub fn with(contracts: &ContractSet, workers: &[WorkerAccess], principals: &AclPrincipals) -> Self {
        let mut desired =
            Self { topics: vec![receipts()], subjects: Vec::new(), acls: Vec::new(), copies: 1 };

        // Subjects of raw topics are collected apart, because they come after all others.
        let mut raw = Vec::new();
        for contract in contracts.served() {
            add_topics(contract, &mut desired.topics);

            // A subject of the value, and one of the key. No sink lands keys in a table.
            let subject = |topic: &str, schema: &str| DesiredSubject {
                subject: value_subject(topic),
                contract: contract.id.clone(),
                topic: topic.to_owned(),
                raw: topic == contract.raw_topic,
                lands: topic != contract.raw_topic,
                schema: schema.to_owned(),
                compatibility: contract.compatibility,
            };
            let key = |topic: &str, schema: &str| DesiredSubject {
                subject: key_subject(topic),
                lands: false,
                ..subject(topic, schema)
            };

            // Keys have subjects only if the contract has a schema for them.
            if let Some(of_key) = contract.record_key.schema() {
                desired.subjects.push(key(&contract.masked_topic, of_key.masked_schema().json()));
                raw.push(key(&contract.raw_topic, of_key.schema.json()));
            }

            // Every value has a masked subject. Facts have one fleet-wide schema under the subject of their
            // topic.
            desired.subjects.push(subject(&contract.masked_topic, contract.masked_schema().json()));
            if let (Some(facts), Some(fact)) = (&contract.facts, contracts.fact()) {
                desired.subjects.push(subject(&facts.topic, fact.json()));
            }
            raw.push(subject(&contract.raw_topic, contract.value.json()));
        }

        // Permissions follow from the topics, the dead letters among them.
        desired.subjects.append(&mut raw);
        desired.acls = acl::of(contracts, &desired.topics, workers, principals);
        desired
    }
}

/// Returns the topic of receipts. Its one partition keeps the receipts of a group in order, and compaction
/// keeps the last state of each segment.
fn receipts() -> DesiredTopic {
    let mut config = BTreeMap::from(settings(CleanupPolicy::Compact, -1));
    // Kafka compacts only closed log segments. Small ones (16 MiB) are closed sooner.
    config.insert("segment.bytes".to_owned(), (16 << 20).to_string());
    DesiredTopic {
        name: RECEIPTS.to_owned(),
        contract: "sluice".to_owned(),
        purpose: TopicPurpose::Receipts,
        access: TopicAccess::Open,
        partitions: 1,
        config,
    }
}

/// Adds the contract's topics: raw, masked and facts, each followed by its dead letters.
fn add_topics(contract: &Contract, topics: &mut Vec<DesiredTopic>) {
    use TopicAccess::{Open, Restricted};
    let facts = contract.facts.as_ref().map(|facts| (&facts.topic, TopicPurpose::Facts, Open));
    let own = [
        (&contract.raw_topic, TopicPurpose::Raw, Restricted),
        (&contract.masked_topic, TopicPurpose::Masked, Open),
    ];
    for (name, purpose, access) in own.into_iter().chain(facts) {
        // Facts are a history. An entity has many of them, and compaction would keep only the last.
        let (cleanup, retention) = match (purpose, contract.retention) {
            (TopicPurpose::Facts, retention) => (CleanupPolicy::Delete, retention),
            (_, retention) => (contract.cleanup, retention),
        };
        let mut config = contract.topic_config.clone();
        config.extend(settings(cleanup, retention.millis()));

        // The output for a record is a little larger than the record, and so is its dead letter. Both must
        // fit.
        let largest = config.get(LARGEST).and_then(|bytes| bytes.parse().ok()).unwrap_or(KAFKAS_LARGEST);
        let largest = if purpose == TopicPurpose::Raw { largest } else { largest + ROOM };
        if purpose != TopicPurpose::Raw {
            config.insert(LARGEST.to_owned(), largest.to_string());
        }

        // The topic itself. Its dead letters have the same access, for they hold the same values.
        let topic = |name: String, purpose, partitions, config| DesiredTopic {
            name,
            contract: contract.id.clone(),
            purpose,
            access,
            partitions,
            config,
        };
        topics.push(topic(name.clone(), purpose, contract.partitions, config));

        // Dead letters have one partition: they are few. A limit on their time keeps raw values from staying
        // for ever.
        let letters = match contract.retention {
            TopicRetention::Millis(millis) => millis,
            TopicRetention::Forever => DEAD_LETTERS,
        };
        let mut config = BTreeMap::from(settings(CleanupPolicy::Delete, letters));
        config.insert(LARGEST.to_owned(), (largest + ROOM).to_string());
        topics.push(topic(dead_letter_topic(name), TopicPurpose::DeadLetter, 1, config));
    }
}

/// Returns the settings that every topic has: retention in milliseconds (-1 for ever) and cleanup policy.
fn settings(cleanup: CleanupPolicy, retention: i64) -> [(String, String); 2] {
    [(RETENTION.to_owned(), retention.to_string()), (CLEANUP.to_owned(), cleanup.as_str().to_owned())]
}
