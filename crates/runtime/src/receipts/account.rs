//! A lane's account of one partition: the proven segment, and the segment that it becomes once the open batch
//! is committed.

use std::collections::BTreeMap;

use sluice_core::{NextOffset, Offset, ReasonClass, TopicPartition};

use super::segment::{ReceiptAuthor, ReceiptOrigin, ReceiptSegment};
use crate::dead_letter::VERSION;

/// Number of records at which a segment is closed. It bounds the range that an audit names if a segment does
/// not balance.
const MOST_RECORDS: u64 = 1_000_000;
/// Age at which a segment is closed, in milliseconds: one day.
const MOST_AGE_MS: i64 = 86_400_000;
/// Number of reason classes: counts by class are arrays, so that counting a record allocates nothing.
const CLASSES: usize = ReasonClass::ALL.len();

/// Outcomes of the records of an open batch in one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// Records taken in. They are counted when they are taken in, not when they end.
    pub records: u64,
    /// Records that reached their output or store.
    pub written: u64,
    /// Output records, by route.
    outputs: Vec<u64>,
    /// Dead letters, by the index of their class.
    dead_letters: [u64; CLASSES],
    /// Skips, by the index of their class.
    skipped: [u64; CLASSES],
}

/// One partition's account.
#[derive(Debug, Clone)]
pub struct ReceiptAccount {
    at: TopicPartition,
    /// First offset of the next segment. `None` until the first record if the group has no position.
    from: Option<NextOffset>,
    /// Origin of the next segment's first offset.
    origin: ReceiptOrigin,
    /// The segment as it is committed; `None` before the first commit of a segment.
    proven: Option<ReceiptSegment>,
}

impl OutcomeCounts {
    /// Counts one output record for a route.
    pub fn output(&mut self, route: u16) {
        // Routes are few and numbered from 0. The counts grow to the highest one that is used.
        let route = usize::from(route);
        if self.outputs.len() <= route {
            self.outputs.resize(route + 1, 0);
        }
        debug_assert!(route < self.outputs.len(), "the counts have just grown to route {route}");
        if let Some(count) = self.outputs.get_mut(route) {
            *count += 1;
        }
    }

    /// Counts one record that became a dead letter.
    pub fn dead_letter(&mut self, class: ReasonClass) {
        debug_assert!(class.index() < CLASSES, "a class has its index in ReasonClass::ALL");
        if let Some(count) = self.dead_letters.get_mut(class.index()) {
            *count += 1;
        }
    }

    /// Counts one record that was skipped by rule.
    pub fn skip(&mut self, class: ReasonClass) {
        debug_assert!(class.index() < CLASSES, "a class has its index in ReasonClass::ALL");
        if let Some(count) = self.skipped.get_mut(class.index()) {
            *count += 1;
        }
    }

    /// Returns the numbers of records that were written, dead-lettered and skipped.
    pub fn totals(&self) -> [u64; 3] {
        [self.written, self.dead_letters.iter().sum(), self.skipped.iter().sum()]
    }

    /// Sets all counts to 0. The memory is kept for the next batch.
    pub fn clear(&mut self) {
        // The outputs keep their length: the next batch of the lane uses the same routes.
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.fill(0);
        *self = Self { outputs, ..Self::default() };
    }
}

impl ReceiptAccount {
    /// Opens the account of a partition that was just assigned. `committed` is the group's position in it.
    pub fn new(at: TopicPartition, committed: Option<NextOffset>) -> Self {
        let origin = if committed.is_some() { ReceiptOrigin::Position } else { ReceiptOrigin::Beginning };
        Self { at, from: committed, origin, proven: None }
    }

    /// Opens the account of a range that is replayed from `from` on.
    pub fn replay(at: TopicPartition, from: NextOffset) -> Self {
        Self { at, from: Some(from), origin: ReceiptOrigin::Replay, proven: None }
    }

    /// Returns the segment as it will be once the open batch is committed. The batch has the records from
    /// `first` up to `next` (not included), `counts` are their outcomes, and `routes` are the outputs' topics
    /// by route.
    ///
    /// The account itself does not change: a batch that is given up leaves no trace in it.
    pub fn grown(
        &self,
        who: &ReceiptAuthor,
        first: Offset,
        next: NextOffset,
        counts: &OutcomeCounts,
        routes: &[String],
        now_ms: i64,
    ) -> ReceiptSegment {
        // A new segment begins at the group's position, even if the log's next record comes later: the
        // offsets between are a gap. Without a position it begins at the first record.
        let mut segment = self.proven.clone().unwrap_or_else(|| ReceiptSegment {
            group: who.group.clone(),
            topic: self.at.topic.to_string(),
            partition: self.at.partition,
            first: self.from.map_or(first.raw(), NextOffset::raw),
            next: first.raw(),
            origin: self.origin,
            records: 0,
            written: 0,
            outputs: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            skipped: BTreeMap::new(),
            worker: who.worker.clone(),
            instance: who.instance.clone(),
            version: VERSION.to_owned(),
            began_ms: now_ms,
            grown_ms: now_ms,
        });

        // The segment grows by the batch.
        segment.next = next.raw();
        segment.grown_ms = now_ms;
        segment.records += counts.records;
        segment.written += counts.written;

        // Topics and classes without a record are left out, so that receipts stay short.
        for (topic, count) in routes.iter().zip(&counts.outputs).filter(|(_, count)| **count > 0) {
            *segment.outputs.entry(topic.clone()).or_default() += count;
        }
        add_by_class(&counts.dead_letters, &mut segment.dead_letters);
        add_by_class(&counts.skipped, &mut segment.skipped);
        segment
    }

    /// Records that `segment` is committed. The next batch grows it, or begins another one if it is large or
    /// old.
    pub fn settle(&mut self, segment: ReceiptSegment) {
        let old = segment.grown_ms - segment.began_ms >= MOST_AGE_MS;
        self.from = NextOffset::new(segment.next);
        // The next segment follows this one without a break, so its first offset is a position. A replay
        // stays one.
        if self.origin == ReceiptOrigin::Beginning {
            self.origin = ReceiptOrigin::Position;
        }
        self.proven = (segment.records < MOST_RECORDS && !old).then_some(segment);
    }
}

/// Adds counts by class index to counts by class name.
fn add_by_class(counts: &[u64; CLASSES], into: &mut BTreeMap<String, u64>) {
    for (class, count) in ReasonClass::ALL.iter().zip(counts).filter(|(_, count)| **count > 0) {
        *into.entry(class.as_str().to_owned()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuditBounds, audit};
    use super::*;

    fn who() -> ReceiptAuthor {
        ReceiptAuthor { group: "g".into(), worker: "masker".into(), instance: "a-0".into() }
    }

    fn batch(account: &ReceiptAccount, first: i64, next: i64, now_ms: i64) -> ReceiptSegment {
        let mut counts = OutcomeCounts { records: (next - first) as u64, ..OutcomeCounts::default() };
        counts.written = counts.records - 1;
        counts.dead_letter(ReasonClass::Datum);
        (0..counts.written).for_each(|_| counts.output(1));
        let routes = ["none".to_owned(), "out".to_owned()];
        account.grown(
            &who(),
            Offset::new(first).unwrap(),
            NextOffset::new(next).unwrap(),
            &counts,
            &routes,
            now_ms,
        )
    }

    #[test]
    fn batches_grow_one_segment_and_one_given_up_leaves_no_trace() {
        let mut account = ReceiptAccount::new(TopicPartition::new("t", 0), NextOffset::new(10));
        let first = batch(&account, 12, 20, 1);
        assert_eq!((first.first, first.next, first.origin), (10, 20, ReceiptOrigin::Position));
        account.settle(first);
        let _given_up = batch(&account, 20, 25, 2);
        let again = batch(&account, 20, 30, 3);
        assert_eq!((again.first, again.next, again.records, again.written), (10, 30, 18, 16));
        assert_eq!((again.outputs["out"], again.dead_letters["datum"]), (16, 2));
        assert!(!again.outputs.contains_key("none"));
    }

    #[test]
    fn closed_segments_form_a_chain() {
        let mut account = ReceiptAccount::new(TopicPartition::new("t", 0), None);
        let mut chain = vec![];
        for (first, next, now) in
            [(3, 1_000_003, 1), (1_000_003, 1_000_010, 2), (1_000_010, 1_000_011, MOST_AGE_MS + 2)]
        {
            let segment = batch(&account, first, next, now);
            chain.retain(|known: &ReceiptSegment| known.first != segment.first);
            chain.push(segment.clone());
            account.settle(segment);
        }
        let last = batch(&account, 1_000_011, 1_000_012, MOST_AGE_MS + 3);
        chain.push(last);
        let firsts: Vec<_> = chain.iter().map(|segment| (segment.first, segment.origin)).collect();
        assert_eq!(
            firsts,
            [
                (3, ReceiptOrigin::Beginning),
                (1_000_003, ReceiptOrigin::Position),
                (1_000_011, ReceiptOrigin::Position)
            ]
        );
        let known = AuditBounds { before: Some(1_000_012), after: Some(1_000_012), log_start: 0 };
        assert_eq!(audit(&chain, known).findings, []);
    }

    #[test]
    fn counts_cleared_are_counts_anew() {
        let mut counts = OutcomeCounts { records: 3, ..OutcomeCounts::default() };
        counts.output(2);
        counts.skip(ReasonClass::Null);
        counts.clear();
        assert_eq!((counts.records, counts.totals(), counts.outputs.iter().sum::<u64>()), (0, [0, 0, 0], 0));
    }
}
