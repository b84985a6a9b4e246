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

use sluice_core::{Domain, Fault, OutcomeReason, Processor, RecordRef, names};

use crate::config::KafkaSection;
use crate::lane::judge::{RecordVerdict, judge_record};
use crate::lane::limits::DeadLetterThresholds;
use crate::lane::transform::TransformWork;
use crate::receipts::ReceiptAuthor;
use crate::registry::BlockingRegistry;
use sluice_kafka::KafkaProducer;

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
        let id = names::replay_transactional_id(&self.group, self.worker);
        KafkaProducer::transactional(&self.kafka, &id, self.memory)
    }
}

/// A processor and its outputs, as in a live lane.
type ReplayWork = TransformWork<Box<dyn Processor>>;

/// The end of a replayed record.
enum ReplayVerdict {
    /// Its outputs are in the arena.
    Written,
    Skipped(OutcomeReason),
    Refused(OutcomeReason),
}

/// Judges one record. A replay does not wait: a record that cannot be judged now ends it.
///
/// # Errors
/// A [`Fault`] if the registry is away, or the contract does not cover the record's schema.
fn judge(
    work: &mut ReplayWork,
    registry: &mut BlockingRegistry,
    record: &RecordRef<'_>,
) -> Result<ReplayVerdict, Fault> {
    match judge_record(work, registry, record)? {
        RecordVerdict::Written => Ok(ReplayVerdict::Written),
        RecordVerdict::Skipped(reason) => Ok(ReplayVerdict::Skipped(reason)),
        RecordVerdict::DeadLetter(reason) => Ok(ReplayVerdict::Refused(reason)),
        RecordVerdict::Unavailable(fault) => Err(fault),
        RecordVerdict::Uncovered(reason) => {
            let doing = format!("replaying {}[{}] offset {}", record.topic, record.partition, record.offset);
            Err(Fault::user(doing, reason.to_string()))
        }
    }
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
