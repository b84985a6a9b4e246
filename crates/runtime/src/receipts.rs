//! Durable receipts: what became of every record, kept where it can be read long after the worker is gone.
//!
//! The fleet's topic `sluice.receipts` (one partition, compacted) holds one record per *segment*: a run of offsets of
//! one topic and partition that one lane of one group took in without a break. A segment begins at assignment, or
//! where its predecessor was closed because it was large or a day old. Every commit overwrites it (same key) with
//! its grown state, so compaction keeps one record per segment and the topic's size is bounded by the number of
//! assignments and days, not of commits.
//!
//! ```text
//!  offsets   0 ──────────── 412 │ 412 ───────────── 1,000,412 │ 1,000,412 ──── 1,002,000
//!  segments  [masker t/0, lane a]  [masker t/0, lane b        ]  [masker t/0, lane b     ]   next = committed offset
//! ```
//!
//! A receipt is sent in the Kafka transaction that commits the offsets it speaks of, so the two never disagree:
//!
//! * a *transform lane* has outputs, dead letters, receipt and offsets in one transaction;
//! * a *store lane* makes its store durable first and then has dead letters, receipt and offsets in one transaction.
//!   Killed between the two it reads those records again from the committed offset; the store knows its own position,
//!   judges each record as it did before and adds nothing, so dead letters and receipt are written then, once.
//!
//! JSON, not Avro: committing must not depend on the registry's answer, and whoever audits the fleet can read them
//! with any consumer. They hold names of places and counts, never a record's key or value.
//!
//! # When the books balance
//!
//! [`audit`] decides, purely, from the segments of one group, topic and partition, the group's committed offset, and
//! where the log begins:
//!
//! | segments | committed | verdict |
//! |---|---|---|
//! | none | none | holds: nobody was here |
//! | none | 10 | 0–9 without a receipt |
//! | 0–9 from the beginning, 10–19 | 20 | holds |
//! | 0–9, 12–19 | 20 | 10–11 without a receipt |
//! | 0–9, 8–19 | 20 | 8–9 twice |
//! | 0–9 | 12 | 10–11 without a receipt |
//! | 0–9 | 8 | 8–9 not committed: they will be done again |
//! | 5–9, the group stood at 5, the log begins at 0 | 10 | 0–4 without a receipt |
//! | 5–9, the group stood at 5, the log begins at 5 or later | 10 | holds: what lay before is gone from the log |
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
