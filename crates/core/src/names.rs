//! Names that leave the process: topics, headers, groups, transactional ids, subjects and lineage columns.

/// The fleet's topic of receipts: how far each group is in each partition, and how the records there ended.
pub const RECEIPTS: &str = "sluice.receipts";
/// Group by whose name topics are read outside any group: librdkafka asks for its coordinator, and no more.
pub const READER_GROUP: &str = "sluice-reader";
/// Prefix of the topics that collectors keep their page checkpoints in.
pub const COLLECTOR_TOPICS: &str = "sluice.collector.";
