//! Reading a topic outside any group: to its end as it stands now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, ClientContext, Offset as KafkaOffset, TopicPartitionList};
use sluice_core::{Fault, Header, NextOffset, Offset, RecordRef, TopicPartition};

use super::is_denied;
use super::native::SaslTokenClient;
use super::settings;
use crate::KafkaSection;

const CALL: Duration = Duration::from_secs(10);
/// No record and no end of partition for this long: the brokers are away.
const STALLED: Duration = Duration::from_secs(30);

/// Speaks through our log; the end of a partition is what a reader waits for, not an error.
pub(super) struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka reader");
    }
}

impl ConsumerContext for QuietContext {}

/// Lends a message as a record.
pub(super) fn with_record(
    message: &BorrowedMessage<'_>,
    take: impl FnOnce(&RecordRef<'_>),
) -> Result<(), Fault> {
    let offset = Offset::new(message.offset())
        .ok_or_else(|| Fault::bug("reading a record", format!("Kafka gave offset {}", message.offset())))?;
    // Most records have no headers; for the others one small vector is made.
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| Header { name: header.key, value: header.value }).collect()
    });
    take(&RecordRef {
        topic: message.topic(),
        partition: message.partition(),
        offset,
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        headers: &headers,
    });
    Ok(())
}

/// Reads the committed records of `topic` from `from` (the beginning, for partitions it does not name) up to the end as
/// it is when each partition's end is first reached, lends each to `take`, and moves `from` on.
///
/// The end of a `read_committed` reader is the last stable offset: records behind somebody's open transaction are not
/// seen yet. Who needs to know that nothing is missing writes a marker and reads until it has seen it.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer.
pub fn read_to_end(
    kafka: &KafkaSection,
    topic: &str,
    from: &mut BTreeMap<i32, NextOffset>,
    mut take: impl FnMut(&RecordRef<'_>),
) -> Result<(), Fault> {
    let consumer = open(kafka, &settings::reader(kafka)?)?;
    let mut open = BTreeSet::new();
    let mut list = TopicPartitionList::new();
    for partition in partitions(&consumer, topic)? {
        let start =
            from.get(&partition).map_or(KafkaOffset::Beginning, |next| KafkaOffset::Offset(next.raw()));
        list.add_partition_offset(topic, partition, start)
            .map_err(|error| Fault::bug("listing partitions", error))?;
        open.insert(partition);
    }
    consumer.assign(&list).map_err(|error| Fault::bug("assigning partitions", error))?;
    let mut last = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            None if last.elapsed() > STALLED => {
                return Err(Fault::outage(format!("reading {topic} to its end"), "no answer for 30 s"));
            }
            None => {}
            Some(Ok(message)) => {
                last = Instant::now();
                with_record(&message, |record| {
                    from.insert(record.partition, record.offset.next());
                    take(record);
                })?;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                last = Instant::now();
                open.remove(&partition);
            }
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_denied) => {
                return Err(Fault::user(format!("reading {topic} to its end"), error));
            }
            Some(Err(error)) => tracing::debug!(%error, topic, "reading to the end"),
        }
    }
    Ok(())
}

/// Lends `take` the newest `count` committed records of every partition, or fewer; markers of transactions count. A topic
/// that does not exist has none.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer or does not let us read.
pub fn read_last(
    kafka: &KafkaSection,
    topic: &str,
    count: u32,
    take: impl FnMut(&RecordRef<'_>),
) -> Result<(), Fault> {
    let mut from = BTreeMap::new();
    {
        let consumer = open(kafka, &settings::reader(kafka)?)?;
        if !exists(&consumer, topic)? {
            return Ok(());
        }
        for partition in partitions(&consumer, topic)? {
            let (low, high) = consumer
                .fetch_watermarks(topic, partition, CALL)
                .map_err(|error| Fault::outage("asking for watermarks", error))?;
            from.extend(NextOffset::new(low.max(high - i64::from(count))).map(|next| (partition, next)));
        }
    }
    read_to_end(kafka, topic, &mut from, take)
}

/// Counts the committed records of a topic: what a `read_committed` consumer sees.
///
/// # Errors
/// As [`read_to_end`].
pub fn count_committed(kafka: &KafkaSection, topic: &str) -> Result<u64, Fault> {
    let mut count = 0;
    read_to_end(kafka, topic, &mut BTreeMap::new(), |_| count += 1)?;
    Ok(count)
}

/// The end of every partition of `topic` (the high watermark; transaction markers count).
///
/// # Errors
/// A [`Fault`] if the topic does not exist or Kafka does not answer.
pub fn ends(kafka: &KafkaSection, topic: &str) -> Result<BTreeMap<TopicPartition, NextOffset>, Fault> {
    let consumer = open(kafka, &settings::reader(kafka)?)?;
    let mut ends = BTreeMap::new();
    for partition in partitions(&consumer, topic)? {
        let (_, high) = consumer
            .fetch_watermarks(topic, partition, CALL)
            .map_err(|error| Fault::outage("asking for watermarks", error))?;
        if let Some(next) = NextOffset::new(high) {
            ends.insert(TopicPartition::new(topic, partition), next);
        }
    }
    Ok(ends)
}

/// A reader with these settings, kept in tokens if the section asks for them.
pub(super) fn open(
    kafka: &KafkaSection,
    config: &ClientConfig,
) -> Result<SaslTokenClient<BaseConsumer<QuietContext>>, Fault> {
    let consumer = config
        .create_with_context(QuietContext)
        .map_err(|error| settings::refused("building a Kafka reader", error))?;
    Ok(SaslTokenClient::new(settings::tokens(kafka)?, consumer))
}

fn exists(consumer: &BaseConsumer<QuietContext>, topic: &str) -> Result<bool, Fault> {
    let metadata = consumer
        .fetch_metadata(None, CALL)
        .map_err(|error| Fault::outage(format!("asking for {topic}"), error))?;
    Ok(metadata.topics().iter().any(|found| found.name() == topic && found.error().is_none()))
}

pub(super) fn partitions(consumer: &BaseConsumer<QuietContext>, topic: &str) -> Result<Vec<i32>, Fault> {
    let metadata = consumer
        .fetch_metadata(Some(topic), CALL)
        .map_err(|error| Fault::outage(format!("asking for {topic}"), error))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    match found {
        Some(found) => Ok(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect()),
        None => Err(Fault::user(
            format!("reading {topic}"),
            "no such topic; `sluice apply` creates the contracts' topics",
        )),
    }
}
