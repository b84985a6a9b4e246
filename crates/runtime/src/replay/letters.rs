//! Dead letters, handled again by the code of the mended worker.
//!
//! A topic of dead letters is read twice. The first reading finds the newest letter of each identity and its
//! state; the second one handles the chosen letters. Outputs and fate of a letter are written in one
//! transaction, so a letter with a fate is done, and a repeated replay passes over it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sluice_core::{Fault, Header, Offset, Processor, RecordRef};

use super::{ReplayConfig, ReplayVerdict, ReplayWork, given_up, judge};
use crate::dead_letter::{
    DeadLetter, DeadLetterBoard, DeadLetterHead, DeadLetterState, VERSION, own_headers, topic_of,
};
use crate::receipts::{DeadLetterFate, FateKind, OutcomeCounts, ReceiptBooks, ReceiptRecord, now_ms};
use crate::registry::BlockingRegistry;
use sluice_kafka::{KafkaProducer, read_to_end};

/// Number of letters in one transaction.
const BATCH: u64 = 1_000;

/// The counts of a replay of letters, or of a dry run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LetterReplaySummary {
    /// Unresolved letters that were chosen.
    pub chosen: u64,
    /// Letters whose outputs are written.
    pub out: u64,
    /// Letters that have no output, by rule.
    pub skipped: u64,
    /// Letters that were refused again, for another reason or by another version: a letter with the next
    /// attempt is written.
    pub refused: u64,
    /// Letters that were refused again for the same reason by the same version: nothing is written.
    pub unchanged: u64,
}

/// A replay of letters in progress.
struct LetterReplay<'a> {
    config: &'a ReplayConfig,
    work: ReplayWork,
    registry: BlockingRegistry,
    /// `None` in a dry run.
    producer: Option<KafkaProducer>,
    /// Letters in the open transaction; 0 if none is open.
    open: u64,
    done: LetterReplaySummary,
}

/// Handles the unresolved letters of the topics `sources` for which `choose` returns true. Without `write` it
/// writes nothing and returns the counts that a replay would have. Calls `progress` after each letter.
///
/// # Errors
/// A [`Fault`]. Letters that were committed before it stay done, and a repeat goes on with the others.
pub fn letters(
    config: &ReplayConfig,
    (processor, registry): (Box<dyn Processor>, BlockingRegistry),
    sources: &[String],
    choose: impl Fn(&DeadLetterHead) -> bool,
    write: bool,
    mut progress: impl FnMut(&LetterReplaySummary),
) -> Result<LetterReplaySummary, Fault> {
    // The producer comes before any reading: its transactional id fences an earlier replay, so from here on
    // no other process resolves letters of this worker.
    let producer = if write { Some(config.producer()?) } else { None };
    let books = ReceiptBooks::open(&config.kafka)?;
    let done = LetterReplaySummary::default();
    let mut replay =
        LetterReplay { config, work: ReplayWork::new(processor), registry, producer, open: 0, done };
    for source in sources {
        // The first reading: the newest letter of each identity, if it is unresolved and of this worker and
        // group. Letters of early versions name no group.
        let mut board = DeadLetterBoard::default();
        board.read(&config.kafka, source)?;
        let ours = |head: &DeadLetterHead| {
            head.worker == config.worker && (head.group.is_empty() || head.group == config.group)
        };
        let chosen: BTreeSet<(i32, i64)> = board
            .iter(&books)
            .filter(|(_, newest, state)| {
                *state == DeadLetterState::Unresolved && ours(&newest.head) && choose(&newest.head)
            })
            .map(|(_, newest, _)| (newest.partition, newest.offset))
            .collect();
        replay.done.chosen += chosen.len() as u64;
        if chosen.is_empty() {
            continue;
        }

        // The second reading, so that values are not held in memory between choosing and handling.
        let mut failed = None;
        read_to_end(&config.kafka, &topic_of(source), &mut BTreeMap::new(), |record| {
            if failed.is_none() && chosen.contains(&(record.partition, record.offset.raw())) {
                failed = replay.take(record).err();
                progress(&replay.done);
            }
        })?;

        // Each source ends with a commit. After a fault the open transaction is aborted.
        if let Some(fault) = failed.or_else(|| replay.commit().err()) {
            return Err(match &mut replay.producer {
                Some(producer) => given_up(producer, fault),
                None => fault,
            });
        }
    }
    Ok(replay.done)
}

impl LetterReplay<'_> {
    /// Handles one letter as the record that was refused, and writes its outputs and its fate.
    ///
    /// # Errors
    /// A [`Fault`] of the registry or of Kafka.
    fn take(&mut self, letter: &RecordRef<'_>) -> Result<(), Fault> {
        // The board has read the heads of all chosen letters already. A letter that is gone since then is
        // passed over.
        let Some(head) = DeadLetterHead::read(letter) else { return Ok(()) };
        let Some(offset) = Offset::new(head.offset) else { return Ok(()) };

        // The record as it was refused: with its own topic, partition, offset and headers.
        let headers: Vec<Header<'_>> = own_headers(letter).collect();
        let record =
            RecordRef { topic: &head.topic, partition: head.partition, offset, headers: &headers, ..*letter };
        let verdict = judge(&mut self.work, &mut self.registry, &record)?;

        // The same code gives the same reason for the same bytes. A further letter would add nothing.
        if let ReplayVerdict::Refused(reason) = &verdict
            && reason.class.as_str() == head.class
            && reason.path == head.path
            && head.version == VERSION
        {
            self.done.unchanged += 1;
            return Ok(());
        }

        // The outputs, or the next letter. A dry run has no producer and only counts.
        self.begin()?;
        let fate = match verdict {
            ReplayVerdict::Written => {
                if let Some(producer) = &mut self.producer {
                    self.work.send_outputs(&mut OutcomeCounts::default(), |out| producer.send(out))?;
                }
                self.done.out += 1;
                FateKind::Out
            }
            ReplayVerdict::Skipped(_) => {
                self.done.skipped += 1;
                FateKind::Skipped
            }
            ReplayVerdict::Refused(reason) => {
                let (worker, group) = (self.config.worker, self.config.group.as_str());
                let again = DeadLetter { reason: &reason, worker, group, attempt: head.attempt + 1 };
                if let Some(producer) = &mut self.producer {
                    again.send(&record, |out| producer.send(out))?;
                }
                self.done.refused += 1;
                FateKind::Refused
            }
        };

        // The fate goes into the same transaction: it is the mark by which a repeat passes over the letter.
        let identity = head.identity();
        let fate = ReceiptRecord::Letter(DeadLetterFate {
            group: identity.group,
            topic: head.topic.clone(),
            partition: head.partition,
            offset: head.offset,
            fate,
            attempt: head.attempt + 1,
            version: VERSION.to_owned(),
            time_ms: now_ms(),
        });
        if let Some(producer) = &mut self.producer {
            fate.send(|out| producer.send(out))?;
        }
        self.open += 1;
        if self.open >= BATCH { self.commit() } else { Ok(()) }
    }

    /// Begins a transaction unless one is open.
    fn begin(&mut self) -> Result<(), Fault> {
        match &mut self.producer {
            Some(producer) if self.open == 0 => producer.begin(),
            _ => Ok(()),
        }
    }

    /// Commits the open transaction, if there is one.
    fn commit(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.open) > 0
            && let Some(producer) = &mut self.producer
        {
            producer.commit()?;
        }
        Ok(())
    }
}
