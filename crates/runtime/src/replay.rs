//! Records handled again, outside any group: dead letters after a fix, and ranges that no receipt covers.
//!
//! N times is once, for two reasons. The mark that a record is done is written in the same transaction as its
//! outputs. And a replay takes the transactional id `<group>-<worker>-replay` *before* it reads: that aborts
//! the open transaction of an earlier replay and fences a second replay beside it (KIP-98).
//!
//! | work | done already if | effect |
//! |---|---|---|
//! | a dead letter | the receipts' topic has its fate (out, skipped) | a second run finds nothing to do |
//! | … refused again for the same reason by the same version | the existing letter has this reason | nothing is written |
//! | a range of offsets | a segment of the group covers it, live or replayed | only the gaps are filled |
//! | a range the group has not reached yet | – | left to the live worker |
//!
//! A replayed record keeps its identity: outputs carry the place of the *original* record (`sluice.source`,
//! the facts' ids), so they equal the outputs of the first time. Replays do not go back through the source
//! topic: every other reader of it would get the record a second time.
//!
//! Records that the log no longer has may be in an archive ([`sluice_core::RecordArchive`]). They are read
//! from there, with the offsets that they had.
//!
//! Records that were written *wrongly* are not mended by writing them again into the same topic: readers
//! would have both. A replay after such a fix is a rebuild: a contract with a new masked topic (`…masked.v2`)
//! and a worker with a group of its own. This command then fills the wanted span, and the live worker goes on
//! behind it.

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

/// The settings of a replay; they are the live worker's own.
pub struct ReplayConfig {
    /// Worker name.
    pub worker: &'static str,
    /// Kafka.
    pub kafka: KafkaSection,
    /// The live worker's consumer group. The receipts are this group's.
    pub group: String,
    /// This process's name, for the receipts.
    pub instance: String,
    /// Memory setting, in bytes.
    pub memory: usize,
    /// The numbers of dead letters from which on a replay stops.
    pub limits: DeadLetterThresholds,
}

impl ReplayConfig {
    /// Returns the author of the replay's receipts.
    fn who(&self) -> ReceiptAuthor {
        ReceiptAuthor {
            group: self.group.clone(),
            worker: self.worker.to_owned(),
            instance: format!("{}-replay", self.instance),
        }
    }

    /// Returns a producer with the transactional id that all replays of this worker share; see the module's
    /// head.
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
    /// It has no output, by rule.
    Skipped(OutcomeReason),
    /// It is a dead letter.
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

/// Aborts the open transaction and logs the next step. Returns `fault`.
fn given_up(producer: &mut KafkaProducer, fault: Fault) -> Fault {
    // A transaction that cannot be aborted now is aborted by its time-out, or when the next replay takes the
    // id.
    if let Err(also) = producer.abort() {
        tracing::debug!(
            fault = %also,
            "aborting the transaction failed; it ends by its time-out, or when the next replay begins"
        );
    }

    // Trouble of a neighbour passes: the same command goes on behind the last commit.
    if fault.domain == Domain::External {
        tracing::warn!("replay stopped: committed records stay done; run the same command again to go on");
    }
    fault
}
