//! Positions for callers outside a group: the committed offsets, the bounds of a log, and whether all of it
//! can be read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use sluice_core::{Fault, NextOffset, TopicPartition};

use super::native::{ClientCallbacks, GroupMetadata, NativeConsumer};
use super::reader::{QuietContext, open};
use super::{CommitPositions, settings};
use crate::KafkaSection;

/// The longest wait for one answer.
const CALL: Duration = Duration::from_secs(10);
/// The longest wait for the end of open transactions. No transaction of ours may stay open for that long.
const OPEN_TRANSACTIONS: Duration = Duration::from_secs(90);

/// Returns the group's committed positions in `partitions`. Partitions without one are left out. The
/// coordinator waits for the offsets of pending transactions, as it does for a member of the group (KIP-447).
///
/// # Errors
/// A [`Fault`] if the coordinator does not answer.
pub fn committed(
    kafka: &KafkaSection,
    group: &str,
    partitions: impl IntoIterator<Item = TopicPartition>,
) -> Result<CommitPositions, Fault> {
    let consumer = open(kafka, settings::reader(kafka)?.set("group.id", group))?;
    let mut list = TopicPartitionList::new();
    for at in partitions {
        list.add_partition(&at.topic, at.partition);
    }

    // Without partitions there is nothing to ask.
    if list.count() == 0 {
        return Ok(CommitPositions::new());
    }
    let found = consumer.committed_offsets(list, CALL).map_err(|error| {
        Fault::outage(format!("asking for the committed offsets of group {group}"), error)
    })?;

    // Kafka answers a partition without a committed offset with a special offset.
    let known = found.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(raw) => {
            Some((TopicPartition::new(element.topic(), element.partition()), NextOffset::new(raw)?))
        }
        _ => None,
    });
    Ok(known.collect())
}

/// Returns the first offset of a partition's log and the end of its part that a `read_committed` reader sees.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer.
pub fn bounds(kafka: &KafkaSection, at: &TopicPartition) -> Result<(i64, i64), Fault> {
    let consumer = open(kafka, &settings::reader(kafka)?)?;
    watermarks(&consumer, at)
}

/// Returns the first offset at or after a time (milliseconds since the epoch) for each of `partitions`.
/// Partitions without such a record are left out.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer.
pub fn at_time(
    kafka: &KafkaSection,
    partitions: &[TopicPartition],
    time_ms: i64,
) -> Result<CommitPositions, Fault> {
    let consumer = open(kafka, &settings::reader(kafka)?)?;

    // The request carries the time in the place of the offset.
    let mut list = TopicPartitionList::new();
    for at in partitions {
        list.add_partition_offset(&at.topic, at.partition, Offset::Offset(time_ms))
            .map_err(|error| Fault::bug("listing times", error))?;
    }
    let found = consumer
        .offsets_for_times(list, CALL)
        .map_err(|error| Fault::outage("asking for offsets at a time", error))?;

    // A partition without such a record has a special offset in the answer.
    let known = found.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(raw) => {
            Some((TopicPartition::new(element.topic(), element.partition()), NextOffset::new(raw)?))
        }
        _ => None,
    });
    Ok(known.collect())
}

/// Waits until all present records of `topic` can be read. A `read_committed` reader stops before the first
/// open transaction, although the records behind it may be committed.
///
/// # Errors
/// A [`Fault`] if a transaction stays open, or Kafka does not answer.
pub fn readable_to_now(kafka: &KafkaSection, topic: &str) -> Result<(), Fault> {
    // A reader of all records sees the present ends; a reader of committed records sees the stable ones.
    let all = open(kafka, settings::reader(kafka)?.set("isolation.level", "read_uncommitted"))?;
    let settled = open(kafka, &settings::reader(kafka)?)?;

    let mut ends = BTreeMap::new();
    for partition in super::reader::partitions(&all, topic)? {
        let at = TopicPartition::new(topic, partition);
        let (_, end) = watermarks(&all, &at)?;
        ends.insert(at, end);
    }

    // Transactions that began later do not count: only the ends of the start have to be reached.
    let deadline = Instant::now() + OPEN_TRANSACTIONS;
    for (at, end) in ends {
        while watermarks(&settled, &at)?.1 < end {
            if Instant::now() > deadline {
                return Err(Fault::outage(
                    format!("reading {at} to its end"),
                    "a transaction is still open after 90 s: end its producer, or wait for its transaction.timeout.ms",
                ));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Returns the first offset and the end of a partition, as this consumer's isolation level sees them.
fn watermarks(consumer: &BaseConsumer<QuietContext>, at: &TopicPartition) -> Result<(i64, i64), Fault> {
    consumer
        .fetch_watermarks(&at.topic, at.partition, CALL)
        .map_err(|error| Fault::outage(format!("asking for the first offset and the end of {at}"), error))
}

/// Returns the group's metadata for a transaction of a producer that is no member of the group.
///
/// # Errors
/// A [`Fault`] if the client has no such group.
pub fn outside(kafka: &KafkaSection, group: &str) -> Result<GroupMetadata, Fault> {
    let member =
        NativeConsumer::new(settings::reader(kafka)?.set("group.id", group), ClientCallbacks::default())
            .map_err(|error| settings::refused("building a Kafka reader", error))?;
    let metadata = member.handle().group_metadata();
    metadata.ok_or_else(|| {
        Fault::bug("reading the metadata of a group", "expected a client with a group, got one without")
    })
}
