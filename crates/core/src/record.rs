//! A record as the consumer lends it to a transform: slices of a fetched batch, without a copy.

use std::fmt;
use std::sync::Arc;

use crate::Offset;

/// An id of the Confluent schema registry. In the framing it has four bytes, big-endian, after the magic
/// byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Topic *and* partition: the key of all positions and receipts. Partitions of two topics can have the same
/// number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, 0-based.
    pub partition: i32,
}

impl TopicPartition {
    /// Returns a partition of a topic.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // For example `aviation.flight.v1[3]`.
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// One header of a record. A header without a value is legal in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Header name; may repeat within a record.
    pub name: &'a str,
    /// Raw bytes; `None` is a header without a value.
    pub value: Option<&'a [u8]>,
}

/// A record lent by the consumer for the length of one call.
///
/// It has no `Debug` on purpose: a record may hold personal data, and a type that can be printed will be
/// printed.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    /// Topic that the record was read from.
    pub topic: &'a str,
    /// Partition that the record was read from.
    pub partition: i32,
    /// Offset of the record in its partition.
    pub offset: Offset,
    /// Milliseconds since the epoch, as the broker or the producer set it; `None` if neither did.
    pub timestamp_ms: Option<i64>,
    /// Key bytes; `None` is a null key, not an empty one.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in the order in which the producer wrote them.
    pub headers: &'a [Header<'a>],
}

impl RecordRef<'_> {
    /// Returns the size of key and value together, in bytes. The size limit of a batch counts this number.
    pub fn size(&self) -> usize {
        // A null key and a tombstone count as 0 bytes. Headers do not count.
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}
