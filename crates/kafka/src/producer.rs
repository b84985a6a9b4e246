//! A blocking producer, owned by one thread, with or without transactions.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use sluice_core::{Domain, Fault, Header, Retry};

use super::native::{ClientCallbacks, GroupMetadata, KafkaClientError, NativeProducer};
use super::{CommitPositions, is_denied, list_of, settings, statistics};
use crate::KafkaSection;

/// How long one call to the coordinator may take before we say so and try again.
const INIT_STEP: Duration = Duration::from_secs(10);
/// Longer than `message.timeout.ms`: by then every message is delivered or failed.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// After so many records reports are served: soon, so that what was delivered is freed while it is still in the cache.
const SERVED: u32 = 500;

/// A record on its way out; everything lent.
#[derive(Clone, Copy)]
pub struct OutgoingRecord<'a> {
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
/// The coordinator answers alike whether another process took the id or it ended a transaction that was open for
/// longer than `transaction.timeout.ms` itself: both raise the epoch. It never ends one that is younger. So a fence is
/// another process's while the transaction is younger than that, and taken for the coordinator's from then on: the id
/// is taken anew, and should it have been another process after all, that one is the next to be fenced early, and ends.
///
/// A transaction whose end may have been asked for twice leaves the producer *in doubt*: librdkafka repeats an EndTxn
/// by itself when a connection breaks, says nothing of it, and has no KIP-890, so that the first one may still be on
/// its way and end the *next* transaction in its middle. Such a producer takes its id anew before it begins again;
/// the new epoch fences whatever is on its way.
pub struct KafkaProducer {
    client: NativeProducer,
    sent_since_poll: u32,
    /// What it was built from, if it is transactional.
    slot: Option<TransactionalSlot>,
    in_doubt: bool,
    /// When the open transaction began.
    began: Option<Instant>,
}

/// A transactional id and how to take it.
struct TransactionalSlot {
    kafka: KafkaSection,
    transactional_id: String,
    memory: usize,
}

impl KafkaProducer {
    /// A transactional producer. Taking `transactional_id` ends whatever an earlier holder of it left open and fences
    /// that holder (KIP-98): from here on nothing it does becomes visible.
    ///
    /// # Errors
    /// A [`Fault`] as described at [`KafkaProducer`]; [`Retry::Later`] while no coordinator answers.
    pub fn transactional(kafka: &KafkaSection, transactional_id: &str, memory: usize) -> Result<Self, Fault> {
        let mut producer = Self::build(kafka, Some(transactional_id), memory)?;
        producer.slot = Some(TransactionalSlot {
            kafka: kafka.clone(),
            transactional_id: transactional_id.to_owned(),
            memory,
        });
        producer
            .client
            .init_transactions(INIT_STEP)
            .map_err(|error| fault("taking the transactional id", error, None))?;
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
        let mut callbacks = ClientCallbacks::default();
        callbacks.tokens = settings::tokens(kafka)?;
        let name = transactional_id.unwrap_or("idempotent").to_owned();
        callbacks.on_statistics = Some(Box::new(move |json| statistics::producer(&name, json)));
        let client = NativeProducer::new(&config, callbacks)
            .map_err(|error| settings::refused("building a Kafka producer", error))?;
        Ok(Self { client, sent_since_poll: 0, slot: None, in_doubt: false, began: None })
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// As at [`KafkaProducer`].
    pub fn begin(&mut self) -> Result<(), Fault> {
        if self.in_doubt
            && !sluice_failpoint::sabotaged("reuse-producer")
            && let Some(slot) = &self.slot
        {
            tracing::info!("the last transaction's end may have been sent twice: taking the id anew");
            *self = Self::transactional(&slot.kafka, &slot.transactional_id, slot.memory)?;
        }
        self.failed_delivery()?;
        self.client.begin().map_err(|error| self.fault("beginning a transaction", error))?;
        self.began = Some(Instant::now());
        Ok(())
    }

    /// Hands a record to the client, which copies it. Waits while its queue is full: that is backpressure, not an
    /// error, and lasts at most until what is queued is delivered or has failed (`message.timeout.ms`).
    ///
    /// # Errors
    /// As at [`KafkaProducer`].
    pub fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault> {
        let mut deadline = None;
        while let Err(error) = self.client.produce(record) {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + FLUSH_LIMIT);
            if error.code != RDKafkaErrorCode::QueueFull || Instant::now() >= deadline {
                return Err(abortable(self.fault("producing a record", error)));
            }
            self.client.serve(Duration::from_millis(1));
        }
        self.sent_since_poll += 1;
        if self.sent_since_poll >= SERVED {
            self.serve();
        }
        Ok(())
    }

    /// Serves reports of delivery and statistics without waiting.
    pub fn serve(&mut self) {
        self.sent_since_poll = 0;
        self.client.serve(Duration::ZERO);
    }

    /// Waits until everything sent is acknowledged by all in-sync replicas.
    ///
    /// # Errors
    /// The first delivery that failed since the last flush.
    pub fn flush(&mut self) -> Result<(), Fault> {
        self.flush_by(None)
    }

    /// As [`KafkaProducer::flush`], and no longer than until `deadline`.
    ///
    /// # Errors
    /// As there.
    pub fn flush_by(&mut self, deadline: Option<Instant>) -> Result<(), Fault> {
        let deadline = deadline.unwrap_or_else(|| Instant::now() + FLUSH_LIMIT);
        // By the millisecond: a transaction waits here, and librdkafka's own waits step by ten or more.
        while self.client.in_flight() > 0 {
            self.client.flush_step();
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
    /// As at [`KafkaProducer`].
    pub fn send_offsets(&mut self, positions: &CommitPositions, group: &GroupMetadata) -> Result<(), Fault> {
        let list = list_of(positions)?;
        // The coordinator ends the transaction then, whatever comes of the call.
        let within =
            self.slot.as_ref().map_or(FLUSH_LIMIT, |slot| settings::transaction_timeout(&slot.kafka));
        self.retrying("sending offsets to the transaction", |client| {
            client.send_offsets(&list, group, within)
        })
    }

    /// Flushes and commits the transaction.
    ///
    /// # Errors
    /// As at [`KafkaProducer`]. After a time-out nobody knows whether the commit will land (librdkafka has no KIP-890), so
    /// that too asks for a new producer: taking the id again settles it one way or the other.
    pub fn commit(&mut self) -> Result<(), Fault> {
        self.flush()?;
        sluice_failpoint::pass("before-commit");
        self.retrying("committing the transaction", NativeProducer::commit)?;
        self.began = None;
        sluice_failpoint::pass("after-commit");
        Ok(())
    }

    /// Aborts the transaction; nothing of it becomes visible.
    ///
    /// # Errors
    /// As at [`KafkaProducer`].
    pub fn abort(&mut self) -> Result<(), Fault> {
        self.client.purge();
        let deadline = Instant::now() + FLUSH_LIMIT;
        while self.client.in_flight() > 0 && Instant::now() < deadline {
            self.client.flush_step();
        }
        let aborted = self.retrying("aborting the transaction", NativeProducer::abort);
        self.began = None;
        // The purge fails what was queued, and so does the abort: expected, and not the next transaction's affair.
        self.serve();
        let _ = self.failed_delivery();
        aborted
    }

    /// The same call with the same arguments for as long as librdkafka says that it may be repeated.
    fn retrying(
        &mut self,
        doing: &str,
        call: impl Fn(&NativeProducer) -> Result<(), KafkaClientError>,
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
                Err(error) if error.retriable && Instant::now() < deadline => {
                    self.client.serve(Duration::from_millis(10));
                }
                Err(error) => return Err(self.fault(doing, error)),
            }
        }
    }

    fn failed_delivery(&self) -> Result<(), Fault> {
        match self.client.take_failed() {
            None => Ok(()),
            Some(error) => Err(abortable(self.fault("delivering records", error))),
        }
    }

    fn fault(&self, doing: &str, error: KafkaClientError) -> Fault {
        let open_for = self.began.map(|began| began.elapsed());
        let timed_out = self.slot.as_ref().zip(open_for).and_then(|(slot, open_for)| {
            let timeout = settings::transaction_timeout(&slot.kafka);
            (open_for >= timeout).then_some(timeout)
        });
        fault(doing, error, timed_out)
    }
}

/// A record that is not taken, or not delivered, makes its transaction abortable; if even that fails, a new producer is
/// built.
fn abortable(mut fault: Fault) -> Fault {
    if fault.retry == Retry::Later {
        fault.retry = Retry::Rewind;
    }
    fault
}

/// What to do about a producer's error; see [`KafkaProducer`]. `timed_out`: the transaction is open for longer than this, its
/// time-out.
fn fault(doing: &str, error: KafkaClientError, timed_out: Option<Duration>) -> Fault {
    use RDKafkaErrorCode as Code;
    if is_denied(error.code) {
        return Fault::user(doing, error);
    }
    if matches!(error.code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) {
        return match timed_out {
            Some(timeout) => {
                let why =
                    format!("the coordinator ended the transaction, which was open for over {timeout:?}");
                Fault::new(Domain::External, Retry::Later, doing, format!("{error}: {why}"))
            }
            None => {
                let why = "another process took this transactional id; give each its own `instance`, or let this one end";
                Fault::new(Domain::User, Retry::Never, doing, format!("{error}: {why}"))
            }
        };
    }
    match error.code {
        Code::MessageSizeTooLarge => Fault::bug(doing, error),
        _ if error.abortable => Fault::rewind(doing, error),
        // Timed-out, fatal or unflagged: a new producer.
        _ => Fault::new(Domain::External, Retry::Later, doing, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fenced(code: RDKafkaErrorCode, timed_out: Option<Duration>) -> Retry {
        let error =
            KafkaClientError { code, text: String::new(), fatal: true, retriable: false, abortable: false };
        fault("committing", error, timed_out).retry
    }

    #[test]
    fn a_fence_is_the_coordinators_only_once_the_transaction_could_have_timed_out() {
        for code in [
            RDKafkaErrorCode::Fenced,
            RDKafkaErrorCode::ProducerFenced,
            RDKafkaErrorCode::InvalidProducerEpoch,
        ] {
            assert_eq!(fenced(code, None), Retry::Never);
            assert_eq!(fenced(code, Some(Duration::from_secs(10))), Retry::Later);
        }
    }
}
