//! The partitions that a lane owns, and its open batch in each. Pure: no client, no clock but the instants it is given.

use std::time::Instant;

use sluice_core::{NextOffset, Offset, RecordRef, TopicPartition};

use super::limits::DeadLetterGauge;
use super::tenure::ReleasedPartitions;
use crate::receipts::{OutcomeCounts, ReceiptAccount, ReceiptAuthor, ReceiptSegment};
use sluice_kafka::CommitPositions;

/// One partition of the lane.
#[derive(Debug)]
pub(super) struct LanePartition {
    pub at: TopicPartition,
    /// First record of the open batch: where to read again if the batch is given up.
    pub first: Option<Offset>,
    /// One past the last record of the open batch.
    pub next: Option<NextOffset>,
    /// Everything before this is proven and committed (by this lane, since assignment).
    pub committed: Option<NextOffset>,
    /// The ends of the open batch's records, counted.
    pub counts: OutcomeCounts,
    /// The account since assignment.
    pub account: ReceiptAccount,
    /// The receipt that the open batch was sent with.
    pub receipt: Option<ReceiptSegment>,
    /// Dead letters among the last records.
    pub gauge: DeadLetterGauge,
    /// It stands still until this instant, after this number of attempts.
    pub stalled: Option<(Instant, u32)>,
}

impl LanePartition {
    /// Returns whether the lane has taken this record in already: it was fetched before the partition was sought.
    pub(super) fn has_taken(&self, offset: Offset) -> bool {
        self.next.or(self.committed).is_some_and(|next| !next.has_yet_to_read(offset))
    }
}

/// The lane's partitions. A handful: looked up by walking, the last one used first.
#[derive(Debug, Default)]
pub(super) struct LaneAssignment {
    all: Vec<LanePartition>,
    last: usize,
}

impl LaneAssignment {
    /// Adds a partition that is the lane's from now on; `committed` is the group's position.
    pub(super) fn add(&mut self, at: TopicPartition, committed: Option<NextOffset>) {
        self.remove(&at);
        self.all.push(LanePartition {
            account: ReceiptAccount::new(at.clone(), committed),
            at,
            first: None,
            next: None,
            committed,
            counts: OutcomeCounts::default(),
            receipt: None,
            gauge: DeadLetterGauge::default(),
            stalled: None,
        });
    }

    pub(super) fn remove(&mut self, at: &TopicPartition) {
        self.all.retain(|partition| partition.at != *at);
        self.last = 0;
    }

    /// Returns the index of a record's partition; `None` if it is not the lane's.
    #[inline]
    pub(super) fn find(&mut self, record: &RecordRef<'_>) -> Option<usize> {
        let fits = |partition: &LanePartition| {
            partition.at.partition == record.partition && *partition.at.topic == *record.topic
        };
        // Records come in runs of one partition: the last one found fits most often.
        if !self.all.get(self.last).is_some_and(fits) {
            self.last = self.all.iter().position(fits)?;
        }
        Some(self.last)
    }

    /// Returns the partition at an index that [`LaneAssignment::find`] gave; it holds until the assignment changes.
    #[inline]
    pub(super) fn at(&mut self, index: usize) -> &mut LanePartition {
        &mut self.all[index]
    }

    /// Forgets partitions of which nothing is in flight any more.
    pub(super) fn release(&mut self, released: &ReleasedPartitions<'_>) {
        for at in released.partitions() {
            self.remove(at);
        }
    }

    pub(super) fn get_mut(&mut self, at: &TopicPartition) -> Option<&mut LanePartition> {
        self.all.iter_mut().find(|partition| partition.at == *at)
    }

    /// Returns the lane's partitions.
    pub(super) fn all(&self) -> Vec<TopicPartition> {
        self.all.iter().map(|partition| partition.at.clone()).collect()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut LanePartition> {
        self.all.iter_mut()
    }

    /// Returns the positions that the open batch would commit.
    pub(super) fn positions(&self) -> CommitPositions {
        self.all.iter().filter_map(|partition| Some((partition.at.clone(), partition.next?))).collect()
    }

    /// Returns the receipts to commit with the open batch; `routes` names the outputs' topics.
    pub(super) fn receipts(
        &mut self,
        who: &ReceiptAuthor,
        routes: &[String],
        now_ms: i64,
    ) -> Vec<ReceiptSegment> {
        let mut receipts = vec![];
        for partition in &mut self.all {
            let (Some(first), Some(next)) = (partition.first, partition.next) else { continue };
            let receipt = partition.account.grown(who, first, next, &partition.counts, routes, now_ms);
            receipts.push(receipt.clone());
            partition.receipt = Some(receipt);
        }
        receipts
    }

    /// Closes the batch after its commit. Returns what was proven per partition: its position, and the numbers of
    /// records written, dead-lettered and skipped.
    pub(super) fn close(&mut self) -> Vec<(TopicPartition, NextOffset, [u64; 3])> {
        let mut closed = vec![];
        for partition in &mut self.all {
            partition.first = None;
            if let Some(receipt) = partition.receipt.take() {
                partition.account.settle(receipt);
            }
            if let Some(next) = partition.next.take() {
                partition.committed = Some(next);
                partition.gauge.settle();
                closed.push((partition.at.clone(), next, partition.counts.totals()));
                partition.counts.clear();
            }
        }
        closed
    }

    /// Gives the batch up. Returns where each of its partitions has to be read again.
    pub(super) fn give_up(&mut self) -> Vec<(TopicPartition, NextOffset)> {
        let mut again = vec![];
        for partition in &mut self.all {
            partition.next = None;
            partition.receipt = None;
            partition.counts.clear();
            partition.gauge.give_up();
            if let Some(first) = partition.first.take()
                && let Some(from) = NextOffset::new(first.raw())
            {
                again.push((partition.at.clone(), from));
            }
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(topic: &str, partition: i32) -> RecordRef<'_> {
        RecordRef {
            topic,
            partition,
            offset: Offset::new(7).unwrap(),
            timestamp_ms: None,
            key: None,
            value: None,
            headers: &[],
        }
    }

    #[test]
    fn two_topics_same_partition_number_are_two_partitions() {
        let mut partitions = LaneAssignment::default();
        partitions.add(TopicPartition::new("a", 0), None);
        partitions.add(TopicPartition::new("b", 0), None);
        let index = partitions.find(&record("b", 0)).unwrap();
        assert_eq!(&*partitions.at(index).at.topic, "b");
        let index = partitions.find(&record("a", 0)).unwrap();
        assert_eq!(&*partitions.at(index).at.topic, "a");
        assert!(partitions.find(&record("a", 1)).is_none());
    }

    #[test]
    fn a_batch_given_up_is_read_again_from_its_first_record() {
        let mut partitions = LaneAssignment::default();
        partitions.add(TopicPartition::new("a", 0), None);
        let index = partitions.find(&record("a", 0)).unwrap();
        let partition = partitions.at(index);
        partition.first = Offset::new(7);
        partition.next = NextOffset::new(9);
        assert_eq!(partitions.positions().len(), 1);
        assert_eq!(partitions.give_up(), [(TopicPartition::new("a", 0), NextOffset::new(7).unwrap())]);
        assert!(partitions.positions().is_empty() && partitions.close().is_empty());
    }

    #[test]
    fn what_was_taken_or_committed_is_not_taken_again() {
        let mut partitions = LaneAssignment::default();
        partitions.add(TopicPartition::new("a", 0), None);
        let (before, at, after) =
            (Offset::new(8).unwrap(), Offset::new(9).unwrap(), Offset::new(10).unwrap());
        let index = partitions.find(&record("a", 0)).unwrap();
        let partition = partitions.at(index);
        assert!(!partition.has_taken(before));
        partition.next = Some(at.next());
        assert!(partition.has_taken(before) && partition.has_taken(at) && !partition.has_taken(after));
        partition.first = Some(at);
        partitions.give_up();
        let partition = partitions.at(index);
        assert!(!partition.has_taken(at), "a batch given up is taken in again");
        partition.committed = Some(before.next());
        assert!(partition.has_taken(before) && !partition.has_taken(at));
    }
}
