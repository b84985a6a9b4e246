//! Is there anything to read? Asked by reading, because offsets alone cannot tell: the end of a log may consist of
//! transaction markers, which no reader ever sees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use sluice_core::{Fault, NextOffset, TopicPartition};

use super::{reader, settings};
use crate::KafkaSection;

const LIMIT: Duration = Duration::from_secs(20);

/// Those of `partitions` in which a committed record lies at or past the position given (the beginning, if none).
/// Partitions that do not answer in time are left out: whether Kafka is there is another question.
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

fn waiting_in(
    kafka: &KafkaSection,
    topic: &str,
    positions: BTreeMap<i32, Option<NextOffset>>,
) -> Result<BTreeSet<i32>, Fault> {
    let mut config = settings::reader(kafka)?;
    config.set("queued.max.messages.kbytes", "1024").set("fetch.message.max.bytes", "65536");
    let consumer = reader::open(kafka, &config)?;
    let mut list = TopicPartitionList::new();
    for (partition, next) in &positions {
        let start = next.map_or(rdkafka::Offset::Beginning, |next| rdkafka::Offset::Offset(next.raw()));
        list.add_partition_offset(topic, *partition, start)
            .map_err(|error| Fault::bug("listing partitions", error))?;
    }
    consumer.assign(&list).map_err(|error| Fault::bug("assigning partitions", error))?;
    let mut open: BTreeSet<i32> = positions.into_keys().collect();
    let mut found = BTreeSet::new();
    let deadline = Instant::now() + LIMIT;
    while !open.is_empty() && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                found.extend(open.take(&message.partition()));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => tracing::debug!(%error, topic, "looking for something to read"),
            None => {}
        }
    }
    Ok(found)
}
