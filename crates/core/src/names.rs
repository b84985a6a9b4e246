//! Names that leave the process: topics, headers, groups, transactional ids, subjects and lineage columns. They are built
//! here and nowhere else, so that a reader finds every place where a name is made or recognised.

/// The fleet's topic of receipts: how far each group is in each partition, and how the records there ended.
pub const RECEIPTS: &str = "sluice.receipts";
/// Group by whose name topics are read outside any group: librdkafka asks for its coordinator, and no more.
pub const READER_GROUP: &str = "sluice-reader";
/// Prefix of the topics that collectors keep their page checkpoints in.
pub const COLLECTOR_TOPICS: &str = "sluice.collector.";
/// Ending of a dead-letter topic's name, behind the name of its source.
pub const DEAD_LETTER_SUFFIX: &str = ".dead-letter";

/// Prefix of every topic of the fleet's own. No contract may have such a topic.
pub const FLEET_PREFIX: &str = "sluice.";
/// Names of the fleet's workers and of its commands that have permissions of their own. No role may have one
/// of these names: its principal, `User:<name>`, would be that of the worker.
pub const MEMBERS: [&str; 7] = ["collector", "masker", "normaliser", "sink", "apply", "verify", "sluice"];

/// Header of a masker's output: topic, partition and offset of the record that it was made of.
pub const SOURCE_HEADER: &str = "sluice.source";
/// Header of a collector's record in mode `idempotent`: job, id, run, page and hash.
pub const PAGE_HEADER: &str = "sluice.page";
/// Headers of a dead letter.
pub mod dead_letter {
    /// Prefix of them all. A record's own headers with this prefix are not handed on.
    pub const PREFIX: &str = "sluice.dlq.";
    /// Topic of the record.
    pub const SOURCE_TOPIC: &str = "sluice.dlq.source.topic";
    /// Partition of the record.
    pub const SOURCE_PARTITION: &str = "sluice.dlq.source.partition";
    /// Offset of the record.
    pub const SOURCE_OFFSET: &str = "sluice.dlq.source.offset";
    /// Registry id of the record's schema.
    pub const SCHEMA_ID: &str = "sluice.dlq.schema.id";
    /// Class of the reason.
    pub const CLASS: &str = "sluice.dlq.class";
    /// Path of the field.
    pub const PATH: &str = "sluice.dlq.path";
    /// The reason as text, without any value of the record.
    pub const REASON: &str = "sluice.dlq.reason";
    /// Worker that refused the record.
    pub const WORKER: &str = "sluice.dlq.worker";
    /// Consumer group of that worker.
    pub const GROUP: &str = "sluice.dlq.group";
    /// Version of that worker.
    pub const VERSION: &str = "sluice.dlq.version";
    /// Number of the attempt, from 1.
    pub const ATTEMPT: &str = "sluice.dlq.attempt";
    /// Job of a record that a collector refused. Such a record was never in Kafka.
    pub const COLLECTOR_JOB: &str = "sluice.dlq.collector.job";
    /// Id for which the API was asked.
    pub const COLLECTOR_ID: &str = "sluice.dlq.collector.id";
    /// Pseudonym of that id, where ids are confidential.
    pub const COLLECTOR_PSEUDONYM: &str = "sluice.dlq.collector.id.pseudonym";
    /// Endpoint of the job.
    pub const COLLECTOR_ENDPOINT: &str = "sluice.dlq.collector.endpoint";
    /// Number of the page in the endpoint's pages for this id, from 0.
    pub const COLLECTOR_PAGE: &str = "sluice.dlq.collector.page";
    /// Number of the run over the id.
    pub const COLLECTOR_RUN: &str = "sluice.dlq.collector.run";
    /// Number of the record in the page, from 0.
    pub const COLLECTOR_INDEX: &str = "sluice.dlq.collector.index";
}

/// Lineage columns of archive objects and tables. BigQuery refuses column names that begin, in any case, with
/// `_PARTITION`, `_TABLE_`, `_FILE_`, `_ROW_TIMESTAMP`, `__ROOT__` or `_COLIDENTIFIER`.
pub mod lineage {
    /// The record's topic.
    pub const TOPIC: &str = "_kafka_topic";
    /// The record's partition.
    pub const PARTITION: &str = "_kafka_partition";
    /// The record's offset.
    pub const OFFSET: &str = "_kafka_offset";
    /// The record's timestamp.
    pub const TIMESTAMP: &str = "_kafka_timestamp";
    /// The registry id of the schema that the record was written with.
    pub const SCHEMA_ID: &str = "_kafka_schema_id";
    /// All lineage columns, in their order, each with the name that it had in objects and tables of version 0.1.
    pub const ALL: [(&str, &str); 5] = [
        (TOPIC, "_topic"),
        (PARTITION, "_partition"),
        (OFFSET, "_offset"),
        (TIMESTAMP, "_timestamp"),
        (SCHEMA_ID, "_schema_id"),
    ];
}

/// A name, or the beginning of names, as Kafka's permissions take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// The whole name, or its beginning.
    pub text: String,
    /// True if `text` is the beginning of names (Kafka's `PREFIXED`); false if it is the whole name (`LITERAL`).
    pub prefixed: bool,
}

impl NamePattern {
    /// Returns the pattern of one name.
    pub fn literal(name: impl Into<String>) -> Self {
        Self { text: name.into(), prefixed: false }
    }

    /// Returns the pattern of all names that begin with `prefix`.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { text: prefix.into(), prefixed: true }
    }
}

/// Returns the owner of a topic that no contract may have, from its name alone; `None` if it can be a
/// contract's.
pub fn foreign_owner(topic: &str) -> Option<&'static str> {
    // Kafka's own names begin with two underscores, those of the registry and of vendors with one. Names are
    // compared as tables do: without case, and dots, hyphens and underscores are the same.
    let plain: String =
        topic.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let ends = |endings: &[&str]| endings.iter().any(|ending| plain.ends_with(ending));
    if plain.starts_with('_') {
        return Some("Kafka, the registry or another system: it begins with an underscore");
    }
    if plain == "sluice" || plain.starts_with("sluice_") {
        return Some("the fleet itself: its own topics begin with `sluice.`");
    }
    if ends(&["_dead_letter"]) {
        return Some("the dead letters of another topic");
    }
    if ["connect_offsets", "connect_configs", "connect_status"].iter().any(|name| plain.starts_with(name)) {
        return Some("Kafka Connect");
    }
    if ends(&["_changelog", "_repartition", "_internal"]) {
        return Some("a stream processor or a mirror: they end their internal topics so");
    }
    None
}

/// Returns the dead-letter topic of a topic.
pub fn dead_letter_topic(source: &str) -> String {
    format!("{source}{DEAD_LETTER_SUFFIX}")
}

/// Returns the topic of a collector job's page checkpoints.
pub fn checkpoint_topic(job: &str) -> String {
    format!("{COLLECTOR_TOPICS}{job}.checkpoints")
}

/// Returns the subject of a topic's values (TopicNameStrategy).
pub fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// Returns the subject of a topic's keys (TopicNameStrategy).
pub fn key_subject(topic: &str) -> String {
    format!("{topic}-key")
}

/// Returns the transactional id of one lane. It is stable: the next process of the same instance fences this one.
pub fn transactional_id(group: &str, worker: &str, instance: &str) -> String {
    format!("{group}-{worker}-{instance}")
}

/// Returns the instance of a process that serves the contracts of these patterns only, sorted. Two processes of one
/// group that serve different contracts may have the same name by mistake or by habit. The checksum of the patterns
/// (FNV-1a, 64 bit) keeps their transactional ids apart, or they would fence each other for ever.
pub fn selecting_instance(instance: &str, patterns: &[String]) -> String {
    if patterns.is_empty() {
        return instance.to_owned();
    }
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let sum = patterns
        .join(",")
        .bytes()
        .fold(OFFSET_BASIS, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{instance}-{sum:016x}")
}

/// Returns the transactional id that all replays of one worker share, so that a second replay fences the first.
pub fn replay_transactional_id(group: &str, worker: &str) -> String {
    format!("{group}-{worker}-replay")
}

/// Returns the consumer group of one store of a sink: a slow store never stalls the others.
pub fn store_group(group: &str, store: &str) -> String {
    format!("{group}-{store}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From BigQuery's documentation of column names, compared without case.
    const REFUSED: [&str; 6] =
        ["_PARTITION", "_TABLE_", "_FILE_", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER"];

    #[test]
    fn instances_with_different_contracts_have_different_names() {
        let named = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            selecting_instance("one", &patterns)
        };
        assert_eq!(named(&[]), "one");
        assert_ne!(named(&["shop/*"]), named(&["club/*"]));
        // The name must not change with a release: a restart would not fence the process before it.
        assert_eq!(named(&["a"]), "one-af63dc4c8601ec8c");
    }

    #[test]
    fn topics_of_others_are_known_by_their_names() {
        for topic in [
            "__consumer_offsets",
            "__transaction_state",
            "_schemas",
            "_confluent-metrics",
            "sluice.receipts",
            "Sluice.Collector.x.checkpoints",
            "sluice-policy",
            "other.v1.dead-letter",
            "other.v1.Dead_Letter",
            "connect-offsets",
            "app-store-changelog",
            "app-key-repartition",
            "mm2-offset-syncs.b.internal",
        ] {
            assert!(foreign_owner(topic).is_some(), "{topic}");
        }
        for topic in ["aviation.flight.v1", "slice.v1", "sluices.v1", "dead-letters.v1", "internal.v1"] {
            assert_eq!(foreign_owner(topic), None, "{topic}");
        }
    }

    #[test]
    fn no_lineage_column_begins_as_bigquery_refuses() {
        for (name, former) in lineage::ALL {
            let refused = |name: &str| REFUSED.iter().any(|prefix| name.to_uppercase().starts_with(prefix));
            assert!(!refused(name), "{name}");
            assert_eq!(former == "_partition", refused(former), "{former}");
        }
    }
}
