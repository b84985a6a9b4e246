//! The port of every place that records are landed in, and of archives that are read back.

use crate::{Fault, LearnError, NextOffset, Outcome, RecordRef, SchemaId, TopicPartition};

/// What a store holds in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreBacklog {
    /// Records appended since the last flush.
    pub records: u64,
    /// Their size in memory, in bytes.
    pub bytes: usize,
}

/// A place that records are landed in, owned by one lane.
pub trait Store: Send + 'static {
    /// Its name, for the consumer group, metrics and logs: `archive`, `delta`.
    fn name(&self) -> &'static str;

    /// Where the store itself stands for a partition; `None` if it holds nothing of it.
    ///
    /// # Errors
    /// A [`Fault`] if the store cannot be asked.
    fn resume(&mut self, at: &TopicPartition) -> Result<Option<NextOffset>, Fault>;

    /// Takes one record into memory. One that the store holds already is not added, and answered for as it was then.
    fn append(&mut self, record: &RecordRef<'_>) -> Outcome;

    /// Teaches it a writer schema.
    ///
    /// # Errors
    /// [`LearnError::Uncovered`] if the store cannot hold it, a fault if the outside cannot be asked.
    fn learn(&mut self, topic: &str, id: SchemaId, schema: &str) -> Result<(), LearnError>;

    /// What is in memory.
    fn pending(&self) -> StoreBacklog;

    /// Makes everything appended durable, all or nothing per partition. Runs on a thread of its own, so that the
    /// group is polled however long it takes.
    ///
    /// # Errors
    /// [`crate::Retry::Later`]: buffers are kept, flush again. [`crate::Retry::Rewind`]: someone else wrote; the lane forgets and
    /// reads again from [`Store::resume`]. [`crate::Retry::Never`]: stop.
    fn flush(&mut self) -> Result<(), Fault>;

    /// Drops what is in memory of a partition.
    fn forget(&mut self, at: &TopicPartition);
}

/// Records that were in a topic, with the places they had; without keys and headers.
pub trait RecordArchive {
    /// The offsets of a partition that it covers, half-open; `None` if it has nothing of it.
    ///
    /// # Errors
    /// A [`Fault`] if it cannot be asked.
    fn covered(&mut self, at: &TopicPartition) -> Result<Option<(i64, i64)>, Fault>;

    /// Lends every record from offset `from` up to, not including, `to` to `take`, in order.
    ///
    /// # Errors
    /// What `take` says, or a [`Fault`] if it cannot be read.
    fn read(
        &mut self,
        at: &TopicPartition,
        range: (i64, i64),
        take: &mut dyn FnMut(&RecordRef<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault>;
}
