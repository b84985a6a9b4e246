//! Offsets that move only over proof.
//!
//! Per topic and partition the checkpoint knows two sets of offset spans: the records that were *taken in*
//! (tracked) and the records that are *proven* (settled). The committable offset is one past the longest run
//! of tracked spans, counted from the first one, that are all settled.
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
//! | 0–9 | 20–29 | refused: a receipt for records that were never taken in |

use std::collections::BTreeMap;

use crate::{NextOffset, Offset, TopicPartition};

/// An inclusive run of offsets of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OffsetSpan {
    /// First offset.
    pub first: Offset,
    /// Last offset, inclusive; not before `first`.
    pub last: Offset,
}

impl OffsetSpan {
    /// Returns the span, or `None` if `last` is before `first`.
    pub fn new(first: Offset, last: Offset) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Returns the span of a single offset.
    pub fn one(at: Offset) -> Self {
        Self { first: at, last: at }
    }
}

/// Proof that every record of a span reached its end: written durably, dead-lettered, or skipped by rule.
///
/// A receipt may only be made after the write was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Topic and partition of the records.
    pub at: TopicPartition,
    /// The offsets that the receipt covers.
    pub span: OffsetSpan,
    /// Number of records that reached their output.
    pub written: u64,
    /// Number of records in the dead-letter topic, acknowledged.
    pub dead_lettered: u64,
    /// Number of records skipped by rule.
    pub skipped: u64,
}

/// A receipt or a span that does not fit the records that were taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The records were never tracked. To settle them would commit records that were never read.
    #[error("a receipt for {at} offsets {}–{} that were never taken in", span.first, span.last)]
    NotTracked {
        /// Topic and partition of the receipt.
        at: TopicPartition,
        /// The offsets of the receipt.
        span: OffsetSpan,
    },
    /// The span was taken in out of order: a partition is read forwards only.
    #[error("{at} offset {offset} was taken in after a later one")]
    Backwards {
        /// Topic and partition of the span.
        at: TopicPartition,
        /// The first offset of the late span.
        offset: Offset,
    },
}

/// The records that were taken in and those that are proven, per topic and partition.
#[derive(Debug, Default)]
pub struct OffsetCheckpoint {
    partitions: BTreeMap<TopicPartition, PartitionFrontier>,
}

/// The state of one partition.
///
/// Invariants: the keys of `taken` and `ahead` are first offsets, the values are last offsets, inclusive.
/// Spans of one map do not overlap. All spans of `taken` begin at or after `frontier`.
#[derive(Debug, Default)]
struct PartitionFrontier {
    /// The first and the last offset that were tracked since the assignment.
    tracked: Option<OffsetSpan>,
    /// All tracked records before this offset are settled.
    frontier: Option<NextOffset>,
    /// Settled spans beyond the frontier.
    ahead: BTreeMap<i64, i64>,
    /// Tracked spans beyond the frontier, with gaps only where the log has gaps.
    taken: BTreeMap<i64, i64>,
}

impl OffsetCheckpoint {
    /// Returns an empty checkpoint.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a run of records as the lane read them from the log. Spans of one partition must come in
    /// order.
    ///
    /// # Errors
    /// [`CheckpointError::Backwards`] if the span is not after all earlier ones.
    pub fn track(&mut self, at: &TopicPartition, span: OffsetSpan) -> Result<(), CheckpointError> {
        // The entry API would clone the key for each record; this clones it once for each partition.
        if !self.partitions.contains_key(at) {
            self.partitions.insert(at.clone(), PartitionFrontier::default());
        }
        let Some(partition) = self.partitions.get_mut(at) else {
            debug_assert!(false, "the partition was inserted above");
            return Ok(());
        };

        // Widen the tracked range. The first span of a partition begins it.
        if let Some(tracked) = &mut partition.tracked {
            // A span that begins inside of the tracked range would count its records twice.
            if span.first <= tracked.last {
                return Err(CheckpointError::Backwards { at: at.clone(), offset: span.first });
            }
            // Runs that touch become one entry: a lane that tracks record by record must not fill the map.
            let touches = tracked.last.next().raw() == span.first.raw();
            tracked.last = span.last;
            if touches && let Some(mut entry) = partition.taken.last_entry() {
                *entry.get_mut() = span.last.raw();
                return Ok(());
            }
        } else {
            partition.tracked = Some(span);
        }

        // The span does not touch its predecessor: the log has a gap there.
        partition.taken.insert(span.first.raw(), span.last.raw());
        Ok(())
    }

    /// Settles the records of a receipt. A receipt that is settled twice counts once.
    ///
    /// # Errors
    /// [`CheckpointError::NotTracked`] if the receipt covers offsets outside of the tracked range.
    pub fn settle(&mut self, receipt: &Receipt) -> Result<(), CheckpointError> {
        let not_tracked = || CheckpointError::NotTracked { at: receipt.at.clone(), span: receipt.span };
        // A receipt for a partition that was forgotten is refused like one for an unknown partition.
        let partition = self.partitions.get_mut(&receipt.at).ok_or_else(not_tracked)?;
        let tracked = partition.tracked.ok_or_else(not_tracked)?;

        // Gaps inside of the range are legal (transaction markers, compaction), so only the ends are
        // compared.
        if receipt.span.first < tracked.first || receipt.span.last > tracked.last {
            return Err(not_tracked());
        }
        partition.settle(receipt.span);
        Ok(())
    }

    /// Returns the next offset to commit for `at`, or `None` as long as the first tracked record is not
    /// proven.
    pub fn committable(&self, at: &TopicPartition) -> Option<NextOffset> {
        self.partitions.get(at).and_then(|partition| partition.frontier)
    }

    /// Returns all partitions that have an offset to commit.
    pub fn all_committable(&self) -> impl Iterator<Item = (&TopicPartition, NextOffset)> {
        self.partitions.iter().filter_map(|(at, partition)| partition.frontier.map(|next| (at, next)))
    }

    /// Returns true if any partition has records that are tracked but not settled.
    pub fn has_pending(&self) -> bool {
        // A run leaves `taken` once it is settled and nothing before it is open.
        self.partitions.values().any(|partition| !partition.taken.is_empty())
    }

    /// Forgets a partition because it was revoked, or because it is read again from its last durable point.
    pub fn forget(&mut self, at: &TopicPartition) {
        // A receipt that arrives later is refused as not tracked.
        self.partitions.remove(at);
    }
}

impl PartitionFrontier {
    /// Adds a settled span, merges it with its neighbours and moves the frontier.
    fn settle(&mut self, span: OffsetSpan) {
        let (mut first, mut last) = (span.first.raw(), span.last.raw());
        // Merge with settled spans that overlap or touch, from the last one down.
        while let Some((&other_first, &other_last)) = self.ahead.range(..=last.saturating_add(1)).next_back()
        {
            // The nearest span ends before this one, with a gap: all earlier ones do, too.
            if other_last.saturating_add(1) < first {
                break;
            }
            first = first.min(other_first);
            last = last.max(other_last);
            self.ahead.remove(&other_first);
        }

        // The merged span may close the gap before the frontier's next run.
        self.ahead.insert(first, last);
        self.advance();
    }

    /// Moves the frontier over every tracked run that settled spans cover from its start.
    fn advance(&mut self) {
        while let Some((&taken_first, &taken_last)) = self.taken.first_key_value() {
            // Find the settled span that covers the start of the first open run.
            let Some((_, &settled_last)) = self.ahead.range(..=taken_first).next_back() else { return };
            if settled_last < taken_first {
                return;
            }

            // Move the frontier to the end of the proven part. The rest of the run stays open.
            let reached = settled_last.min(taken_last);
            self.frontier = NextOffset::new(reached + 1);
            self.taken.remove(&taken_first);
            if reached < taken_last {
                self.taken.insert(reached + 1, taken_last);
                return;
            }

            // Drop the settled spans that are wholly behind the frontier.
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
