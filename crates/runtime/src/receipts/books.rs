//! All receipts of the fleet, read from their topic.

use std::collections::BTreeMap;

use sluice_core::{Fault, NextOffset, TopicPartition};

use super::TOPIC;
use super::segment::{DeadLetterFate, ReceiptRecord, ReceiptSegment};
use crate::config::KafkaSection;
use sluice_kafka::{read_to_end, readable_to_now};

/// A group in a partition. Its segments form a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReceiptChain {
    /// Consumer group.
    pub group: String,
    /// Topic and partition.
    pub at: TopicPartition,
}

/// The identity of a dead letter: the group that refused the record, and the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterIdentity {
    /// Group that refused the record.
    pub group: String,
    /// The record's topic and partition.
    pub at: TopicPartition,
    /// The record's offset.
    pub offset: i64,
}

/// The receipts' topic, read to its end. Memory grows with the number of segments and of replayed letters.
#[derive(Debug, Default)]
pub struct ReceiptBooks {
    /// Next offset to read, by partition of the receipts' topic.
    read: BTreeMap<i32, NextOffset>,
    /// Segments by their first offset. A segment that has grown replaces its former state.
    segments: BTreeMap<ReceiptChain, BTreeMap<i64, ReceiptSegment>>,
    fates: BTreeMap<DeadLetterIdentity, DeadLetterFate>,
    /// Records of the topic that are no receipts, by offset.
    pub unreadable: Vec<i64>,
}

impl ReceiptBooks {
    /// Reads all receipts.
    ///
    /// # Errors
    /// As [`ReceiptBooks::catch_up`].
    pub fn open(kafka: &KafkaSection) -> Result<Self, Fault> {
        let mut books = Self::default();
        books.catch_up(kafka)?;
        Ok(books)
    }

    /// Reads on to the present end of the topic, behind every transaction that is open now.
    ///
    /// # Errors
    /// A [`Fault`] if the topic does not exist or Kafka does not answer.
    pub fn catch_up(&mut self, kafka: &KafkaSection) -> Result<(), Fault> {
        readable_to_now(kafka, TOPIC)?;

        // The positions are taken out while the closure borrows the books, and are put back after an error
        // too: a later call reads on from there.
        let mut read = std::mem::take(&mut self.read);
        let done = read_to_end(kafka, TOPIC, &mut read, |record| {
            // A tombstone is no receipt, and no unreadable record either.
            let Some(value) = record.value else { return };
            match serde_json::from_slice(value) {
                Ok(receipt) => self.enter(receipt),
                Err(_) => self.unreadable.push(record.offset.raw()),
            }
        });
        self.read = read;
        done
    }

    /// Enters one record of the topic; it replaces an earlier record with the same key.
    fn enter(&mut self, receipt: ReceiptRecord) {
        match receipt {
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

    /// Keeps only the receipts of `groups`. An empty list keeps all.
    pub fn keep(&mut self, groups: &[String]) {
        if !groups.is_empty() {
            self.segments.retain(|chain, _| groups.contains(&chain.group));
            self.fates.retain(|letter, _| groups.contains(&letter.group));
        }
    }

    /// Returns every group in every partition that has receipts.
    pub fn chains(&self) -> impl Iterator<Item = &ReceiptChain> {
        self.segments.keys()
    }

    /// Returns the segments of a chain in the order of their first offsets.
    pub fn segments(&self, chain: &ReceiptChain) -> Vec<ReceiptSegment> {
        self.segments.get(chain).map_or_else(Vec::new, |all| all.values().cloned().collect())
    }

    /// Returns the fate of a letter; `None` if no replay has handled it.
    pub fn fate(&self, letter: &DeadLetterIdentity) -> Option<&DeadLetterFate> {
        self.fates.get(letter)
    }
}
