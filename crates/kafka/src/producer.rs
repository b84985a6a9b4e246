//! A blocking producer with or without transactions. One thread owns it.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use sluice_core::{Domain, Fault, Header, Retry};

use super::native::{ClientCallbacks, GroupMetadata, KafkaClientError, NativeProducer};
use super::{CommitPositions, is_denied, list_of, settings, statistics};
use crate::KafkaSection;

/// The time that one call to the coordinator may take. After it the fault is logged and the call is made
/// again.
const INIT_STEP: Duration = Duration::from_secs(10);
/// The longest wait for deliveries. It is longer than `message.timeout.ms`: by then every message is
/// delivered or has failed.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// After this number of records the delivery reports are served. Serving them soon frees delivered records
/// while they are still in the cache.
const SERVED: u32 = 500;

/// A record to produce. All of its parts are lent.
#[derive(Clone, Copy)]
pub struct OutgoingRecord<'a> {
    /// Topic to produce to.
    pub topic: &'a str,
    /// The chosen partition. `None` takes Java's default: murmur2 of the key.
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

/// A producer of one OS thread. Its faults name the action to take:
/// * [`Retry::Rewind`]: abort, and do the batch again with this producer.
/// * [`Retry::Later`]: drop this producer, build a new one with the same id (which fences everything in
///   flight), and do the batch again.
/// * [`Retry::Never`]: another process took the id, or access was denied. Stop.
///
/// The coordinator sends the same answer in two cases: another process took the id, or the coordinator itself
/// ended a transaction that was open for longer than `transaction.timeout.ms`. Both raise the epoch. The
/// coordinator never ends a younger transaction. A fence therefore counts as the work of another process
/// while the transaction is younger than that, and as the coordinator's work from then on. In the second case
/// the id is taken again. If it was another process after all, that process is the next one to be fenced
/// early, and it ends.
///
/// A producer is *in doubt* if the end of its transaction may have been requested twice. When a connection
/// breaks, librdkafka repeats an EndTxn without reporting it, and it has no KIP-890. The first request may
/// then still be on its way and end the *next* transaction in its middle. Such a producer takes its id again
/// before the next transaction begins. The new epoch fences every request that is still on its way.
pub struct KafkaProducer {
    client: NativeProducer,
    sent_since_poll: u32,
    /// The id and the settings for taking it again; `None` without transactions.
    slot: Option<TransactionalSlot>,
    /// The end of the last transaction may have been requested twice.
    in_doubt: bool,
    /// The time at which the open transaction began.
    began: Option<Instant>,
}

/// A transactional id and the settings for taking it.
struct TransactionalSlot {
    kafka: KafkaSection,
    transactional_id: String,
    memory: usize,
}

impl KafkaProducer {
    /// Builds a transactional producer. To take `transactional_id` ends every transaction that an earlier
    /// holder left open, and fences that holder (KIP-98): from here on nothing that the holder does becomes
    /// visible.
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

        // This call fences the former holder.
        producer
            .client
            .init_transactions(INIT_STEP)
            .map_err(|error| fault("taking the transactional id", error, None))?;
        Ok(producer)
    }

    /// Builds an idempotent producer without transactions, for the dead letters of sinks.
    ///
    /// # Errors
    /// A [`Fault`] if a property is wrong.
    pub fn idempotent(kafka: &KafkaSection, memory: usize) -> Result<Self, Fault> {
        Self::build(kafka, None, memory)
    }

    /// Builds the client with its callbacks. The transactional id, if any, is not taken yet.
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

    /// Opens a transaction. A producer in doubt takes its id again first.
    ///
    /// # Errors
    /// As at [`KafkaProducer`].
    pub fn begin(&mut self) -> Result<(), Fault> {
        // A late EndTxn of the last transaction would end this one. A new epoch fences it.
        if self.in_doubt
            && !sluice_failpoint::sabotaged("reuse-producer")
            && let Some(slot) = &self.slot
        {
            tracing::info!(
                "taking the transactional id again: the end of the last transaction may have been sent twice"
            );
            *self = Self::transactional(&slot.kafka, &slot.transactional_id, slot.memory)?;
        }

        // A delivery that failed since the last transaction is reported before a new transaction begins.
        self.failed_delivery()?;
        self.client.begin().map_err(|error| self.fault("beginning a transaction", error))?;
        self.began = Some(Instant::now());
        Ok(())
    }

    /// Hands a record to the client, which copies it. Waits while the client's queue is full. That is
    /// backpressure, not an error, and lasts at most until the queued records are delivered or have failed
    /// (`message.timeout.ms`).
    ///
    /// # Errors
    /// As at [`KafkaProducer`].
    pub fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault> {
        // The deadline is set at the first full queue only: the usual record asks no clock.
        let mut deadline = None;
        while let Err(error) = self.client.produce(record) {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + FLUSH_LIMIT);
            if error.code != RDKafkaErrorCode::QueueFull || Instant::now() >= deadline {
                return Err(abortable(self.fault("producing a record", error)));
            }

            // Reports of delivery make room in the queue.
            self.client.serve(Duration::from_millis(1));
        }

        // Regular service keeps the reports from piling up.
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

    /// Waits until all in-sync replicas have acknowledged every record that was sent.
    ///
    /// # Errors
    /// The first delivery that failed since the last flush.
    pub fn flush(&mut self) -> Result<(), Fault> {
        self.flush_by(None)
    }

    /// Does the same as [`KafkaProducer::flush`], and waits no longer than until `deadline`.
    ///
    /// # Errors
    /// As at [`KafkaProducer::flush`], and an outage once `deadline` has passed.
    pub fn flush_by(&mut self, deadline: Option<Instant>) -> Result<(), Fault> {
        let deadline = deadline.unwrap_or_else(|| Instant::now() + FLUSH_LIMIT);

        // Steps of a millisecond: a transaction waits here, and librdkafka's own waits step by ten or more.
        while self.client.in_flight() > 0 {
            self.client.flush_step();
            if Instant::now() > deadline {
                return Err(Fault::outage(
                    "flushing the producer",
                    "the brokers did not acknowledge all records in time",
                ));
            }
        }

        self.failed_delivery()
    }

    /// Adds the positions of the consumed records to the transaction. They become visible with its records,
    /// or not at all.
    ///
    /// # Errors
    /// As at [`KafkaProducer`].
    pub fn send_offsets(&mut self, positions: &CommitPositions, group: &GroupMetadata) -> Result<(), Fault> {
        let list = list_of(positions)?;

        // By then the coordinator ends the transaction, whatever the outcome of the call.
        let within =
            self.slot.as_ref().map_or(FLUSH_LIMIT, |slot| settings::transaction_timeout(&slot.kafka));
        self.retrying("sending offsets to the transaction", |client| {
            client.send_offsets(&list, group, within)
        })
    }

    /// Flushes and commits the transaction.
    ///
    /// # Errors
    /// As at [`KafkaProducer`]. After a time-out the outcome of the commit is unknown (librdkafka has no
    /// KIP-890). That case too asks for a new producer: taking the id again settles the commit one way or the
    /// other.
    pub fn commit(&mut self) -> Result<(), Fault> {
        self.flush()?;
        sluice_failpoint::pass("before-commit");
        self.retrying("committing the transaction", NativeProducer::commit)?;
        self.began = None;
        sluice_failpoint::pass("after-commit");
        Ok(())
    }

    /// Aborts the transaction. Nothing of it becomes visible.
    ///
    /// # Errors
    /// As at [`KafkaProducer`].
    pub fn abort(&mut self) -> Result<(), Fault> {
        // Records that were not sent yet are dropped. Those under way are waited for, as their reports still
        // come.
        self.client.purge();
        let deadline = Instant::now() + FLUSH_LIMIT;
        while self.client.in_flight() > 0 && Instant::now() < deadline {
            self.client.flush_step();
        }

        let aborted = self.retrying("aborting the transaction", NativeProducer::abort);
        self.began = None;

        // Purge and abort fail the queued records. These failures are expected and do not concern the next
        // transaction.
        self.serve();
        let _ = self.failed_delivery();
        aborted
    }

    /// Repeats a call with the same arguments while librdkafka marks its error as retriable, up to
    /// [`FLUSH_LIMIT`].
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
                    // librdkafka waits before it repeats a request. A request that was answered sooner was
                    // sent once.
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

    /// Fails if a delivery has failed since the last call.
    fn failed_delivery(&self) -> Result<(), Fault> {
        match self.client.take_failed() {
            None => Ok(()),
            Some(error) => Err(abortable(self.fault("delivering records", error))),
        }
    }

    /// Turns an error of the client into a fault, with the age of the open transaction.
    fn fault(&self, doing: &str, error: KafkaClientError) -> Fault {
        let open_for = self.began.map(|began| began.elapsed());
        let timed_out = self.slot.as_ref().zip(open_for).and_then(|(slot, open_for)| {
            let timeout = settings::transaction_timeout(&slot.kafka);
            (open_for >= timeout).then_some(timeout)
        });
        fault(doing, error, timed_out)
    }
}

/// Turns [`Retry::Later`] into [`Retry::Rewind`]. A record that was not taken or not delivered makes its
/// transaction abortable. If the abort fails too, a new producer is built.
fn abortable(mut fault: Fault) -> Fault {
    if fault.retry == Retry::Later {
        fault.retry = Retry::Rewind;
    }
    fault
}

/// Decides the action for a producer's error; see [`KafkaProducer`]. `timed_out` holds the transaction's
/// time-out if the transaction has been open for at least that long.
fn fault(doing: &str, error: KafkaClientError, timed_out: Option<Duration>) -> Fault {
    use RDKafkaErrorCode as Code;

    // Denied access is the operator's to mend.
    if is_denied(error.code) {
        return Fault::user(doing, error);
    }

    // A fence: the age of the transaction decides between the coordinator and another process.
    if matches!(error.code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) {
        return match timed_out {
            Some(timeout) => {
                let why = format!(
                    "the coordinator ended the transaction, which was open for over {timeout:?} \
                     (transaction.timeout.ms)"
                );
                Fault::new(Domain::External, Retry::Later, doing, format!("{error}: {why}"))
            }
            None => {
                let why = "another process took this transactional id: give each process its own `instance`, \
                           or let this one end";
                Fault::new(Domain::User, Retry::Never, doing, format!("{error}: {why}"))
            }
        };
    }

    // Everything else: the flags of librdkafka decide.
    match error.code {
        Code::MessageSizeTooLarge => Fault::bug(doing, error),
        _ if error.abortable => Fault::rewind(doing, error),
        // Timed-out, fatal or unflagged errors ask for a new producer.
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
