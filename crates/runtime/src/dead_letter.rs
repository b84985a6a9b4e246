//! Dead letters: one shape for the whole fleet.
//!
//! Key and value go unchanged to `<source topic>.dead-letter`, which is as restricted as its source. Headers
//! name the record's source and the expectation that it did not meet, never a value of the record:
//!
//! | header | content |
//! |---|---|
//! | `sluice.dlq.source.topic`, `.source.partition`, `.source.offset` | topic, partition and offset of the refused record |
//! | `sluice.dlq.schema.id` | the schema id in the value's framing, if it is framed |
//! | `sluice.dlq.class`, `.path`, `.reason` | the kind of trouble, the field, the reason as a sentence |
//! | `sluice.dlq.worker`, `.group`, `.version`, `.attempt` | the worker that refused it, and the number of the attempt |
//!
//! The record's own headers follow unchanged, so that a replay hands them on.
//!
//! A letter is *about* a record and *of* a group: (group, topic, partition, offset) is its identity. Letters
//! are counted by identity, and the letter with the highest attempt counts for its identity.

mod board;
mod head;
mod log;

use sluice_core::{Fault, Header, OutcomeReason, RecordRef, names};

use sluice_kafka::OutgoingRecord;

pub use board::{DeadLetterBoard, DeadLetterRow, DeadLetterState, NewestLetter};
pub use head::DeadLetterHead;
pub use log::{DeadLetterLine, DeadLetterLog};
pub use sluice_core::names::dead_letter_topic as topic_of;

/// The version that this worker writes into dead letters and shows at `/status`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The reason for which a record goes to the dead-letter topic, and the worker that refused it.
pub struct DeadLetter<'a> {
    /// Trouble of the record.
    pub reason: &'a OutcomeReason,
    /// Worker name.
    pub worker: &'a str,
    /// Consumer group.
    pub group: &'a str,
    /// Number of the attempt: 1 the first time, one more for each replay that fails again.
    pub attempt: u32,
}

impl DeadLetter<'_> {
    /// Hands the letter for `record` to `send`.
    ///
    /// # Errors
    /// The [`Fault`] of `send`.
    pub fn send(
        &self,
        record: &RecordRef<'_>,
        send: impl FnOnce(&OutgoingRecord<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        // Headers lend their text, so numbers are written down first. A value without framing has no schema
        // id.
        let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
        let (reason, attempt) = (self.reason.to_string(), self.attempt.to_string());
        let id = record
            .value
            .and_then(|value| sluice_wire::framing::split(value).ok())
            .map(|(id, _)| id.to_string());

        // The fleet's headers come first; `DeadLetterHead::read` reads them back.
        let mut headers = vec![
            text_header(names::dead_letter::SOURCE_TOPIC, record.topic),
            text_header(names::dead_letter::SOURCE_PARTITION, &partition),
            text_header(names::dead_letter::SOURCE_OFFSET, &offset),
            text_header(names::dead_letter::CLASS, self.reason.class.as_str()),
            text_header(names::dead_letter::PATH, &self.reason.path),
            text_header(names::dead_letter::REASON, &reason),
            text_header(names::dead_letter::WORKER, self.worker),
            text_header(names::dead_letter::GROUP, self.group),
            text_header(names::dead_letter::VERSION, VERSION),
            text_header(names::dead_letter::ATTEMPT, &attempt),
        ];
        if let Some(id) = &id {
            headers.push(text_header(names::dead_letter::SCHEMA_ID, id));
        }
        headers.extend(own_headers(record));

        // Key, value and time stay unchanged. The key chooses the partition, as it does for any producer.
        send(&OutgoingRecord {
            topic: &topic_of(record.topic),
            partition: None,
            key: record.key,
            value: record.value,
            timestamp_ms: record.timestamp_ms,
            headers: &headers,
        })
    }
}

/// Returns the headers that a refused record had itself.
pub fn own_headers<'a>(record: &RecordRef<'a>) -> impl Iterator<Item = Header<'a>> + use<'a> {
    // A letter that is replayed carries the fleet's headers of its last attempt. They must not pile up.
    record.headers.iter().filter(|header| !header.name.starts_with(names::dead_letter::PREFIX)).copied()
}

/// Returns a header whose value is text.
fn text_header<'a>(name: &'a str, value: &'a str) -> Header<'a> {
    Header { name, value: Some(value.as_bytes()) }
}
