//! The port of every place that records are landed in, and of archives that are read back.
//!
//! One lane owns one store. Several stores in one worker are several lanes, each with a consumer group and a position of
//! its own, so that a slow store never stalls the others.

use crate::{
    Fault, LearnError, NextOffset, Offset, Outcome, OutcomeReason, RecordRef, SchemaId, TopicPartition,
};

/// The records that a store holds in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreBacklog {
    /// Records appended since the last flush.
    pub records: u64,
    /// Their size in memory, in bytes.
    pub bytes: usize,
}

/// The id that a cluster gives to a topic when it is created (KIP-516). A topic that is deleted and created again under
/// its name has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub [u8; 16]);

/// A store's own position in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorePosition {
    /// The next offset to land.
    pub next: NextOffset,
    /// The topic that the position belongs to; `None` if the store did not know it when it wrote.
    pub topic_id: Option<TopicId>,
}

impl StorePosition {
    /// A position whose topic is known by its name only.
    pub fn new(next: NextOffset) -> Self {
        Self { next, topic_id: None }
    }
}

/// A record that was appended and that the store's other side refused when it was flushed. None of the record was
/// written. It carries the record as it came, for the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// The record's topic and partition.
    pub at: TopicPartition,
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp in milliseconds since the epoch, if it has one.
    pub timestamp_ms: Option<i64>,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// The record's headers: name and value.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Why the store refused it: never the value itself.
    pub reason: OutcomeReason,
}

/// The result of a flush.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Records that are not in the store although they were appended. Everything else is durable.
    pub refused: Vec<RefusedRow>,
}

/// A place that records are landed in, owned by one lane.
pub trait Store: Send + 'static {
    /// Returns its name, for the consumer group, metrics and logs: `archive`, `delta`.
    fn name(&self) -> &'static str;

    /// Returns the store's own position in a partition; `None` if it holds nothing of it.
    ///
    /// # Errors
    /// A [`Fault`] if the store cannot be asked.
    fn resume(&mut self, at: &TopicPartition) -> Result<Option<StorePosition>, Fault>;

    /// Takes one record into memory. A record that the store holds already is not added, and gets the outcome that it
    /// had the first time. The record's key and a missing value (a tombstone) are there for stores that replace and
    /// delete rows by key.
    fn append(&mut self, record: &RecordRef<'_>) -> Outcome;

    /// Learns a writer schema. May be called at any time, also while rows of other schemas are in memory.
    ///
    /// # Errors
    /// [`LearnError::Uncovered`] if the store cannot hold it, a fault if the outside cannot be asked.
    fn learn(&mut self, topic: &str, id: SchemaId, schema: &str) -> Result<(), LearnError>;

    /// Returns the size of the rows in memory.
    fn pending(&self) -> StoreBacklog;

    /// Makes everything appended durable, all or nothing per partition, but for the single rows that the report names.
    /// Runs on a thread of its own, so that the group is polled however long it takes.
    ///
    /// # Errors
    /// [`crate::Retry::Later`]: buffers are kept, flush again. [`crate::Retry::Rewind`]: somebody else wrote; the lane
    /// forgets and reads again. [`crate::Retry::Never`]: stop.
    fn flush(&mut self) -> Result<FlushReport, Fault>;

    /// Drops the rows of a partition that are in memory.
    fn forget(&mut self, at: &TopicPartition);
}

/// Records that were in a topic, with the offsets that they had; without keys and headers.
pub trait RecordArchive {
    /// Returns the offsets of a partition that the archive covers, half-open; `None` if it has none.
    ///
    /// # Errors
    /// A [`Fault`] if it cannot be asked.
    fn covered(&mut self, at: &TopicPartition) -> Result<Option<(i64, i64)>, Fault>;

    /// Lends every record in `range`, half-open, to `take`, in order.
    ///
    /// # Errors
    /// As `take`, or a [`Fault`] if the archive cannot be read.
    fn read(
        &mut self,
        at: &TopicPartition,
        range: (i64, i64),
        take: &mut dyn FnMut(&RecordRef<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault>;
}
