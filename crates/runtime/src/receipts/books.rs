//! All receipts, as they are now.

use std::collections::BTreeMap;

use sluice_core::{Fault, NextOffset, TopicPartition};

use super::TOPIC;
use super::segment::{DeadLetterFate, ReceiptRecord, ReceiptSegment};
use crate::config::KafkaSection;
use sluice_kafka::{read_to_end, readable_to_now};

/// Whose segments form a chain: a group in a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReceiptChain {
    /// Consumer group.
    pub group: String,
    /// Topic and partition.
    pub at: TopicPartition,
}

/// What a dead letter is about: the refused record, and whose record it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterIdentity {
    /// Group that refused it.
    pub group: String,
    /// Where the record stands.
    pub at: TopicPartition,
    /// Its offset.
    pub offset: i64,
}

/// The receipts' topic, read to its end. Memory grows with the number of segments and of replayed letters.
#[derive(Debug, Default)]
pub struct ReceiptBooks {
    read: BTreeMap<i32, NextOffset>,
    segments: BTreeMap<ReceiptChain, BTreeMap<i64, ReceiptSegment>>,
    fates: BTreeMap<DeadLetterIdentity, DeadLetterFate>,
    /// Records of the topic that are no receipts, by offset.
    pub unreadable: Vec<i64>,
}

impl ReceiptBooks {
    /// Reads them.
    ///
    /// # Errors
    /// As [`ReceiptBooks::catch_up`].
    pub fn open(kafka: &KafkaSection) -> Result<Self, Fault> {
        let mut books = Self::default();
        books.catch_up(kafka)?;
        Ok(books)
    }

    /// Reads on to the end as it is now, behind every transaction that is open now.
    ///
    /// # Errors
    /// A [`Fault`] if there is no such topic or Kafka does not answer.
    pub fn catch_up(&mut self, kafka: &KafkaSection) -> Result<(), Fault> {
        readable_to_now(kafka, TOPIC)?;
        let mut read = std::mem::take(&mut self.read);
        let done = read_to_end(kafka, TOPIC, &mut read, |record| {
            let Some(value) = record.value else { return };
            match serde_json::from_slice(value) {
                Ok(entry) => self.enter(entry),
                Err(_) => self.unreadable.push(record.offset.raw()),
            }
        });
        self.read = read;
        done
    }

    fn enter(&mut self, entry: ReceiptRecord) {
        match entry {
            ReceiptRecord::Segment(segment) => {
                let chain = ReceiptChain { group: segment.group.clone(), at: segment.at() };
                self.segments.entry(chain).or_default().insert(segment.first, segment);
            }
            ReceiptRecord::Letter(fate) => {
                let at = TopicPartition::new(fate.topic.as_str(), fate.partition);
                let letter = DeadLetterIdentity { group: fate.group.clone(), at, offset: fate.offset };
                self.fates.insert(letter, fate);
            }
        }
    }

    /// Forgets all groups but those named; none named keeps all.
    pub fn keep(&mut self, groups: &[String]) {
        if !groups.is_empty() {
            self.segments.retain(|chain, _| groups.contains(&chain.group));
            self.fates.retain(|letter, _| groups.contains(&letter.group));
        }
    }

    /// Every group in every partition that has receipts.
    pub fn chains(&self) -> impl Iterator<Item = &ReceiptChain> {
        self.segments.keys()
    }

    /// The segments of a chain, by their first offsets.
    pub fn segments(&self, chain: &ReceiptChain) -> Vec<ReceiptSegment> {
        self.segments.get(chain).map_or_else(Vec::new, |all| all.values().cloned().collect())
    }

    /// What became of a letter that was replayed.
    pub fn fate(&self, letter: &DeadLetterIdentity) -> Option<&DeadLetterFate> {
        self.fates.get(letter)
    }
}
