//! A member of a consumer group: lends records, tells its owner of every change of assignment on the polling thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata, RebalanceProtocol,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use sluice_core::{Fault, Header, NextOffset, RecordRef, TopicPartition};

use super::{Positions, is_denied, settings};
use crate::config::KafkaSection;

const CALL: Duration = Duration::from_secs(10);

/// Where to start reading a partition that was just assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the first record there is: nobody has read it yet.
    Beginning,
    /// From here on. If the log no longer reaches back that far, the worker stops loudly.
    At(NextOffset),
}

/// What a lane does when partitions come and go. Called on the polling thread, inside [`Group::poll`].
pub trait GroupEvents: Send + 'static {
    /// `at` is ours now; `committed` is what the group remembers.
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> Start;

    /// These are no longer ours once this returns: finish or give up what is in flight for them. If `lost`, they
    /// belong to someone else already, and nothing may be written for them.
    fn revoking(
        &mut self,
        partitions: &[TopicPartition],
        lost: bool,
        metadata: Option<ConsumerGroupMetadata>,
    );

    /// The group could not be asked where it stands: the assignment is refused and asked for again.
    fn trouble(&mut self, fault: Fault);
}

/// What a poll brought.
pub enum Polled {
    /// A record was lent to the closure.
    Record,
    /// Nothing within the time.
    Nothing,
    /// Trouble of the neighbour; the client keeps trying by itself.
    Outage(Fault),
}

/// A consumer in a group, owned by one thread; `E` is the lane's state, shared with the rebalance callback.
pub struct Group<E: GroupEvents> {
    client: BaseConsumer<Context<E>>,
}

struct Context<E> {
    events: Arc<Mutex<E>>,
}

impl<E: GroupEvents> ClientContext for Context<E> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka consumer");
    }
}

impl<E: GroupEvents> Context<E> {
    fn events(&self) -> MutexGuard<'_, E> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> Result<(), KafkaError> {
        if list.count() == 0 {
            return Ok(());
        }
        let committed = consumer.committed_offsets(list.clone(), CALL)?;
        let mut events = self.events();
        for element in committed.elements() {
            let at = TopicPartition::new(element.topic(), element.partition());
            let committed = match element.offset() {
                Offset::Offset(raw) => NextOffset::new(raw),
                _ => None,
            };
            let offset = match events.assigned(&at, committed) {
                Start::Beginning => Offset::Beginning,
                Start::At(next) => Offset::Offset(next.raw()),
            };
            list.set_partition_offset(&at.topic, at.partition, offset)?;
        }
        Ok(())
    }
}

impl<E: GroupEvents> ConsumerContext for Context<E> {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let done = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let chosen = self.assign(consumer, list);
            if let Err(error) = &chosen {
                // Without a position there is nothing to read from: take nothing, so that no offset is guessed.
                self.events().trouble(Fault::outage("asking the group for its offsets", error.clone()));
                if cooperative {
                    consumer.incremental_assign(&TopicPartitionList::new())
                } else {
                    consumer.unassign()
                }
            } else if cooperative {
                consumer.incremental_assign(list)
            } else {
                consumer.assign(list)
            }
        } else {
            let partitions: Vec<_> = list
                .elements()
                .iter()
                .map(|element| TopicPartition::new(element.topic(), element.partition()))
                .collect();
            self.events().revoking(&partitions, consumer.assignment_lost(), consumer.group_metadata());
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = done {
            tracing::error!(%error, "changing the assignment");
        }
    }
}

impl<E: GroupEvents> Group<E> {
    /// Joins `group` and subscribes to `topics`.
    ///
    /// # Errors
    /// A [`Fault`] of the user if a property is wrong.
    pub fn join(
        kafka: &KafkaSection,
        group: &str,
        topics: &[String],
        memory: usize,
        events: Arc<Mutex<E>>,
    ) -> Result<Self, Fault> {
        let client: BaseConsumer<Context<E>> = settings::group(kafka, group, memory)?
            .create_with_context(Context { events })
            .map_err(|error| settings::refused("building a Kafka consumer", error))?;
        let group = Self { client };
        group.subscribe(topics)?;
        Ok(group)
    }

    /// Changes the subscription; partitions of topics that stay are kept.
    ///
    /// # Errors
    /// A [`Fault`] if the client refuses the names.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), Fault> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.client.subscribe(&names).map_err(|error| Fault::user("subscribing", error))
    }

    /// Waits up to `wait` for one record and lends it to `take`. Assignment changes are served on the way.
    ///
    /// # Errors
    /// A [`Fault`] that stops the worker: the position is gone from the log, access was denied, or the client is dead.
    pub fn poll(&self, wait: Duration, take: impl FnOnce(&RecordRef<'_>)) -> Result<Polled, Fault> {
        match self.client.poll(wait) {
            None => Ok(Polled::Nothing),
            Some(Ok(message)) => {
                super::reader::with_record(&message, take)?;
                Ok(Polled::Record)
            }
            Some(Err(error)) => self.classify(error),
        }
    }

    fn classify(&self, error: KafkaError) -> Result<Polled, Fault> {
        let code = error.rdkafka_error_code();
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) || is_denied(&error) {
            return Err(Fault::user("reading from Kafka", error));
        }
        if matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) {
            let why = "the position to read on from is no longer in the log (retention passed it, or the topic was made anew); \
                       nothing was skipped: decide where to go on and reset the group";
            return Err(Fault::user("reading from Kafka", format!("{error}: {why}")));
        }
        Ok(Polled::Outage(Fault::outage("reading from Kafka", error)))
    }

    /// Commits positions and waits for the answer.
    ///
    /// # Errors
    /// [`Fault::rewind`] if the group no longer counts us in.
    pub fn commit(&self, positions: &Positions) -> Result<(), Fault> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (at, next) in positions {
            list.add_partition_offset(&at.topic, at.partition, Offset::Offset(next.raw()))
                .map_err(|error| Fault::bug("listing offsets", error))?;
        }
        self.client
            .commit(&list, CommitMode::Sync)
            .map_err(|error| Fault::rewind("committing offsets", error))
    }

    /// The group's generation, to send along with offsets in a transaction.
    pub fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.client.group_metadata()
    }

    /// Goes back (or on) to a position in a partition that is ours.
    ///
    /// # Errors
    /// A [`Fault`] if the partition is not ours any more.
    pub fn seek(&self, at: &TopicPartition, start: Start) -> Result<(), Fault> {
        let offset = match start {
            Start::Beginning => Offset::Beginning,
            Start::At(next) => Offset::Offset(next.raw()),
        };
        self.client
            .seek(&at.topic, at.partition, offset, CALL)
            .map_err(|error| Fault::rewind("going back in a partition", error))
    }

    /// Stops fetching from a partition, or starts again. Keep polling meanwhile.
    pub fn pause(&self, at: &TopicPartition, paused: bool) {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&at.topic, at.partition);
        let done = if paused { self.client.pause(&list) } else { self.client.resume(&list) };
        if let Err(error) = done {
            tracing::warn!(%error, %at, paused, "pausing or resuming");
        }
    }

    /// What is ours now.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.client.assignment().map_or_else(
            |_| Vec::new(),
            |list| {
                list.elements()
                    .iter()
                    .map(|element| TopicPartition::new(element.topic(), element.partition()))
                    .collect()
            },
        )
    }

    /// `(low, high)` as last seen by the fetcher; no request.
    pub fn cached_end(&self, at: &TopicPartition) -> Option<i64> {
        self.client
            .fetch_watermarks(&at.topic, at.partition, Duration::from_millis(500))
            .ok()
            .map(|(_, high)| high)
    }
}

/// Headers of a message as lent slices.
pub(super) fn headers_of<'a>(message: &'a BorrowedMessage<'_>) -> Vec<Header<'a>> {
    message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| Header { name: header.key, value: header.value }).collect()
    })
}
