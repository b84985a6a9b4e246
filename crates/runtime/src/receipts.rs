//! Durable receipts: the outcome of every record, kept in a topic that can be read long after the worker is
//! gone.
//!
//! The fleet's topic `sluice.receipts` (one partition, compacted) holds one record per *segment*: a run of
//! offsets of one topic and partition that one lane of one group took in without a break. A segment begins at
//! assignment, or at the end of its predecessor if that was closed because it was large or a day old. Every
//! commit overwrites the segment (same key) with its grown state. Compaction therefore keeps one record per
//! segment, and the number of assignments and days bounds the topic's size, not the number of commits.
//!
//! ```text
//!  offsets   0 ──────────── 412 │ 412 ───────────── 1,000,412 │ 1,000,412 ──── 1,002,000
//!  segments  [masker t/0, lane a]  [masker t/0, lane b        ]  [masker t/0, lane b     ]   next = committed offset
//! ```
//!
//! A receipt is sent in the Kafka transaction that commits the offsets it covers. The two never disagree:
//!
//! * a *transform lane* has outputs, dead letters, receipt and offsets in one transaction;
//! * a *store lane* makes its store durable first and then has dead letters, receipt and offsets in one
//!   transaction. If it is killed between the two, it reads those records again from the committed offset.
//!   The store knows its own position, judges each record as before and adds nothing. Dead letters and
//!   receipt are written then, once.
//!
//! Receipts are JSON, not Avro: a commit must not depend on the registry's answer, and an auditor can read
//! them with any consumer. They hold topics, partitions, offsets and counts, never a record's key or value.
//!
//! # When the books balance
//!
//! [`audit`] is pure. It decides from the segments of one group, topic and partition, the group's committed
//! offset, and the first offset of the log. Ranges in the table include both ends, as in the findings' texts:
//!
//! | segments | committed | verdict |
//! |---|---|---|
//! | none | none | holds: the group has read nothing |
//! | none | 10 | 0–9 without a receipt |
//! | 0–9 from the beginning, 10–19 | 20 | holds |
//! | 0–9, 12–19 | 20 | 10–11 without a receipt |
//! | 0–9, 8–19 | 20 | 8–9 twice |
//! | 0–9 | 12 | 10–11 without a receipt |
//! | 0–9 | 8 | 8–9 not committed: they will be handled again |
//! | 5–9, the group's position was 5, the log begins at 0 | 10 | 0–4 without a receipt |
//! | 5–9, the group's position was 5, the log begins at 5 or later | 10 | holds: the records before are gone from the log |
//! | 5–9 from the beginning | 10 | holds: the log's first readable record was 5 |
//! | 0–9, 20–29 from the beginning | 30 | 10–19 without a receipt: the log passed the group by |
//! | 0–9 with 8 records, 7 written, no dead letter, none skipped | 10 | 0–9 do not balance |
//! | 0–9 with 8 records, all accounted for | 10 | holds: offsets of transaction markers are legal gaps |
//! | 0–9, 20–29, and 10–19 by `sluice replay` | 30 | holds |

mod account;
mod audit;
mod books;
pub mod conservation;
mod segment;

pub use account::{OutcomeCounts, ReceiptAccount};
pub use audit::{AuditBounds, AuditFinding, ReceiptAudit, audit, uncovered};
pub use books::{DeadLetterIdentity, ReceiptBooks, ReceiptChain};
pub use segment::{
    DeadLetterFate, FateKind, ReceiptAuthor, ReceiptOrigin, ReceiptRecord, ReceiptSegment, now_ms,
};
pub use sluice_core::names::RECEIPTS as TOPIC;
