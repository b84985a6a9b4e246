//! Reads a topic outside any group, up to its present end.

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

/// The longest wait for one answer about metadata or watermarks.
const CALL: Duration = Duration::from_secs(10);
/// If neither a record nor an end of a partition comes for this long, the brokers are away.
const STALLED: Duration = Duration::from_secs(30);

/// Writes to our log. The end of a partition is no error here: a reader waits for it.
pub(super) struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka reader: librdkafka reported an error");
    }
}

impl ConsumerContext for QuietContext {}

/// Lends a message as a record.
///
/// # Errors
/// A bug if the message has no offset: only records reach this function.
pub(super) fn with_record(
    message: &BorrowedMessage<'_>,
    take: impl FnOnce(&RecordRef<'_>),
) -> Result<(), Fault> {
    let offset = Offset::new(message.offset()).ok_or_else(|| {
        let why = format!("expected an offset of 0 or more, got {}", message.offset());
        Fault::bug("reading a record", why)
    })?;

    // Most records have no headers. For the others one small vector is made.
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

/// Reads the committed records of `topic` from `from` (from the beginning for partitions that `from` does not
/// name) up to its end. The end of a partition is the one that is valid when it is first reached. Lends each
/// record to `take`, and moves `from` on.
///
/// The end of a `read_committed` reader is the last stable offset: records behind an open transaction are not
/// visible yet. A caller that must miss nothing writes a marker first and reads until it finds the marker.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer or denies access.
pub fn read_to_end(
    kafka: &KafkaSection,
    topic: &str,
    from: &mut BTreeMap<i32, NextOffset>,
    mut take: impl FnMut(&RecordRef<'_>),
) -> Result<(), Fault> {
    let consumer = open(kafka, &settings::reader(kafka)?)?;

    // Assign every partition at its start. No group takes part, and no position is committed.
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

    // Read until every partition has reported its end.
    let mut last = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            None if last.elapsed() > STALLED => {
                let why = "the brokers sent neither a record nor an end of the partition for 30 s";
                return Err(Fault::outage(format!("reading {topic} to its end"), why));
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
            // Other errors pass: librdkafka reconnects by itself, and the time limit above ends the wait.
            Some(Err(error)) => {
                tracing::debug!(%error, topic, "reading to the end: an error came; the reader keeps polling");
            }
        }
    }
    Ok(())
}

/// Lends `take` the newest `count` committed records of every partition, or fewer: transaction markers count
/// as well. A topic that does not exist has no records.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer or denies access.
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

        // The last `count` offsets of each partition, but none before the log begins.
        for partition in partitions(&consumer, topic)? {
            let (low, high) = consumer
                .fetch_watermarks(topic, partition, CALL)
                .map_err(|error| Fault::outage("asking for watermarks", error))?;
            from.extend(NextOffset::new(low.max(high - i64::from(count))).map(|next| (partition, next)));
        }
    }
    read_to_end(kafka, topic, &mut from, take)
}

/// Counts the committed records of a topic, as a `read_committed` consumer sees them.
///
/// # Errors
/// As [`read_to_end`].
pub fn count_committed(kafka: &KafkaSection, topic: &str) -> Result<u64, Fault> {
    let mut count = 0;
    read_to_end(kafka, topic, &mut BTreeMap::new(), |_| count += 1)?;
    Ok(count)
}

/// Returns the end of every partition of `topic` (the high watermark; transaction markers count).
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

/// Builds a reader with these settings. It gets access tokens if the section asks for them.
pub(super) fn open(
    kafka: &KafkaSection,
    config: &ClientConfig,
) -> Result<SaslTokenClient<BaseConsumer<QuietContext>>, Fault> {
    let consumer = config
        .create_with_context(QuietContext)
        .map_err(|error| settings::refused("building a Kafka reader", error))?;
    Ok(SaslTokenClient::new(settings::tokens(kafka)?, consumer))
}

/// Tells whether the topic exists and may be described.
fn exists(consumer: &BaseConsumer<QuietContext>, topic: &str) -> Result<bool, Fault> {
    let metadata = consumer
        .fetch_metadata(None, CALL)
        .map_err(|error| Fault::outage(format!("asking for the metadata of topic {topic}"), error))?;
    Ok(metadata.topics().iter().any(|found| found.name() == topic && found.error().is_none()))
}

/// Returns the numbers of a topic's partitions.
///
/// # Errors
/// A [`Fault`] of the user if the topic does not exist, an outage if Kafka does not answer.
pub(super) fn partitions(consumer: &BaseConsumer<QuietContext>, topic: &str) -> Result<Vec<i32>, Fault> {
    let metadata = consumer
        .fetch_metadata(Some(topic), CALL)
        .map_err(|error| Fault::outage(format!("asking for the metadata of topic {topic}"), error))?;

    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    match found {
        Some(found) => Ok(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect()),
        None => Err(Fault::user(
            format!("reading {topic}"),
            "the topic does not exist: create the contracts' topics with `sluice apply`",
        )),
    }
}
