//! A blocking producer, owned by one thread, with or without transactions.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::util::Timeout;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use sluice_core::{Domain, Fault, Header, Retry};

use super::{Positions, is_denied, settings};
use crate::config::KafkaSection;
use crate::failpoint;

/// How long one call to the coordinator may take before we say so and try again.
const INIT_STEP: Duration = Duration::from_secs(10);
/// Longer than `message.timeout.ms`: by then every message is delivered or failed.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// A record on its way out; everything lent.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// Topic to produce to.
    pub topic: &'a str,
    /// A chosen partition; `None` takes Java's default, murmur2 of the key.
    pub partition: Option<i32>,
    /// Key bytes.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Headers in order.
    pub headers: &'a [Header<'a>],
}

/// A producer of one OS thread. Faults say what to do: [`Retry::Rewind`] – abort and do the batch again with this
/// producer; [`Retry::Later`] – drop it, build a new one with the same id (which fences what is in flight), do the
/// batch again; [`Retry::Never`] – someone else took the id, or we are not allowed: stop.
///
/// A transaction whose end may have been asked for twice leaves the producer *in doubt*: librdkafka repeats an EndTxn
/// by itself when a connection breaks, says nothing of it, and has no KIP-890, so that the first one may still be on
/// its way and end the *next* transaction in its middle. Such a producer takes its id anew before it begins again;
/// the new epoch fences whatever is on its way.
pub struct Producer {
    client: BaseProducer<Deliveries>,
    sent_since_poll: u32,
    /// What it was built from, if it is transactional.
    slot: Option<Slot>,
    in_doubt: bool,
}

/// A transactional id and how to take it.
struct Slot {
    kafka: KafkaSection,
    transactional_id: String,
    memory: usize,
}

/// Remembers the first delivery that failed since it was last asked.
#[derive(Default)]
struct Deliveries {
    failed: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
        }
    }
}

impl Producer {
    /// A transactional producer. Taking `transactional_id` ends whatever an earlier holder of it left open and fences
    /// that holder (KIP-98): from here on nothing it does becomes visible.
    ///
    /// # Errors
    /// A [`Fault`] as described at [`Producer`]; [`Retry::Later`] while no coordinator answers.
    pub fn transactional(kafka: &KafkaSection, transactional_id: &str, memory: usize) -> Result<Self, Fault> {
        let mut producer = Self::build(kafka, Some(transactional_id), memory)?;
        producer.slot =
            Some(Slot { kafka: kafka.clone(), transactional_id: transactional_id.to_owned(), memory });
        producer
            .client
            .init_transactions(INIT_STEP)
            .map_err(|error| fault("taking the transactional id", error))?;
        Ok(producer)
    }

    /// An idempotent producer without transactions, for sinks' dead letters.
    ///
    /// # Errors
    /// A [`Fault`] if a property is wrong.
    pub fn idempotent(kafka: &KafkaSection, memory: usize) -> Result<Self, Fault> {
        Self::build(kafka, None, memory)
    }

    fn build(kafka: &KafkaSection, transactional_id: Option<&str>, memory: usize) -> Result<Self, Fault> {
        let config = settings::producer(kafka, transactional_id, memory)?;
        let client = config
            .create_with_context(Deliveries::default())
            .map_err(|error| settings::refused("building a Kafka producer", error))?;
        Ok(Self { client, sent_since_poll: 0, slot: None, in_doubt: false })
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// As at [`Producer`].
    pub fn begin(&mut self) -> Result<(), Fault> {
        if self.in_doubt
            && !failpoint::sabotaged("reuse-producer")
            && let Some(slot) = &self.slot
        {
            tracing::info!("the last transaction's end may have been sent twice: taking the id anew");
            *self = Self::transactional(&slot.kafka, &slot.transactional_id, slot.memory)?;
        }
        self.failed_delivery()?;
        self.client.begin_transaction().map_err(|error| fault("beginning a transaction", error))
    }

    /// Hands a record to the client. Waits while its queue is full: that is backpressure, not an error.
    ///
    /// # Errors
    /// As at [`Producer`].
    pub fn send(&mut self, record: &Outgoing<'_>) -> Result<(), Fault> {
        let mut base: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(record.topic);
        base.partition = record.partition;
        base.key = record.key;
        base.payload = record.value;
        base.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            base.headers = Some(record.headers.iter().fold(headers, |headers, header| {
                headers.insert(rdkafka::message::Header { key: header.name, value: header.value })
            }));
        }
        let deadline = Instant::now() + FLUSH_LIMIT;
        loop {
            match self.client.send(base) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    base = back;
                    self.client.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(fault("producing a record", error)),
            }
        }
        self.sent_since_poll += 1;
        if self.sent_since_poll >= 1_000 {
            self.serve();
        }
        Ok(())
    }

    /// Serves delivery reports without waiting.
    pub fn serve(&mut self) {
        self.sent_since_poll = 0;
        self.client.poll(Duration::ZERO);
    }

    /// Waits until everything sent is acknowledged by all in-sync replicas.
    ///
    /// # Errors
    /// The first delivery that failed since the last flush.
    pub fn flush(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + FLUSH_LIMIT;
        // Not `BaseProducer::flush`: that one polls in steps of 100 ms, which every transaction would pay.
        while self.client.in_flight_count() > 0 {
            self.client.poll(Duration::from_millis(1));
            if Instant::now() > deadline {
                return Err(Fault::outage(
                    "flushing the producer",
                    "not everything was acknowledged in time",
                ));
            }
        }
        self.failed_delivery()
    }

    /// Adds the offsets of what was consumed to the transaction: they become visible with its records, or not at all.
    ///
    /// # Errors
    /// As at [`Producer`].
    pub fn send_offsets(
        &mut self,
        positions: &Positions,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), Fault> {
        let list = list_of(positions).map_err(|error| fault("listing offsets", error))?;
        self.retrying("sending offsets to the transaction", |client| {
            client.send_offsets_to_transaction(&list, group, Timeout::Never)
        })
    }

    /// Flushes and commits the transaction.
    ///
    /// # Errors
    /// As at [`Producer`]. After a time-out nobody knows whether the commit will land (librdkafka has no KIP-890), so
    /// that too asks for a new producer: taking the id again settles it one way or the other.
    pub fn commit(&mut self) -> Result<(), Fault> {
        self.flush()?;
        failpoint::pass("before-commit");
        self.retrying("committing the transaction", |client| client.commit_transaction(Timeout::Never))?;
        failpoint::pass("after-commit");
        Ok(())
    }

    /// Aborts the transaction; nothing of it becomes visible.
    ///
    /// # Errors
    /// As at [`Producer`].
    pub fn abort(&mut self) -> Result<(), Fault> {
        self.client.purge(rdkafka::producer::PurgeConfig::default().queue());
        let deadline = Instant::now() + FLUSH_LIMIT;
        while self.client.in_flight_count() > 0 && Instant::now() < deadline {
            self.client.poll(Duration::from_millis(1));
        }
        let _ = self.failed_delivery(); // the purge fails what was queued: expected
        self.retrying("aborting the transaction", |client| client.abort_transaction(Timeout::Never))
    }

    /// The same call with the same arguments for as long as librdkafka says that it may be repeated.
    fn retrying(
        &mut self,
        doing: &str,
        call: impl Fn(&BaseProducer<Deliveries>) -> Result<(), KafkaError>,
    ) -> Result<(), Fault> {
        let began = Instant::now();
        let deadline = began + FLUSH_LIMIT;
        loop {
            match call(&self.client) {
                Ok(()) => {
                    // librdkafka waits before it repeats a request: what was quicker was sent once.
                    self.in_doubt |= began.elapsed() >= settings::LEAST_RETRY;
                    return Ok(());
                }
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {
                    self.client.poll(Duration::from_millis(10));
                }
                Err(error) => return Err(fault(doing, error)),
            }
        }
    }

    fn failed_delivery(&self) -> Result<(), Fault> {
        match self.client.context().failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(error) => Err(fault("delivering records", error)),
        }
    }
}

fn list_of(positions: &Positions) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (at, next) in positions {
        list.add_partition_offset(&at.topic, at.partition, Offset::Offset(next.raw()))?;
    }
    Ok(list)
}

/// What to do about a producer's error; see [`Producer`].
fn fault(doing: &str, error: KafkaError) -> Fault {
    use RDKafkaErrorCode as Code;
    if is_denied(&error) {
        return Fault::user(doing, error);
    }
    let code = error.rdkafka_error_code();
    if matches!(code, Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)) {
        let why =
            "another process took this transactional id; give each its own `instance`, or let this one end";
        return Fault::new(Domain::User, Retry::Never, doing, format!("{error}: {why}"));
    }
    match &error {
        KafkaError::Transaction(inner) if inner.txn_requires_abort() => Fault::rewind(doing, error),
        KafkaError::MessageProduction(Code::MessageSizeTooLarge) => Fault::bug(doing, error),
        // A failed delivery inside a transaction makes it abortable; timed-out, fatal or unflagged: a new producer.
        KafkaError::MessageProduction(_) => Fault::rewind(doing, error),
        _ => Fault::new(Domain::External, Retry::Later, doing, error),
    }
}
