//! What a lane knows of each partition it owns. Pure: no client, no clock but the instants it is given.

use std::time::Instant;

use sluice_core::{NextOffset, Offset, RecordRef, Span, TopicPartition};

use super::tenure::Released;
use crate::kafka::Positions;

/// How the records of a batch ended, per partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub written: u64,
    pub dead_lettered: u64,
    pub skipped: u64,
}

/// One partition of the lane.
#[derive(Debug)]
pub(super) struct Partition {
    pub at: TopicPartition,
    /// First record of the open batch: where to read again if the batch is given up.
    pub first: Option<Offset>,
    /// One past the last record of the open batch.
    pub next: Option<NextOffset>,
    /// What was taken in since the checkpoint was last told; used by lanes that have one.
    pub fresh: Option<Span>,
    /// Everything before this is proven and committed (by this lane, since assignment).
    pub committed: Option<NextOffset>,
    pub tally: Tally,
    /// Stands still until then; tried so many times.
    pub stalled: Option<(Instant, u32)>,
}

impl Partition {
    /// Is this record behind what the lane has taken in already? It was fetched before the partition was sought.
    pub(super) fn has_taken(&self, offset: Offset) -> bool {
        self.next.or(self.committed).is_some_and(|next| !next.has_yet_to_read(offset))
    }
}

/// The lane's partitions. A handful: looked up by walking, the last one used first.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    all: Vec<Partition>,
    last: usize,
}

impl Partitions {
    pub(super) fn add(&mut self, at: TopicPartition) {
        self.remove(&at);
        self.all.push(Partition {
            at,
            first: None,
            next: None,
            fresh: None,
            committed: None,
            tally: Tally::default(),
            stalled: None,
        });
    }

    pub(super) fn remove(&mut self, at: &TopicPartition) {
        self.all.retain(|partition| partition.at != *at);
        self.last = 0;
    }

    pub(super) fn find(&mut self, record: &RecordRef<'_>) -> Option<&mut Partition> {
        let fits = |partition: &Partition| {
            partition.at.partition == record.partition && *partition.at.topic == *record.topic
        };
        if !self.all.get(self.last).is_some_and(fits) {
            self.last = self.all.iter().position(fits)?;
        }
        self.all.get_mut(self.last)
    }

    /// The one that was found last: that of the record which is being handled.
    pub(super) fn found(&mut self) -> Option<&mut Partition> {
        self.all.get_mut(self.last)
    }

    /// Forgets partitions of which nothing is in flight any more.
    pub(super) fn release(&mut self, released: &Released<'_>) {
        for at in released.partitions() {
            self.remove(at);
        }
    }

    pub(super) fn get_mut(&mut self, at: &TopicPartition) -> Option<&mut Partition> {
        self.all.iter_mut().find(|partition| partition.at == *at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.all.iter_mut()
    }

    /// What the open batch would commit.
    pub(super) fn positions(&self) -> Positions {
        self.all.iter().filter_map(|partition| Some((partition.at.clone(), partition.next?))).collect()
    }

    /// The batch is durable: nothing of it is open any more. Gives back what was proven, per partition.
    pub(super) fn close(&mut self) -> Vec<(TopicPartition, NextOffset, Tally)> {
        let mut closed = vec![];
        for partition in &mut self.all {
            partition.first = None;
            if let Some(next) = partition.next.take() {
                partition.committed = Some(next);
                closed.push((partition.at.clone(), next, std::mem::take(&mut partition.tally)));
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
            partition.tally = Tally::default();
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
        let mut partitions = Partitions::default();
        partitions.add(TopicPartition::new("a", 0));
        partitions.add(TopicPartition::new("b", 0));
        assert_eq!(&*partitions.find(&record("b", 0)).unwrap().at.topic, "b");
        assert_eq!(&*partitions.find(&record("a", 0)).unwrap().at.topic, "a");
        assert!(partitions.find(&record("a", 1)).is_none());
    }

    #[test]
    fn a_batch_given_up_is_read_again_from_its_first_record() {
        let mut partitions = Partitions::default();
        partitions.add(TopicPartition::new("a", 0));
        let partition = partitions.find(&record("a", 0)).unwrap();
        partition.first = Offset::new(7);
        partition.next = NextOffset::new(9);
        assert_eq!(partitions.positions().len(), 1);
        assert_eq!(partitions.give_up(), [(TopicPartition::new("a", 0), NextOffset::new(7).unwrap())]);
        assert!(partitions.positions().is_empty() && partitions.close().is_empty());
    }

    #[test]
    fn what_was_taken_or_committed_is_not_taken_again() {
        let mut partitions = Partitions::default();
        partitions.add(TopicPartition::new("a", 0));
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
