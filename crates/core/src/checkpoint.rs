//! Offsets that move only over proof.
//!
//! Per topic and partition the checkpoint knows what was *taken in* (tracked) and what is *proven done* (settled), as
//! spans of offsets. Committable is one past the longest run of tracked spans, from the first, that are all settled.
//!
//! | tracked | settled | committable |
//! |---|---|---|
//! | nothing | – | nothing |
//! | 0–9 | – | nothing |
//! | 0–9 | 0–9 | 10 |
//! | 0–9, 10–19 | 10–19 | nothing: 0–9 is not proven |
//! | 0–9, 10–19 | 10–19, then 0–9 | 20 |
//! | 0–9, 12–19 | both | 20: offsets 10 and 11 are transaction markers or were compacted, not lost |
//! | 0–9 | 0–4 | 5 |
//! | 0–9 | 0–4, 8–9 | 5 |
//! | 0–9 | 20–29 | refused: a receipt for what was never taken in |

use std::collections::BTreeMap;

use crate::{NextOffset, Offset, TopicPartition};

/// An inclusive run of offsets of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OffsetSpan {
    /// First offset.
    pub first: Offset,
    /// Last offset, not before `first`.
    pub last: Offset,
}

impl OffsetSpan {
    /// `None` if `last` lies before `first`.
    pub fn new(first: Offset, last: Offset) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The span of one offset.
    pub fn one(at: Offset) -> Self {
        Self { first: at, last: at }
    }
}

/// Proof that every record of a span reached its end: written durably, dead-lettered, or skipped on record.
///
/// Whoever makes one says by that that the write was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Where.
    pub at: TopicPartition,
    /// Which offsets.
    pub span: OffsetSpan,
    /// Records that reached their output.
    pub written: u64,
    /// Records in the dead-letter topic, acknowledged.
    pub dead_lettered: u64,
    /// Records skipped by rule.
    pub skipped: u64,
}

/// A receipt that does not fit what was taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The records were never tracked: settling them would commit what nobody read.
    #[error("a receipt for {at} offsets {}–{} that were never taken in", span.first, span.last)]
    NotTracked {
        /// Where.
        at: TopicPartition,
        /// Which offsets.
        span: OffsetSpan,
    },
    /// Taken in out of order: a partition is read forwards.
    #[error("{at} offset {offset} was taken in after a later one")]
    Backwards {
        /// Where.
        at: TopicPartition,
        /// The offset that came late.
        offset: Offset,
    },
}

/// What was taken in and what is proven, per topic and partition.
#[derive(Debug, Default)]
pub struct OffsetCheckpoint {
    partitions: BTreeMap<TopicPartition, PartitionFrontier>,
}

#[derive(Debug, Default)]
struct PartitionFrontier {
    /// First offset ever tracked since assignment, and the last.
    tracked: Option<OffsetSpan>,
    /// Everything before this is settled.
    frontier: Option<NextOffset>,
    /// Settled spans beyond the frontier, by first offset.
    ahead: BTreeMap<i64, i64>,
    /// Tracked spans beyond the frontier, by first offset, with gaps only where the log has gaps.
    taken: BTreeMap<i64, i64>,
}

impl OffsetCheckpoint {
    /// An empty checkpoint.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a run of records as read from the log. Spans of one partition must come in order.
    ///
    /// # Errors
    /// [`CheckpointError::Backwards`] if the span does not lie after all earlier ones.
    pub fn track(&mut self, at: &TopicPartition, span: OffsetSpan) -> Result<(), CheckpointError> {
        if !self.partitions.contains_key(at) {
            self.partitions.insert(at.clone(), PartitionFrontier::default());
        }
        let Some(partition) = self.partitions.get_mut(at) else { return Ok(()) };
        if let Some(tracked) = &mut partition.tracked {
            if span.first <= tracked.last {
                return Err(CheckpointError::Backwards { at: at.clone(), offset: span.first });
            }
            // Runs that touch become one, so that tracking record by record stays one entry.
            let touches = tracked.last.next().raw() == span.first.raw();
            tracked.last = span.last;
            if touches && let Some(mut entry) = partition.taken.last_entry() {
                *entry.get_mut() = span.last.raw();
                return Ok(());
            }
        } else {
            partition.tracked = Some(span);
        }
        partition.taken.insert(span.first.raw(), span.last.raw());
        Ok(())
    }

    /// Settles the records of a receipt. Settling twice is settling once.
    ///
    /// # Errors
    /// [`CheckpointError::NotTracked`] for anything outside what was taken in.
    pub fn settle(&mut self, receipt: &Receipt) -> Result<(), CheckpointError> {
        let not_tracked = || CheckpointError::NotTracked { at: receipt.at.clone(), span: receipt.span };
        let partition = self.partitions.get_mut(&receipt.at).ok_or_else(not_tracked)?;
        let tracked = partition.tracked.ok_or_else(not_tracked)?;
        if receipt.span.first < tracked.first || receipt.span.last > tracked.last {
            return Err(not_tracked());
        }
        partition.settle(receipt.span);
        Ok(())
    }

    /// The next offset to commit for `at`: `None` while nothing from the first tracked record on is proven.
    pub fn committable(&self, at: &TopicPartition) -> Option<NextOffset> {
        self.partitions.get(at).and_then(|partition| partition.frontier)
    }

    /// All partitions that have something to commit.
    pub fn all_committable(&self) -> impl Iterator<Item = (&TopicPartition, NextOffset)> {
        self.partitions.iter().filter_map(|(at, partition)| partition.frontier.map(|next| (at, next)))
    }

    /// Records are tracked but not settled, anywhere.
    pub fn has_pending(&self) -> bool {
        self.partitions.values().any(|partition| !partition.taken.is_empty())
    }

    /// Forgets a partition: it was revoked, or is read again from its last durable point.
    pub fn forget(&mut self, at: &TopicPartition) {
        self.partitions.remove(at);
    }
}

impl PartitionFrontier {
    fn settle(&mut self, span: OffsetSpan) {
        let (mut first, mut last) = (span.first.raw(), span.last.raw());
        // Merge with settled spans that overlap or touch.
        while let Some((&other_first, &other_last)) = self.ahead.range(..=last.saturating_add(1)).next_back()
        {
            if other_last.saturating_add(1) < first {
                break;
            }
            first = first.min(other_first);
            last = last.max(other_last);
            self.ahead.remove(&other_first);
        }
        self.ahead.insert(first, last);
        self.advance();
    }

    /// Moves the frontier over every tracked run that settled spans cover from its start.
    fn advance(&mut self) {
        while let Some((&taken_first, &taken_last)) = self.taken.first_key_value() {
            let Some((_, &settled_last)) = self.ahead.range(..=taken_first).next_back() else { return };
            if settled_last < taken_first {
                return;
            }
            let reached = settled_last.min(taken_last);
            self.frontier = NextOffset::new(reached + 1);
            self.taken.remove(&taken_first);
            if reached < taken_last {
                self.taken.insert(reached + 1, taken_last);
                return;
            }
            // Settled spans that lie wholly behind are no longer of use.
            while let Some((&first, &last)) = self.ahead.first_key_value() {
                if last > reached {
                    break;
                }
                self.ahead.remove(&first);
            }
        }
    }
}

#[cfg(test)]
mod tests;
