//! The records of the receipts' topic.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sluice_core::{Fault, TopicPartition};

use super::TOPIC;
use sluice_kafka::OutgoingRecord;

/// The lane that writes receipts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptAuthor {
    /// Consumer group.
    pub group: String,
    /// Worker name.
    pub worker: String,
    /// The process and its lane, for example `masker-0-17-0`.
    pub instance: String,
}

/// The origin of a segment's first offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptOrigin {
    /// The group had no position. `first` is the first record that was readable in the log.
    Beginning,
    /// `first` was the group's position, or the end of the segment before.
    Position,
    /// `sluice replay` handled this range.
    Replay,
}

/// The outcomes of a run of offsets. It is one record of the topic and is overwritten as it grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptSegment {
    /// Consumer group.
    pub group: String,
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// First offset that the segment covers.
    pub first: i64,
    /// One past the last offset that the segment covers. The group commits it in the same transaction.
    pub next: i64,
    /// Origin of `first`.
    pub origin: ReceiptOrigin,
    /// Records taken in; at most `next - first`, fewer where the log has gaps.
    pub records: u64,
    /// Of these, records that reached their output or store.
    pub written: u64,
    /// Output records, by topic. A record may have many. Empty for stores.
    pub outputs: BTreeMap<String, u64>,
    /// Records in the dead-letter topic, by class.
    pub dead_letters: BTreeMap<String, u64>,
    /// Records skipped by rule, by class.
    pub skipped: BTreeMap<String, u64>,
    /// Worker name.
    pub worker: String,
    /// Process and lane.
    pub instance: String,
    /// The worker's version.
    pub version: String,
    /// Time at which the segment began, milliseconds since the epoch.
    pub began_ms: i64,
    /// Time at which the segment last grew, milliseconds since the epoch.
    pub grown_ms: i64,
}

/// The fate of a dead letter that was replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterFate {
    /// Group that refused the record.
    pub group: String,
    /// Topic of the refused record.
    pub topic: String,
    /// Partition of the refused record.
    pub partition: i32,
    /// Offset of the refused record.
    pub offset: i64,
    /// Result of the replay.
    pub fate: FateKind,
    /// Number of attempts in all, the first one included.
    pub attempt: u32,
    /// Version of the worker that replayed it.
    pub version: String,
    /// Time of the replay, milliseconds since the epoch.
    pub time_ms: i64,
}

/// The result of replaying a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FateKind {
    /// Its outputs were written.
    Out,
    /// Skipped: by rule nothing comes of the record.
    Skipped,
    /// Refused again, for another reason or by another version. A newer letter has the reason.
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
    /// Returns the segment's topic and partition.
    pub fn at(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.partition)
    }

    /// Returns the number of dead letters of all classes.
    pub fn dead_lettered(&self) -> u64 {
        self.dead_letters.values().sum()
    }

    /// Returns the number of skips of all classes.
    pub fn skips(&self) -> u64 {
        self.skipped.values().sum()
    }
}

impl ReceiptRecord {
    /// Returns the record's key. Compaction keeps the newest record of each key.
    fn key(&self) -> String {
        // A segment's key has its first offset and not its end, so that a grown segment overwrites itself.
        // JSON quotes the names: no two groups or topics can make the same key.
        let parts = match self {
            Self::Segment(s) => serde_json::json!(["segment", s.group, s.topic, s.partition, s.first]),
            Self::Letter(l) => serde_json::json!(["letter", l.group, l.topic, l.partition, l.offset]),
        };
        parts.to_string()
    }

    /// Hands the record to `send`, addressed to the receipts' topic.
    ///
    /// # Errors
    /// The [`Fault`] of `send`.
    pub fn send(&self, send: impl FnOnce(&OutgoingRecord<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        // The topic has one partition, so the order of all receipts is the order of their commits.
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

/// Returns the present time in milliseconds since the epoch. It is only shown; the one decision that uses it
/// is to close an old segment.
pub fn now_ms() -> i64 {
    // A clock before 1970 is wrong anyway, and 0 shows it.
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
