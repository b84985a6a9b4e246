//! Ranges of offsets that no receipt covers. The worker's own code handles them, and they get receipts like
//! those of the live worker.
//!
//! ```text
//!  wanted        ├──────────────────────────────────────────────┤
//!  the log            ├──────────────────────────────────────────────────────…   older records are gone,
//!                                                                                 unless an archive has them
//!  receipts           ├────────┤            ├────────┤                           done already
//!  group's position                                            ▲                 from here on the live worker's task
//!  to do                        ├──────────┤          ├────────┤
//! ```
//!
//! A group without a position gets one with the first transaction: the end of the span. A live worker that is
//! started later goes on there and does not handle the span again.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_core::{Fault, NextOffset, Offset, Processor, RecordArchive, RecordRef, TopicPartition};

use super::{ReplayConfig, ReplayVerdict, ReplayWork, given_up, judge};
use crate::dead_letter::DeadLetter;
use crate::lane::limits::{DeadLetterGauge, TooManyDeadLetters};
use crate::receipts::{
    OutcomeCounts, ReceiptAccount, ReceiptAuthor, ReceiptBooks, ReceiptChain, ReceiptRecord, now_ms,
    uncovered,
};
use crate::registry::BlockingRegistry;
use sluice_kafka::{CommitPositions, KafkaProducer};

/// Number of records in one transaction …
const BATCH_RECORDS: u64 = 10_000;
/// … and their bytes of input, whichever is reached first.
const BATCH_BYTES: usize = 8 << 20;

/// The wanted range of one partition; offsets half-open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRange {
    /// Topic and partition.
    pub at: TopicPartition,
    /// First offset; `None` is the beginning of the log, or of the archive if it has older records.
    pub from: Option<i64>,
    /// One past the last offset; `None` is the group's position, or the end of the log if it has none.
    pub to: Option<i64>,
}

/// The part of a range that is to be done, and the reasons why the rest is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplayPlan {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The ranges to be done: `(from, to)`, half-open, in order.
    pub open: Vec<(i64, i64)>,
    /// Number of wanted offsets that a receipt covers already.
    pub done: i64,
    /// First offset of the log; smaller offsets are gone.
    pub log_start: i64,
    /// The range that the archive covers, half-open; `None` without an archive or without an object of this
    /// partition.
    pub archived: Option<(i64, i64)>,
    /// The group's position. Offsets from here on are the live worker's task; `None` if the group has no
    /// position.
    pub committed: Option<i64>,
    /// The position that the group gets, if it has none.
    pub claim: Option<i64>,
}

/// The counts of a replay of ranges, or of a dry run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RangeReplaySummary {
    /// Records handled.
    pub records: u64,
    /// Records whose outputs are written.
    pub written: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// Records that have no output, by rule.
    pub skipped: u64,
}

/// Returns the part of `range` that is to be done; pure. The log's offsets are `start` to `end`, half-open.
fn decide(
    range: &ReplayRange,
    books: &ReceiptBooks,
    group: &str,
    (start, end): (i64, i64),
    archived: Option<(i64, i64)>,
    committed: Option<i64>,
) -> ReplayPlan {
    // Nothing behind the group's position is replayed: the live worker reads it.
    let wanted_to = range.to.unwrap_or(i64::MAX).min(committed.unwrap_or(end));
    let chain = ReceiptChain { group: group.to_owned(), at: range.at.clone() };
    let segments = books.segments(&chain);

    // The readable offsets are the archive up to the beginning of the log, then the log. Those that no
    // receipt covers are to be done.
    let (mut open, mut readable) = (vec![], 0);
    let archived_part = archived.map(|(first, after)| (first, after.min(start)));
    for (from, to) in archived_part.into_iter().chain([(start, end.max(wanted_to))]) {
        let from = range.from.unwrap_or(from).max(from);
        let to = wanted_to.min(to).max(from);
        readable += to - from;
        open.extend(uncovered(&segments, from, to));
    }

    // A claim is only made with a transaction, and without an open range there is none.
    let left: i64 = open.iter().map(|(from, to)| to - from).sum();
    let claim = wanted_to.max(start);
    ReplayPlan {
        topic: range.at.topic.to_string(),
        partition: range.at.partition,
        claim: (committed.is_none() && !open.is_empty()).then_some(claim),
        open,
        done: readable - left,
        log_start: start,
        archived,
        committed,
    }
}

/// Returns the plan of each range, in the order of `ranges`.
///
/// # Errors
/// A [`Fault`] if Kafka or the archive does not answer.
pub fn todo(
    config: &ReplayConfig,
    ranges: &[ReplayRange],
    mut archive: Option<&mut (dyn RecordArchive + '_)>,
) -> Result<Vec<ReplayPlan>, Fault> {
    let partitions = ranges.iter().map(|range| range.at.clone());
    // The positions come before the receipts: every offset below a position then has its receipt among them.
    let committed = sluice_kafka::committed(&config.kafka, &config.group, partitions)?;
    let books = ReceiptBooks::open(&config.kafka)?;

    ranges
        .iter()
        .map(|range| {
            let bounds = sluice_kafka::bounds(&config.kafka, &range.at)?;
            let archived = match &mut archive {
                Some(archive) => archive.covered(&range.at)?,
                None => None,
            };
            let committed = committed.get(&range.at).map(|next| next.raw());
            Ok(decide(range, &books, &config.group, bounds, archived, committed))
        })
        .collect()
}

/// Handles the offsets of `ranges` that no receipt covers. Records that are no longer in the log are read
/// from `archive`. Without `write` it writes nothing and returns the counts that a replay would have. Calls
/// `progress` after each record.
///
/// # Errors
/// A [`Fault`]. Records that were committed before it stay done, and a repeat goes on behind them.
pub fn range(
    config: &ReplayConfig,
    (processor, registry): (Box<dyn Processor>, BlockingRegistry),
    ranges: &[ReplayRange],
    mut archive: Option<&mut (dyn RecordArchive + '_)>,
    write: bool,
    mut progress: impl FnMut(&RangeReplaySummary),
) -> Result<RangeReplaySummary, Fault> {
    // The producer comes before any reading: its transactional id fences an earlier replay, so from here on
    // no other process replays for this worker.
    let producer = if write { Some(config.producer()?) } else { None };
    let todo = todo(config, ranges, archive.as_deref_mut())?;

    // The first transaction commits the claims of all partitions.
    let mut replay = RangeReplay {
        config,
        who: config.who(),
        work: ReplayWork::new(processor),
        registry,
        producer,
        claims: todo
            .iter()
            .filter_map(|todo| {
                let at = TopicPartition::new(todo.topic.as_str(), todo.partition);
                Some((at, NextOffset::new(todo.claim?)?))
            })
            .collect(),
        batch: ReplayBatch::default(),
        gauge: DeadLetterGauge::default(),
        done: RangeReplaySummary::default(),
    };

    // One open range after another. The limit of dead letters counts per partition, as in a live lane.
    for todo in &todo {
        let at = TopicPartition::new(todo.topic.as_str(), todo.partition);
        replay.gauge = DeadLetterGauge::default();
        for &(from, to) in &todo.open {
            // An open range never spans the beginning of the log, so it has one source.
            let shelf = if to <= todo.log_start { archive.as_deref_mut() } else { None };
            if let Err(fault) = replay.run(&at, (from, to), shelf, &mut progress) {
                return Err(match &mut replay.producer {
                    Some(producer) => given_up(producer, fault),
                    None => fault,
                });
            }
        }
    }
    Ok(replay.done)
}

/// The open transaction.
#[derive(Default)]
struct ReplayBatch {
    /// A transaction has begun.
    open: bool,
    /// Offset of its first record.
    first: Option<Offset>,
    /// One past its last offset.
    next: i64,
    /// Its records by outcome.
    counts: OutcomeCounts,
    /// Its bytes of input.
    bytes: usize,
}

/// A replay of ranges in progress.
struct RangeReplay<'a> {
    config: &'a ReplayConfig,
    who: ReceiptAuthor,
    work: ReplayWork,
    registry: BlockingRegistry,
    /// `None` in a dry run.
    producer: Option<KafkaProducer>,
    /// Positions for a group that has none, committed with the first transaction; empty afterwards.
    claims: CommitPositions,
    batch: ReplayBatch,
    gauge: DeadLetterGauge,
    done: RangeReplaySummary,
}

impl RangeReplay<'_> {
    /// Handles the records of one open range, from `archive` if it is given, otherwise from the log.
    ///
    /// # Errors
    /// A [`Fault`] of a neighbour, or the limit of dead letters.
    fn run(
        &mut self,
        at: &TopicPartition,
        (from, to): (i64, i64),
        archive: Option<&mut (dyn RecordArchive + '_)>,
        progress: &mut impl FnMut(&RangeReplaySummary),
    ) -> Result<(), Fault> {
        // Each range has an account of its own, which begins at the range's first offset.
        let Some(start) = NextOffset::new(from) else {
            return Err(Fault::bug("replaying a range", format!("{at}: expected an offset of at least 0")));
        };
        let mut account = ReceiptAccount::replay(at.clone(), start);
        self.batch = ReplayBatch { next: from, ..ReplayBatch::default() };

        let kafka = self.config.kafka.clone();
        let mut take = |record: &RecordRef<'_>| {
            self.take(record)?;
            if self.batch.counts.records >= BATCH_RECORDS || self.batch.bytes >= BATCH_BYTES {
                self.commit(&mut account, from)?;
            }
            progress(&self.done);
            Ok(())
        };
        match archive {
            Some(archive) => archive.read(at, (from, to), &mut take)?,
            None => sluice_kafka::read_range(&kafka, at, (from, to), take)?,
        }

        // The range is done to its end, although its last offsets may be transaction markers.
        self.batch.next = to;
        self.commit(&mut account, from)
    }

    /// Handles one record and adds it to the open batch.
    ///
    /// # Errors
    /// A [`Fault`] of the registry or of Kafka, or the limit of dead letters.
    fn take(&mut self, record: &RecordRef<'_>) -> Result<(), Fault> {
        // The output, the skip or the dead letter. A dry run has no producer and only counts.
        self.begin()?;
        self.batch.counts.records += 1;
        match judge(&mut self.work, &mut self.registry, record)? {
            ReplayVerdict::Written => {
                self.gauge.passed();
                if let Some(producer) = &mut self.producer {
                    self.work.send_outputs(&mut self.batch.counts, |out| producer.send(out))?;
                }
                self.batch.counts.written += 1;
                self.done.written += 1;
            }
            ReplayVerdict::Skipped(reason) => {
                self.gauge.passed();
                self.batch.counts.skip(reason.class);
                self.done.skipped += 1;
            }
            ReplayVerdict::Refused(reason) => {
                if let Some(tripped) = self.gauge.refused(record.offset, &self.config.limits) {
                    let at = TopicPartition::new(record.topic, record.partition);
                    let limit = TooManyDeadLetters { at, tripped, class: reason.class, path: reason.path };
                    return Err(limit.into());
                }
                let (worker, group) = (self.config.worker, self.config.group.as_str());
                let letter = DeadLetter { reason: &reason, worker, group, attempt: 1 };
                if let Some(producer) = &mut self.producer {
                    letter.send(record, |out| producer.send(out))?;
                }
                self.batch.counts.dead_letter(reason.class);
                self.done.dead_letters += 1;
            }
        }

        // The batch's run of offsets, from which the receipt is made.
        self.batch.first.get_or_insert(record.offset);
        self.batch.next = record.offset.next().raw();
        self.batch.bytes += record.size();
        self.done.records += 1;
        Ok(())
    }

    /// Begins a transaction unless one is open.
    fn begin(&mut self) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.batch.open, true)
            && let Some(producer) = &mut self.producer
        {
            producer.begin()?;
        }
        Ok(())
    }

    /// Commits the batch: outputs, dead letters, the receipt and, for a group without a position, the claims
    /// are one transaction. `from` is the beginning of the range, for a batch without a record.
    fn commit(&mut self, account: &mut ReceiptAccount, from: i64) -> Result<(), Fault> {
        // A range of transaction markers only has no record, but it gets its receipt.
        self.begin()?;
        let first = self.batch.first.or(Offset::new(from));
        let (Some(first), Some(next)) = (first, NextOffset::new(self.batch.next)) else {
            return Err(Fault::bug("committing a replayed batch", "expected offsets of at least 0"));
        };
        let routes = self.work.output_topics();

        // The account counts the segment as proven only after the commit.
        let segment = account.grown(&self.who, first, next, &self.batch.counts, routes, now_ms());
        if let Some(producer) = &mut self.producer {
            ReceiptRecord::Segment(segment.clone()).send(|out| producer.send(out))?;
            if !self.claims.is_empty() {
                let group = sluice_kafka::outside(&self.config.kafka, &self.config.group)?;
                producer.send_offsets(&self.claims, &group)?;
            }
            producer.commit()?;
            self.claims = BTreeMap::new();
        }
        account.settle(segment);
        self.gauge.settle();
        self.batch = ReplayBatch { next: self.batch.next, ..ReplayBatch::default() };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(from: Option<i64>, to: Option<i64>, bounds: (i64, i64), committed: Option<i64>) -> ReplayPlan {
        let range = ReplayRange { at: TopicPartition::new("t", 0), from, to };
        decide(&range, &ReceiptBooks::default(), "g", bounds, None, committed)
    }

    #[test]
    fn what_left_the_log_is_taken_from_the_archive_and_no_further() {
        let wanted = |archived| {
            let range = ReplayRange { at: TopicPartition::new("t", 0), from: Some(2), to: None };
            decide(&range, &ReceiptBooks::default(), "g", (50, 100), archived, Some(80)).open
        };
        assert_eq!(wanted(None), [(50, 80)]);
        assert_eq!(wanted(Some((0, 70))), [(2, 50), (50, 80)]);
        // What is neither here nor there stays open: it is not said to be done.
        assert_eq!(wanted(Some((5, 40))), [(5, 40), (50, 80)]);
    }

    #[test]
    fn only_what_is_in_the_log_and_behind_the_group_is_to_do() {
        let todo = open(Some(5), Some(500), (10, 100), Some(60));
        assert_eq!((todo.open, todo.done, todo.claim), (vec![(10, 60)], 0, None));
        assert_eq!(open(Some(70), Some(80), (10, 100), Some(60)).open, []);
        assert_eq!(open(None, None, (10, 100), Some(60)).open, [(10, 60)]);
        assert_eq!(open(Some(20), Some(15), (10, 100), Some(60)).open, []);
    }

    #[test]
    fn a_group_without_a_position_is_given_the_end_of_the_span() {
        let todo = open(Some(20), Some(40), (10, 100), None);
        assert_eq!((todo.open, todo.claim), (vec![(20, 40)], Some(40)));
        assert_eq!(open(Some(20), None, (10, 100), None).claim, Some(100));
        assert_eq!(open(Some(40), Some(40), (10, 100), None).claim, None);
    }
}
