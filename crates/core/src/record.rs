//! A record as it is lent to a transform: slices of a fetched batch, nothing owned.

use std::fmt;
use std::sync::Arc;

use crate::Offset;

/// A Confluent schema registry id: four bytes, big-endian, after the magic byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The key of every checkpoint: topic *and* partition. Two topics' partition 0 are not the same thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, 0-based.
    pub partition: i32,
}

impl TopicPartition {
    /// A topic's partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// One header of a record. A header without a value is legal in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Header name; may repeat within a record.
    pub name: &'a str,
    /// Raw bytes, or nothing.
    pub value: Option<&'a [u8]>,
}

/// A record lent by the consumer for the length of one call.
///
/// `Debug` is deliberately absent: a record may hold personal data, and what can be printed will be printed.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    /// Topic it was read from.
    pub topic: &'a str,
    /// Partition it was read from.
    pub partition: i32,
    /// Its place there.
    pub offset: Offset,
    /// Milliseconds since the epoch, as the broker or the producer set it; `None` if neither did.
    pub timestamp_ms: Option<i64>,
    /// Key bytes; `None` is a null key, not an empty one.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in the order they were written.
    pub headers: &'a [Header<'a>],
}

impl RecordRef<'_> {
    /// Key and value together, in bytes: what a batch's size limit counts.
    pub fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}
