//! The words every room of Sluicegate shares, and nothing else: no I/O, no clock, no environment.
//!
//! A record travels as a [`RecordRef`] (bytes lent by whoever fetched them), a [`Processor`] answers with an
//! [`Outcome`] and appends what it produces to [`Outputs`], and a [`OffsetCheckpoint`] moves only over [`Receipt`]s.
//!
//! ```text
//!  poll ─► RecordRef ─► Processor ─► Outcome ─┬─ Emitted ───► Outputs ─► durable write ─┐
//!                                             ├─ Skipped ───► counted ──────────────────┼─► Receipt ─► Checkpoint
//!                                             └─ DeadLetter ► dead-letter topic ────────┘
//! ```

mod acl;
mod backoff;
mod checkpoint;
mod fault;
pub mod names;
mod offset;
mod outcome;
mod outputs;
mod processor;
mod record;
mod store;

pub use acl::{ANY, AclOperation, AclResource, AclRule};
pub use backoff::Backoff;
pub use checkpoint::{CheckpointError, OffsetCheckpoint, OffsetSpan, Receipt};
pub use fault::{BoxError, Domain, Fault, Retry};
pub use offset::{NextOffset, Offset};
pub use outcome::{Outcome, OutcomeReason, ReasonClass};
pub use outputs::{OutRecord, OutputDraft, Outputs, Route};
pub use processor::{LearnError, Processor, SchemaLookup};
pub use record::{Header, RecordRef, SchemaId, TopicPartition};
pub use store::{RecordArchive, Store, StoreBacklog};
