//! Records handled again, outside any group: dead letters after a fix, and ranges that nobody accounts for.
//!
//! N times is once, because everything that is written says so in the same transaction, and because whoever replays
//! takes the transactional id `<group>-<worker>-replay` *before* it looks: an earlier replay's open transaction is
//! aborted by that, and a second one beside it is fenced (KIP-98).
//!
//! | what | is done already if | so that |
//! |---|---|---|
//! | a dead letter | the receipts' topic has its fate (out, skipped) | a second run finds nothing to do |
//! | … refused again for the same reason by the same version | the letter that is there says so already | nothing is written |
//! | a range of offsets | a segment of the group covers it, live or replayed | only the gaps are filled |
//! | a range the group has not reached yet | – | it is the live worker's to do, and left alone |
//!
//! A replayed record keeps its identity: outputs carry the place of the *original* record (`sluice.source`, the facts'
//! ids), so what comes out is what would have come out the first time. Replays do not go back through the source topic:
//! there every other reader would meet the record a second time.
//!
//! What the log no longer has may be in an archive ([`Archived`]); it is read from there, at the places that it had.
//!
//! What was written *wrongly* is not mended by writing it again into the same topic: readers would have both. A replay
//! after such a fix is a rebuild: a contract with a new masked topic (`…masked.v2`), a worker with a group of its own;
//! this command then brings the span that is wanted, and the live worker goes on behind it.

mod letters;
mod range;

use sluice_core::{
    Domain, Fault, LearnError, Outcome, OutcomeReason, Outputs, Processor, ReasonClass, RecordRef,
};

use crate::config::KafkaSection;
use crate::lane::limits::DeadLetterThresholds;
use crate::receipts::ReceiptAuthor;
use crate::registry::BlockingRegistry;
use sluice_kafka::{KafkaProducer, OutgoingRecord};

pub use letters::{LetterReplaySummary, letters};
pub use range::{RangeReplaySummary, ReplayPlan, ReplayRange, range, todo};

/// What a replay needs to know; the live worker's own settings.
pub struct ReplayConfig {
    /// Worker name.
    pub worker: &'static str,
    /// Kafka.
    pub kafka: KafkaSection,
    /// The live worker's consumer group: whose books are kept.
    pub group: String,
    /// This process's name, for the receipts.
    pub instance: String,
    /// Memory setting, in bytes.
    pub memory: usize,
    /// How many dead letters are too many.
    pub limits: DeadLetterThresholds,
}

impl ReplayConfig {
    fn who(&self) -> ReceiptAuthor {
        ReceiptAuthor {
            group: self.group.clone(),
            worker: self.worker.to_owned(),
            instance: format!("{}-replay", self.instance),
        }
    }

    /// Takes the id that all replays of this worker share; see the head of the module.
    fn producer(&self) -> Result<KafkaProducer, Fault> {
        let id = format!("{}-{}-replay", self.group, self.worker);
        KafkaProducer::transactional(&self.kafka, &id, self.memory)
    }
}

/// What a record comes to.
enum ReplayVerdict {
    /// Its outputs are in the arena.
    Written,
    Skipped(OutcomeReason),
    Refused(OutcomeReason),
}

/// Hands one record to the processor, teaching it schemas on the way.
///
/// # Errors
/// A [`Fault`] if the record cannot be judged now: the registry is away, or the contract does not cover its schema.
fn judge(
    processor: &mut dyn Processor,
    registry: &mut BlockingRegistry,
    record: &RecordRef<'_>,
    outputs: &mut Outputs,
) -> Result<ReplayVerdict, Fault> {
    let mut learned = 0;
    let uncovered = |reason: OutcomeReason| {
        let doing = format!("replaying {}[{}] offset {}", record.topic, record.partition, record.offset);
        Fault::user(doing, reason.to_string())
    };
    loop {
        outputs.clear();
        match processor.process(record, outputs) {
            Outcome::Emitted => return Ok(ReplayVerdict::Written),
            Outcome::Skipped(reason) => return Ok(ReplayVerdict::Skipped(reason)),
            Outcome::DeadLetter(reason) => return Ok(ReplayVerdict::Refused(reason)),
            Outcome::Uncovered(reason) => return Err(uncovered(reason)),
            // Its key may have a schema, and its value has one.
            Outcome::NeedsSchema(id) if learned == 2 => {
                let why = format!("schema {id} was learned and is asked for again");
                return Err(Fault::bug("learning a schema", why));
            }
            Outcome::NeedsSchema(id) => {
                let Some(schema) = registry.schema(id)? else {
                    let expected = format!("a registered schema; the registry has no id {id}");
                    return Ok(ReplayVerdict::Refused(OutcomeReason::new(
                        ReasonClass::UnknownSchema,
                        expected,
                    )));
                };
                match processor.learn(record.topic, id, &schema, registry) {
                    Ok(()) => learned += 1,
                    Err(LearnError::Uncovered(reason)) => return Err(uncovered(reason)),
                    Err(LearnError::Fault(fault)) => return Err(fault),
                }
            }
        }
    }
}

/// Sends what is in the arena to the processor's routes, telling each route to `count`.
fn send_outputs(
    producer: &mut KafkaProducer,
    outputs: &Outputs,
    routes: &[String],
    mut count: impl FnMut(u16),
) -> Result<(), Fault> {
    for out in outputs.iter() {
        let topic = routes
            .get(usize::from(out.route.0))
            .ok_or_else(|| Fault::bug("routing an output", format!("no route {}", out.route.0)))?;
        let headers: Vec<_> = out.headers().collect();
        producer.send(&OutgoingRecord {
            topic,
            partition: None,
            key: out.key,
            value: out.value,
            timestamp_ms: out.timestamp_ms,
            headers: &headers,
        })?;
        count(out.route.0);
    }
    Ok(())
}

/// Gives the open transaction up and says what to do.
fn given_up(producer: &mut KafkaProducer, fault: Fault) -> Fault {
    if let Err(also) = producer.abort() {
        tracing::debug!(fault = %also, "it ends by its time-out, or when the next replay takes the id");
    }
    if fault.domain == Domain::External {
        tracing::warn!("what was committed stays; run the same command again to go on");
    }
    fault
}
