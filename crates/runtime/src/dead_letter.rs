//! Dead letters: one shape for the whole fleet.
//!
//! Key and value lie as they came in `<source topic>.dead-letter`, which is as restricted as its source. Headers say
//! where it came from and what was expected, never what was found:
//!
//! | header | content |
//! |---|---|
//! | `sluice.dlq.source.topic`, `.source.partition`, `.source.offset` | where the record stands |
//! | `sluice.dlq.schema.id` | the id it claims, if it is framed |
//! | `sluice.dlq.class`, `.path`, `.reason` | the kind of trouble, the field, the words |
//! | `sluice.dlq.worker`, `.group`, `.version`, `.attempt` | who refused it, and for the how-manieth time |
//!
//! The record's own headers follow as they came, so that a replay hands on what the record had.
//!
//! A letter is *about* a record and *of* a group: (group, topic, partition, offset) is its identity. Whoever counts
//! letters counts identities, and of one identity the highest attempt is the one that holds.

mod board;
mod head;

use sluice_core::{Fault, Header, OutcomeReason, RecordRef};

use sluice_kafka::OutgoingRecord;

pub use board::{DeadLetterBoard, DeadLetterRow, DeadLetterState, NewestLetter};
pub use head::DeadLetterHead;

/// The version this worker writes into dead letters and shows at `/status`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What every header of a letter begins with; a record's own headers of that name are not handed on.
const OURS: &str = "sluice.dlq.";

/// Why a record goes to the dead-letter topic, and who says so.
pub struct DeadLetter<'a> {
    /// What is wrong with it.
    pub reason: &'a OutcomeReason,
    /// Worker name.
    pub worker: &'a str,
    /// Consumer group.
    pub group: &'a str,
    /// 1 the first time; a replay that fails again counts on.
    pub attempt: u32,
}

/// The dead-letter topic of a topic.
pub fn topic_of(source: &str) -> String {
    format!("{source}.dead-letter")
}

impl DeadLetter<'_> {
    /// Hands the letter for `record` to `send`.
    ///
    /// # Errors
    /// What `send` says.
    pub fn send(
        &self,
        record: &RecordRef<'_>,
        send: impl FnOnce(&OutgoingRecord<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
        let (reason, attempt) = (self.reason.to_string(), self.attempt.to_string());
        let id = record
            .value
            .and_then(|value| sluice_wire::framing::split(value).ok())
            .map(|(id, _)| id.to_string());
        let mut headers = vec![
            text("sluice.dlq.source.topic", record.topic),
            text("sluice.dlq.source.partition", &partition),
            text("sluice.dlq.source.offset", &offset),
            text("sluice.dlq.class", self.reason.class.as_str()),
            text("sluice.dlq.path", &self.reason.path),
            text("sluice.dlq.reason", &reason),
            text("sluice.dlq.worker", self.worker),
            text("sluice.dlq.group", self.group),
            text("sluice.dlq.version", VERSION),
            text("sluice.dlq.attempt", &attempt),
        ];
        if let Some(id) = &id {
            headers.push(text("sluice.dlq.schema.id", id));
        }
        headers.extend(own_headers(record));
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

/// The headers a refused record had itself.
pub fn own_headers<'a>(record: &RecordRef<'a>) -> impl Iterator<Item = Header<'a>> + use<'a> {
    record.headers.iter().filter(|header| !header.name.starts_with(OURS)).copied()
}

fn text<'a>(name: &'a str, value: &'a str) -> Header<'a> {
    Header { name, value: Some(value.as_bytes()) }
}
