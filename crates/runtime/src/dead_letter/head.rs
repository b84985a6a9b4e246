//! The content of a letter's headers.

use serde::Serialize;
use sluice_core::{RecordRef, TopicPartition, names};

use crate::receipts::DeadLetterIdentity;

/// A letter without its value. Nothing in it is personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetterHead {
    /// Source topic.
    pub topic: String,
    /// Source partition; for a collector's letter the page.
    pub partition: i32,
    /// Source offset; for a collector's letter the record's place in the page.
    pub offset: i64,
    /// Schema id in the value's framing.
    pub schema_id: Option<u32>,
    /// Kind of trouble.
    pub class: String,
    /// Field path; empty for the record as a whole.
    pub path: String,
    /// The reason as a sentence, for example `field visits: expected an int`.
    pub reason: String,
    /// Worker that refused the record.
    pub worker: String,
    /// The worker's consumer group; empty for the collector, which has none.
    pub group: String,
    /// The worker's version.
    pub version: String,
    /// Number of the attempt that refused the record, from 1.
    pub attempt: u32,
}

impl DeadLetterHead {
    /// Reads the headers of a record. Returns `None` if a required header is missing: then the record is no
    /// letter of the fleet.
    pub fn read(record: &RecordRef<'_>) -> Option<Self> {
        // A header that is no UTF-8 counts as missing: the fleet writes text only.
        let text = |name: &str| {
            let header = record.headers.iter().find(|header| header.name == name)?;
            std::str::from_utf8(header.value?).ok().map(str::to_owned)
        };

        // Source, class and worker make a letter. The other headers may be missing.
        Some(Self {
            topic: text(names::dead_letter::SOURCE_TOPIC)?,
            partition: text(names::dead_letter::SOURCE_PARTITION)?.parse().ok()?,
            offset: text(names::dead_letter::SOURCE_OFFSET)?.parse().ok()?,
            schema_id: text(names::dead_letter::SCHEMA_ID).and_then(|id| id.parse().ok()),
            class: text(names::dead_letter::CLASS)?,
            path: text(names::dead_letter::PATH).unwrap_or_default(),
            reason: text(names::dead_letter::REASON).unwrap_or_default(),
            worker: text(names::dead_letter::WORKER)?,
            group: text(names::dead_letter::GROUP).unwrap_or_default(),
            version: text(names::dead_letter::VERSION).unwrap_or_default(),
            attempt: text(names::dead_letter::ATTEMPT).and_then(|attempt| attempt.parse().ok()).unwrap_or(1),
        })
    }

    /// Returns the group that refused the record, and the record's topic, partition and offset.
    pub fn identity(&self) -> DeadLetterIdentity {
        DeadLetterIdentity {
            // A letter without a group, for example one of an earlier version, is identified by its worker.
            group: if self.group.is_empty() { self.worker.clone() } else { self.group.clone() },
            at: TopicPartition::new(self.topic.as_str(), self.partition),
            offset: self.offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::{DeadLetter, own_headers};
    use sluice_core::{Header, Offset, OutcomeReason, ReasonClass};

    #[test]
    fn what_is_written_is_read_back_and_the_records_own_headers_go_along() {
        let own =
            [Header { name: "trace", value: Some(b"t1") }, Header { name: "sluice.dlq.path", value: None }];
        let record = RecordRef {
            topic: "a.v1",
            partition: 3,
            offset: Offset::new(41).unwrap(),
            timestamp_ms: Some(5),
            key: Some(b"k"),
            value: Some(&[0, 0, 0, 0, 7, 1]),
            headers: &own,
        };
        let reason = OutcomeReason::new(ReasonClass::Datum, "a long").at("a.b", Some(6));
        let letter = DeadLetter { reason: &reason, worker: "masker", group: "m", attempt: 2 };
        let mut read = None;
        letter
            .send(&record, |out| {
                assert_eq!(out.topic, "a.v1.dead-letter");
                let letter = RecordRef { topic: out.topic, headers: out.headers, ..record };
                read = DeadLetterHead::read(&letter);
                let own: Vec<_> = own_headers(&letter).map(|header| header.name).collect();
                assert_eq!(own, ["trace"]);
                Ok(())
            })
            .unwrap();
        let head = read.unwrap();
        assert_eq!((head.topic.as_str(), head.partition, head.offset, head.attempt), ("a.v1", 3, 41, 2));
        assert_eq!((head.class.as_str(), head.path.as_str(), head.schema_id), ("datum", "a.b", Some(7)));
        assert_eq!((head.worker.as_str(), head.group.as_str()), ("masker", "m"));
        assert!(!head.reason.contains('k'), "values do not belong in reasons");
        assert_eq!(DeadLetterHead::read(&record), None);
    }
}
