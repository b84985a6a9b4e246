//! Reads windows of offsets of several partitions at once, outside any group. Commands that look into topics read this
//! way: they show records, and no position moves.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use sluice_core::{Fault, RecordRef, TopicPartition};

use super::native::SaslTokenClient;
use super::reader::{self, QuietContext};
use super::{is_denied, settings};
use crate::KafkaSection;

/// The longest wait for one answer about metadata or offsets.
const CALL: Duration = Duration::from_secs(10);
/// The longest wait for a record in one poll. A scan that follows a topic reports a pause after it.
const POLL: Duration = Duration::from_millis(100);
/// If neither a record nor an end of a partition comes for this long, the brokers are away.
const STALLED: Duration = Duration::from_secs(30);
/// Largest answer to one fetch, in bytes. A batch that is larger still comes whole.
const FETCH: &str = "8388608";

/// A window of offsets for each partition of a topic: the first one, and one past the last one.
pub type PartitionWindows = BTreeMap<i32, Range<i64>>;

/// A reader of committed records whose partitions and offsets its caller chooses.
pub struct KafkaScanner {
    kafka: KafkaSection,
    consumer: SaslTokenClient<BaseConsumer<QuietContext>>,
}

impl KafkaScanner {
    /// Makes the client, without a call.
    ///
    /// # Errors
    /// A [`Fault`] of the user if a property is wrong.
    pub fn open(kafka: &KafkaSection) -> Result<Self, Fault> {
        let mut config = settings::reader(kafka)?;
        config.set("fetch.max.bytes", FETCH);
        Ok(Self { kafka: kafka.clone(), consumer: reader::open(kafka, &config)? })
    }

    /// Returns the partitions of those of `topics` that exist and that we may see.
    ///
    /// # Errors
    /// A [`Fault`] if Kafka does not answer.
    pub fn partitions(&self, topics: &[String]) -> Result<BTreeMap<String, Vec<TopicPartition>>, Fault> {
        // The metadata of all topics: a question about one that is missing could create it.
        let metadata = self.consumer.fetch_metadata(None, CALL);
        let metadata = metadata.map_err(|error| Fault::outage("asking Kafka for its topics", error))?;

        let wanted: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
        let there = metadata.topics().iter();
        let there = there.filter(|topic| topic.error().is_none() && wanted.contains(topic.name()));
        Ok(there
            .map(|topic| {
                let at = |id| TopicPartition::new(topic.name(), id);
                (topic.name().to_owned(), topic.partitions().iter().map(|found| at(found.id())).collect())
            })
            .collect())
    }

    /// Returns the whole log of each partition: its first offset, and the end for a reader of committed records.
    ///
    /// # Errors
    /// A [`Fault`] if Kafka does not answer or denies access.
    pub fn logs(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Range<i64>>, Fault> {
        let first = self.offsets(partitions, rdkafka::Offset::Beginning)?;
        let end = self.offsets(partitions, rdkafka::Offset::End)?;
        Ok(first
            .into_iter()
            .filter_map(|(at, first)| {
                let end = *end.get(&at)?;
                Some((at, first..end.max(first)))
            })
            .collect())
    }

    /// Returns the first offset at or after a time (milliseconds since the epoch) for each partition. Partitions
    /// without such a record are left out.
    ///
    /// # Errors
    /// A [`Fault`] if Kafka does not answer or denies access.
    pub fn at_time(
        &self,
        partitions: &[TopicPartition],
        time_ms: i64,
    ) -> Result<BTreeMap<TopicPartition, i64>, Fault> {
        // Kafka's protocol has special offsets below zero in the place of a time.
        self.offsets(partitions, rdkafka::Offset::Offset(time_ms.max(0)))
    }

    /// Lends `take` the records of `topic` in these windows, in order within each partition, until `take` breaks. A
    /// window ends early where its partition ends.
    ///
    /// # Errors
    /// The error of `take`, or a [`Fault`] if Kafka does not answer or denies access.
    pub fn read<E: From<Fault>>(
        &self,
        topic: &str,
        windows: &PartitionWindows,
        mut take: impl FnMut(&RecordRef<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        let mut open = windows.clone();
        open.retain(|_, window| !window.is_empty());
        assign(&self.consumer, topic, open.iter().map(|(partition, window)| (*partition, window.start)))?;

        let mut last = Instant::now();
        while !open.is_empty() {
            let message = match self.consumer.poll(POLL) {
                None if last.elapsed() > STALLED => return Err(stalled(topic).into()),
                None => continue,
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    last = Instant::now();
                    open.remove(&partition);
                    continue;
                }
                Some(Err(error)) => {
                    note(topic, error)?;
                    continue;
                }
            };

            // A partition whose window is read is not paused: librdkafka would go on elsewhere after the next
            // assignment. Its further records are left.
            last = Instant::now();
            let partition = message.partition();
            let Some(window) = open.get(&partition).cloned() else { continue };
            let offset = message.offset();
            if window.contains(&offset)
                && let ControlFlow::Break(()) = lend(&message, &mut take)?
            {
                return Ok(ControlFlow::Break(()));
            }
            if offset + 1 >= window.end {
                open.remove(&partition);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Lends `take` every record of `topic` from these offsets on, also those that are still to come, until `take`
    /// breaks. It gets `None` when no record has come for a tenth of a second.
    ///
    /// # Errors
    /// The error of `take`, or a [`Fault`] if Kafka denies access. Brokers that are away are waited for.
    pub fn follow<E: From<Fault>>(
        &self,
        topic: &str,
        from: &BTreeMap<i32, i64>,
        mut take: impl FnMut(Option<&RecordRef<'_>>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        // A client of its own, whose requests wait 500 ms in the broker instead of the reader's 20 ms: a command may
        // follow a topic for hours. The brokers answer earlier if there is a record.
        let mut config = settings::reader(&self.kafka)?;
        config.set("fetch.max.bytes", FETCH).set("fetch.wait.max.ms", "500");
        let consumer = reader::open(&self.kafka, &config)?;
        assign(&consumer, topic, from.iter().map(|(partition, from)| (*partition, *from)))?;

        loop {
            let flow = match consumer.poll(POLL) {
                Some(Ok(message)) => lend(&message, &mut |record| take(Some(record)))?,
                Some(Err(KafkaError::PartitionEOF(_))) => ControlFlow::Continue(()),
                Some(Err(error)) => {
                    note(topic, error)?;
                    ControlFlow::Continue(())
                }
                None => take(None)?,
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }

    /// Asks for an offset of each partition: the first one, the end, or the first one at or after a time. Partitions
    /// without an answer are left out.
    fn offsets(
        &self,
        partitions: &[TopicPartition],
        wanted: rdkafka::Offset,
    ) -> Result<BTreeMap<TopicPartition, i64>, Fault> {
        // librdkafka sends the offset of each element as the time of the request (ListOffsets: -1 is the end, -2 the
        // beginning), one request to each broker.
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for at in partitions {
            list.add_partition_offset(&at.topic, at.partition, wanted)
                .map_err(|error| Fault::bug("listing partitions", error))?;
        }
        if list.count() == 0 {
            return Ok(BTreeMap::new());
        }

        let found = self.consumer.offsets_for_times(list, CALL);
        let found = found.map_err(|error| refused("asking for the first and last offsets", error))?;
        let read = |element: TopicPartitionListElem<'_>| {
            element.error().map_err(|error| refused("asking for the first and last offsets", error))?;
            let at = TopicPartition::new(element.topic(), element.partition());
            Ok(match element.offset() {
                rdkafka::Offset::Offset(raw) => Some((at, raw)),
                _ => None,
            })
        };
        found.elements().into_iter().filter_map(|element| read(element).transpose()).collect()
    }
}

/// Starts to read partitions of a topic at these offsets. Partitions that were read before are dropped.
fn assign(
    consumer: &BaseConsumer<QuietContext>,
    topic: &str,
    from: impl Iterator<Item = (i32, i64)>,
) -> Result<(), Fault> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in from {
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(offset))
            .map_err(|error| Fault::bug("listing partitions", error))?;
    }
    consumer.assign(&list).map_err(|error| Fault::bug("assigning partitions", error))
}

/// Lends one message.
fn lend<E: From<Fault>>(
    message: &rdkafka::message::BorrowedMessage<'_>,
    take: &mut impl FnMut(&RecordRef<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    let mut taken = Ok(ControlFlow::Continue(()));
    reader::with_record(message, |record| taken = take(record))?;
    taken
}

/// Notes an error that librdkafka mends by itself, and returns the fault of one that no wait mends.
fn note(topic: &str, error: KafkaError) -> Result<(), Fault> {
    match error.rdkafka_error_code() {
        Some(code) if is_denied(code) => Err(Fault::user(format!("reading {topic}"), error)),
        _ => {
            tracing::debug!(%error, topic, "reading records: an error came; the reader keeps polling");
            Ok(())
        }
    }
}

/// Returns the fault of a call that was refused or not answered.
fn refused(doing: &str, error: KafkaError) -> Fault {
    match error.rdkafka_error_code() {
        Some(code) if is_denied(code) => Fault::user(doing, error),
        _ => Fault::outage(doing, error),
    }
}

/// Returns the outage of brokers that send nothing.
fn stalled(topic: &str) -> Fault {
    let why = "the brokers sent neither a record nor an end of the partition for 30 s";
    Fault::outage(format!("reading {topic}"), why)
}
