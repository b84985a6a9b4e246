//! The types that all rooms of Sluicegate share, and nothing else: no I/O, no clock, no environment.
//!
//! A record travels as a [`RecordRef`], a set of slices that the consumer lends. A [`Processor`] returns an
//! [`Outcome`] and appends its outputs to [`Outputs`]. Offsets are committed only over durable ends.
//!
//! ```text
//!  poll ─► RecordRef ─► Processor ─► Outcome ─┬─ Emitted ───► Outputs ─► durable write ─┐
//!                                             ├─ Skipped ───► counted ──────────────────┼─► Receipt ─► Checkpoint
//!                                             └─ DeadLetter ► dead-letter topic ────────┘
//! ```

mod acl;
mod backoff;
mod fault;
pub mod names;
mod offset;
mod outcome;
mod outputs;
mod processor;
mod record;
mod store;

// The ports (`Processor`, `Store`, `SchemaLookup`, `RecordArchive`) are implemented in other crates: this one
// has no I/O.
pub use acl::{ANY, AclOperation, AclResource, AclRule};
pub use backoff::Backoff;
pub use fault::{BoxError, Domain, Fault, Retry, full_text};
pub use offset::{NextOffset, Offset};
pub use outcome::{Outcome, OutcomeReason, ReasonClass, RecordPart};
pub use outputs::{OutRecord, OutputDraft, Outputs, Route};
pub use processor::{LearnError, Processor, SchemaLookup};
pub use record::{Header, RecordRef, SchemaId, TopicPartition};
pub use store::{FlushReport, RecordArchive, RefusedRow, Store, StoreBacklog, StorePosition, TopicId};
