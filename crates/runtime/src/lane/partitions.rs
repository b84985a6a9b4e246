//! What a lane knows of each partition it owns. Pure: no client, no clock but the instants it is given.

use std::time::Instant;

use sluice_core::{NextOffset, Offset, OffsetSpan, RecordRef, TopicPartition};

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
    /// What was taken in since the checkpoint was last told; used by lanes that have one.
    pub fresh: Option<OffsetSpan>,
    /// Everything before this is proven and committed (by this lane, since assignment).
    pub committed: Option<NextOffset>,
    /// How the records of the open batch ended.
    pub counts: OutcomeCounts,
    /// What is accounted for since assignment.
    pub account: ReceiptAccount,
    /// The receipt that the open batch was sent with.
    pub receipt: Option<ReceiptSegment>,
    /// Dead letters among the last records.
    pub gauge: DeadLetterGauge,
    /// Stands still until then; tried so many times.
    pub stalled: Option<(Instant, u32)>,
}

impl LanePartition {
    /// Is this record behind what the lane has taken in already? It was fetched before the partition was sought.
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
    /// A partition is ours; `committed` is what the group remembers.
    pub(super) fn add(&mut self, at: TopicPartition, committed: Option<NextOffset>) {
        self.remove(&at);
        self.all.push(LanePartition {
            account: ReceiptAccount::new(at.clone(), committed),
            at,
            first: None,
            next: None,
            fresh: None,
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

    pub(super) fn find(&mut self, record: &RecordRef<'_>) -> Option<&mut LanePartition> {
        let fits = |partition: &LanePartition| {
            partition.at.partition == record.partition && *partition.at.topic == *record.topic
        };
        if !self.all.get(self.last).is_some_and(fits) {
            self.last = self.all.iter().position(fits)?;
        }
        self.all.get_mut(self.last)
    }

    /// The one that was found last: that of the record which is being handled.
    pub(super) fn found(&mut self) -> Option<&mut LanePartition> {
        self.all.get_mut(self.last)
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

    pub(super) fn iter(&self) -> impl Iterator<Item = &LanePartition> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut LanePartition> {
        self.all.iter_mut()
    }

    /// What the open batch would commit.
    pub(super) fn positions(&self) -> CommitPositions {
        self.all.iter().filter_map(|partition| Some((partition.at.clone(), partition.next?))).collect()
    }

    /// The receipts that are to be committed with the open batch; `routes` names the outputs' topics.
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

    /// The batch is durable: nothing of it is open any more. Gives back what was proven, per partition: where it
    /// stands, and how many records were written, dead-lettered and skipped.
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

    /// The batch is given up: where each partition must be read again.
    pub(super) fn give_up(&mut self) -> Vec<(TopicPartition, NextOffset)> {
        let mut again = vec![];
        for partition in &mut self.all {
            partition.next = None;
            partition.fresh = None;
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
        assert_eq!(&*partitions.find(&record("b", 0)).unwrap().at.topic, "b");
        assert_eq!(&*partitions.find(&record("a", 0)).unwrap().at.topic, "a");
        assert!(partitions.find(&record("a", 1)).is_none());
    }

    #[test]
    fn a_batch_given_up_is_read_again_from_its_first_record() {
        let mut partitions = LaneAssignment::default();
        partitions.add(TopicPartition::new("a", 0), None);
        let partition = partitions.find(&record("a", 0)).unwrap();
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
        let partition = partitions.find(&record("a", 0)).unwrap();
        assert!(!partition.has_taken(before));
        partition.next = Some(at.next());
        assert!(partition.has_taken(before) && partition.has_taken(at) && !partition.has_taken(after));
        partition.first = Some(at);
        partitions.give_up();
        let partition = partitions.found().unwrap();
        assert!(!partition.has_taken(at), "a batch given up is taken in again");
        partition.committed = Some(before.next());
        assert!(partition.has_taken(before) && !partition.has_taken(at));
    }
}
