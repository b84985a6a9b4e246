//! Finds partitions that have something to read. The answer needs a read, because offsets alone cannot tell:
//! the end of a log may consist of transaction markers, which no reader ever sees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use sluice_core::{Fault, NextOffset, TopicPartition};

use super::{reader, settings};
use crate::KafkaSection;

/// The longest time that the search in one topic may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns those of `partitions` in which a committed record exists at or past the given position (the
/// beginning, if there is none). Partitions that do not answer in time are left out: this function does not
/// check that Kafka is up.
///
/// # Errors
/// A [`Fault`] if a property is wrong.
pub fn waiting(
    kafka: &KafkaSection,
    partitions: &[(TopicPartition, Option<NextOffset>)],
) -> Result<BTreeSet<TopicPartition>, Fault> {
    // One topic at a time: the event for the end of a partition does not name the topic.
    let topics: BTreeSet<&str> = partitions.iter().map(|(at, _)| &*at.topic).collect();
    let mut found = BTreeSet::new();
    for topic in topics {
        let of_topic = partitions.iter().filter(|(at, _)| &*at.topic == topic);
        let positions = of_topic.map(|(at, next)| (at.partition, *next)).collect();
        let waiting = waiting_in(kafka, topic, positions)?;
        found.extend(waiting.into_iter().map(|partition| TopicPartition::new(topic, partition)));
    }
    Ok(found)
}

/// Does the same for the partitions of one topic, by their numbers.
fn waiting_in(
    kafka: &KafkaSection,
    topic: &str,
    positions: BTreeMap<i32, Option<NextOffset>>,
) -> Result<BTreeSet<i32>, Fault> {
    // One record of each partition is enough. Small fetches keep the search cheap.
    let mut config = settings::reader(kafka)?;
    config.set("queued.max.messages.kbytes", "1024").set("fetch.message.max.bytes", "65536");
    let consumer = reader::open(kafka, &config)?;

    // Each partition is read from its position.
    let mut list = TopicPartitionList::new();
    for (partition, next) in &positions {
        let start = next.map_or(rdkafka::Offset::Beginning, |next| rdkafka::Offset::Offset(next.raw()));
        list.add_partition_offset(topic, *partition, start)
            .map_err(|error| Fault::bug("listing partitions", error))?;
    }
    consumer.assign(&list).map_err(|error| Fault::bug("assigning partitions", error))?;

    // A partition is settled by its first record or by its end.
    let mut open: BTreeSet<i32> = positions.into_keys().collect();
    let mut found = BTreeSet::new();
    let deadline = Instant::now() + LIMIT;
    while !open.is_empty() && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                // A partition counts once: its further records find it gone from `open`.
                found.extend(open.take(&message.partition()));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => {
                tracing::debug!(%error, topic, "looking for unread records: an error came; the search goes on");
            }
            None => {}
        }
    }
    Ok(found)
}
