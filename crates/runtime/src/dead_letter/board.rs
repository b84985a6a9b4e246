//! All letters of some topics, each identity once, and their states. Pure except for reading the topics.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_core::{Fault, RecordRef};

use super::{DeadLetterHead, topic_of};
use crate::config::KafkaSection;
use crate::receipts::{DeadLetterIdentity, FateKind, ReceiptBooks};
use sluice_kafka::{read_to_end, readable_to_now};

/// The state of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadLetterState {
    /// No replay has resolved it yet.
    Unresolved,
    /// A replay wrote its outputs, or found that nothing comes of it.
    Resolved,
}

/// One identity's newest letter and its position in the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestLetter {
    /// Content of its headers.
    pub head: DeadLetterHead,
    /// Partition of the dead-letter topic.
    pub partition: i32,
    /// Offset in the dead-letter topic.
    pub offset: i64,
    /// The record's own time, milliseconds since the epoch.
    pub time_ms: Option<i64>,
}

/// The letters of some topics.
#[derive(Debug, Default)]
pub struct DeadLetterBoard {
    letters: BTreeMap<DeadLetterIdentity, NewestLetter>,
    /// Letters seen, repeats and earlier attempts included.
    pub seen: u64,
    /// Records in a dead-letter topic that are no letters.
    pub strangers: u64,
}

/// A line of `sluice dead-letters ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetterRow {
    /// Source topic.
    pub topic: String,
    /// Kind of trouble.
    pub class: String,
    /// Field path.
    pub path: String,
    /// Worker that refused the records.
    pub worker: String,
    /// Its group.
    pub group: String,
    /// Letters, each record once.
    pub letters: u64,
    /// Of these, letters that no replay has resolved.
    pub unresolved: u64,
    /// Highest attempt among them.
    pub attempts: u32,
    /// The earliest record's own time, milliseconds since the epoch.
    pub first_ms: Option<i64>,
    /// The latest record's own time, milliseconds since the epoch.
    pub last_ms: Option<i64>,
}

impl DeadLetterBoard {
    /// Reads the letters about records of `source`. A source without a dead-letter topic has none.
    ///
    /// # Errors
    /// A [`Fault`] if Kafka does not answer.
    pub fn read(&mut self, kafka: &KafkaSection, source: &str) -> Result<(), Fault> {
        let topic = topic_of(source);
        // Letters behind an open transaction would be missed, so the reader waits until the transaction has
        // ended.
        readable_to_now(kafka, &topic)?;
        read_to_end(kafka, &topic, &mut BTreeMap::new(), |record| self.take(record))
    }

    /// Takes one letter in.
    pub fn take(&mut self, record: &RecordRef<'_>) {
        // Other producers may write to the topic too. Their records are counted and otherwise left alone.
        let Some(head) = DeadLetterHead::read(record) else {
            self.strangers += 1;
            return;
        };
        self.seen += 1;
        let newest = NewestLetter {
            partition: record.partition,
            offset: record.offset.raw(),
            time_ms: record.timestamp_ms,
            head,
        };

        // The highest attempt counts. Of two equal attempts the first one stays: the second is a repeat.
        let identity = newest.head.identity();
        let known = self.letters.get(&identity);
        if known.is_none_or(|known| known.head.attempt < newest.head.attempt) {
            self.letters.insert(identity, newest);
        }
    }

    /// Returns every identity's newest letter with its state.
    pub fn iter<'a>(
        &'a self,
        books: &'a ReceiptBooks,
    ) -> impl Iterator<Item = (&'a DeadLetterIdentity, &'a NewestLetter, DeadLetterState)> {
        self.letters.iter().map(|(identity, newest)| {
            // A letter that a replay refused again has a newer letter and stays unresolved.
            let state = match books.fate(identity).map(|fate| fate.fate) {
                Some(FateKind::Out | FateKind::Skipped) => DeadLetterState::Resolved,
                Some(FateKind::Refused) | None => DeadLetterState::Unresolved,
            };
            (identity, newest, state)
        })
    }

    /// Returns the letters counted by topic, class, path, worker and group, sorted by these.
    pub fn rows(&self, books: &ReceiptBooks) -> Vec<DeadLetterRow> {
        let mut rows: BTreeMap<[&str; 5], DeadLetterRow> = BTreeMap::new();
        for (_, newest, state) in self.iter(books) {
            // The first letter of a group of equal ones makes the row.
            let DeadLetterHead { topic, class, path, worker, group, attempt, .. } = &newest.head;
            let row = rows.entry([topic, class, path, worker, group]).or_insert_with(|| DeadLetterRow {
                topic: topic.clone(),
                class: class.clone(),
                path: path.clone(),
                worker: worker.clone(),
                group: group.clone(),
                letters: 0,
                unresolved: 0,
                attempts: 0,
                first_ms: None,
                last_ms: None,
            });

            // Times are optional. `min` needs the chain, because `None` is less than any time.
            row.letters += 1;
            row.unresolved += u64::from(state == DeadLetterState::Unresolved);
            row.attempts = row.attempts.max(*attempt);
            row.first_ms = row.first_ms.into_iter().chain(newest.time_ms).min();
            row.last_ms = row.last_ms.max(newest.time_ms);
        }
        rows.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::DeadLetter;
    use sluice_core::{Offset, OutcomeReason, ReasonClass};

    fn letter(board: &mut DeadLetterBoard, offset: i64, attempt: u32, class: ReasonClass) {
        let record = RecordRef {
            topic: "a.v1",
            partition: 0,
            offset: Offset::new(offset).unwrap(),
            timestamp_ms: Some(offset * 10),
            key: None,
            value: None,
            headers: &[],
        };
        let reason = OutcomeReason::new(class, "something else");
        let letter = DeadLetter { reason: &reason, worker: "masker", group: "m", attempt };
        letter
            .send(&record, |out| {
                board.take(&RecordRef { topic: out.topic, headers: out.headers, ..record });
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn a_letter_that_is_there_twice_counts_once_and_the_last_attempt_holds() {
        let mut board = DeadLetterBoard::default();
        letter(&mut board, 1, 1, ReasonClass::Datum);
        letter(&mut board, 1, 1, ReasonClass::Datum);
        letter(&mut board, 2, 1, ReasonClass::Datum);
        letter(&mut board, 2, 2, ReasonClass::Masking);
        let rows = board.rows(&ReceiptBooks::default());
        let told: Vec<_> =
            rows.iter().map(|row| (row.class.as_str(), row.letters, row.unresolved, row.attempts)).collect();
        assert_eq!(told, [("datum", 1, 1, 1), ("masking", 1, 1, 2)]);
        assert_eq!((rows[0].first_ms, rows[0].last_ms, board.seen), (Some(10), Some(10), 4));
    }
}
