//! The records of the receipts' topic.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sluice_core::{Fault, TopicPartition};

use super::TOPIC;
use sluice_kafka::OutgoingRecord;

/// Who writes receipts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptAuthor {
    /// Consumer group.
    pub group: String,
    /// Worker name.
    pub worker: String,
    /// This process and lane.
    pub instance: String,
}

/// Where a segment's first offset comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptOrigin {
    /// The group had no position: `first` is the first record that the log had to give.
    Beginning,
    /// The group stood there, or the segment before ended there.
    Position,
    /// `sluice replay` did this range.
    Replay,
}

/// What became of a run of offsets; one record of the topic, overwritten as it grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptSegment {
    /// Consumer group.
    pub group: String,
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// First offset it covers.
    pub first: i64,
    /// One past the last offset it covers; as committed by the group in the same transaction.
    pub next: i64,
    /// Where `first` comes from.
    pub origin: ReceiptOrigin,
    /// Records taken in; at most `next - first`, fewer where the log has gaps.
    pub records: u64,
    /// Of these, records that reached their output or store.
    pub written: u64,
    /// Output records, by topic; a record may have many. Empty for stores.
    pub outputs: BTreeMap<String, u64>,
    /// Records in the dead-letter topic, by class.
    pub dead_letters: BTreeMap<String, u64>,
    /// Records of which nothing comes by rule, by class.
    pub skipped: BTreeMap<String, u64>,
    /// Worker name.
    pub worker: String,
    /// Process and lane.
    pub instance: String,
    /// The worker's version.
    pub version: String,
    /// When it began, milliseconds since the epoch.
    pub began_ms: i64,
    /// When it last grew, milliseconds since the epoch.
    pub grown_ms: i64,
}

/// What became of a dead letter that was replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterFate {
    /// Group whose letter it was.
    pub group: String,
    /// Where the refused record stands.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// What became of it.
    pub fate: FateKind,
    /// How many times it has been tried in all.
    pub attempt: u32,
    /// The version that tried.
    pub version: String,
    /// When, milliseconds since the epoch.
    pub time_ms: i64,
}

/// How a replayed letter ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FateKind {
    /// Its outputs were written.
    Out,
    /// By rule nothing comes of it.
    Skipped,
    /// Refused again, for another reason or by another version: a newer letter says why.
    Refused,
}

/// One record of the topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ReceiptRecord {
    /// A run of offsets.
    Segment(ReceiptSegment),
    /// A letter that was replayed.
    Letter(DeadLetterFate),
}

impl ReceiptSegment {
    /// Where it is.
    pub fn at(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.partition)
    }

    /// Dead letters of all classes.
    pub fn dead_lettered(&self) -> u64 {
        self.dead_letters.values().sum()
    }

    /// Skips of all classes.
    pub fn skips(&self) -> u64 {
        self.skipped.values().sum()
    }
}

impl ReceiptRecord {
    /// What compaction keeps one of.
    fn key(&self) -> String {
        let parts = match self {
            Self::Segment(s) => serde_json::json!(["segment", s.group, s.topic, s.partition, s.first]),
            Self::Letter(l) => serde_json::json!(["letter", l.group, l.topic, l.partition, l.offset]),
        };
        parts.to_string()
    }

    /// Hands it to `send` as a record of the receipts' topic.
    ///
    /// # Errors
    /// What `send` says.
    pub fn send(&self, send: impl FnOnce(&OutgoingRecord<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let key = self.key();
        let value = serde_json::to_vec(self).map_err(|error| Fault::bug("writing a receipt", error))?;
        send(&OutgoingRecord {
            topic: TOPIC,
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(&value),
            timestamp_ms: None,
            headers: &[],
        })
    }
}

/// Milliseconds since the epoch; only ever shown, never decided by, but for a segment's age.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_segment_overwrites_itself_and_reads_back() {
        let mut segment = crate::receipts::audit::tests::segment(5, 9);
        let key = ReceiptRecord::Segment(segment.clone()).key();
        segment.next = 12;
        let entry = ReceiptRecord::Segment(segment);
        assert_eq!(entry.key(), key);
        let text = serde_json::to_string(&entry).unwrap();
        assert!(text.contains("\"kind\":\"segment\""), "{text}");
        assert_eq!(serde_json::from_str::<ReceiptRecord>(&text).unwrap(), entry);
    }
}
