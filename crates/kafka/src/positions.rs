//! Positions asked for from outside: where a group stands, where a log begins, and whether all of it can be read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use sluice_core::{Fault, NextOffset, TopicPartition};

use super::native::{ClientCallbacks, GroupMetadata, NativeConsumer};
use super::reader::{QuietContext, open};
use super::{CommitPositions, settings};
use crate::KafkaSection;

const CALL: Duration = Duration::from_secs(10);
/// Longer than any transaction of ours may stay open.
const OPEN_TRANSACTIONS: Duration = Duration::from_secs(90);

/// The group's committed positions in `partitions`; those without one are left out. Waits for pending transactions'
/// offsets, as a member of the group would (KIP-447).
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
    if list.count() == 0 {
        return Ok(CommitPositions::new());
    }
    let found = consumer
        .committed_offsets(list, CALL)
        .map_err(|error| Fault::outage(format!("asking where group {group} stands"), error))?;
    let known = found.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(raw) => {
            Some((TopicPartition::new(element.topic(), element.partition()), NextOffset::new(raw)?))
        }
        _ => None,
    });
    Ok(known.collect())
}

/// Where the log of a partition begins, and where what a `read_committed` reader sees of it ends.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer.
pub fn bounds(kafka: &KafkaSection, at: &TopicPartition) -> Result<(i64, i64), Fault> {
    let consumer = open(kafka, &settings::reader(kafka)?)?;
    watermarks(&consumer, at)
}

/// The first offset at or after a time (milliseconds since the epoch) per partition of `topic`; partitions without
/// such a record are left out.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer.
pub fn at_time(
    kafka: &KafkaSection,
    partitions: &[TopicPartition],
    time_ms: i64,
) -> Result<CommitPositions, Fault> {
    let consumer = open(kafka, &settings::reader(kafka)?)?;
    let mut list = TopicPartitionList::new();
    for at in partitions {
        list.add_partition_offset(&at.topic, at.partition, Offset::Offset(time_ms))
            .map_err(|error| Fault::bug("listing times", error))?;
    }
    let found = consumer
        .offsets_for_times(list, CALL)
        .map_err(|error| Fault::outage("asking for offsets at a time", error))?;
    let known = found.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(raw) => {
            Some((TopicPartition::new(element.topic(), element.partition()), NextOffset::new(raw)?))
        }
        _ => None,
    });
    Ok(known.collect())
}

/// Waits until everything that is in `topic` now can be read: a `read_committed` reader stops before the first open
/// transaction, although what lies behind it may be committed.
///
/// # Errors
/// A [`Fault`] if a transaction stays open, or Kafka does not answer.
pub fn readable_to_now(kafka: &KafkaSection, topic: &str) -> Result<(), Fault> {
    let all = open(kafka, settings::reader(kafka)?.set("isolation.level", "read_uncommitted"))?;
    let settled = open(kafka, &settings::reader(kafka)?)?;
    let mut ends = BTreeMap::new();
    for partition in super::reader::partitions(&all, topic)? {
        let at = TopicPartition::new(topic, partition);
        let (_, end) = watermarks(&all, &at)?;
        ends.insert(at, end);
    }
    let deadline = Instant::now() + OPEN_TRANSACTIONS;
    for (at, end) in ends {
        while watermarks(&settled, &at)?.1 < end {
            if Instant::now() > deadline {
                return Err(Fault::outage(
                    format!("reading {at} to its end"),
                    "a transaction stays open there; it ends by its producer's transaction.timeout.ms",
                ));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn watermarks(consumer: &BaseConsumer<QuietContext>, at: &TopicPartition) -> Result<(i64, i64), Fault> {
    consumer
        .fetch_watermarks(&at.topic, at.partition, CALL)
        .map_err(|error| Fault::outage(format!("asking where {at} begins and ends"), error))
}

/// What stands for the group in a transaction of somebody who is no member of it.
///
/// # Errors
/// A [`Fault`] if the client has no such group.
pub fn outside(kafka: &KafkaSection, group: &str) -> Result<GroupMetadata, Fault> {
    let member =
        NativeConsumer::new(settings::reader(kafka)?.set("group.id", group), ClientCallbacks::default())
            .map_err(|error| settings::refused("building a Kafka reader", error))?;
    let metadata = member.handle().group_metadata();
    metadata.ok_or_else(|| Fault::bug("speaking for a group", "the client has no group"))
}
