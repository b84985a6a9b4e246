//! The words every room of Sluicegate shares, and nothing else: no I/O, no clock, no environment.
//!
//! A record travels as a [`RecordRef`] (bytes lent by whoever fetched them), a [`Processor`] answers with an
//! [`Outcome`] and appends what it produces to [`Outputs`], and a [`Checkpoint`] moves only over [`Receipt`]s.
//!
//! ```text
//!  poll ─► RecordRef ─► Processor ─► Outcome ─┬─ Emitted ───► Outputs ─► durable write ─┐
//!                                             ├─ Skipped ───► counted ──────────────────┼─► Receipt ─► Checkpoint
//!                                             └─ DeadLetter ► dead-letter topic ────────┘
//! ```

mod backoff;
mod checkpoint;
mod fault;
mod offset;
mod outcome;
mod outputs;
mod processor;
mod record;

pub use backoff::Backoff;
pub use checkpoint::{Checkpoint, CheckpointError, Receipt, Span};
pub use fault::{BoxError, Domain, Fault, Retry};
pub use offset::{NextOffset, Offset};
pub use outcome::{Class, Outcome, Reason};
pub use outputs::{Draft, OutRecord, Outputs, Route};
pub use processor::{LearnError, Processor, SchemaLookup};
pub use record::{Header, RecordRef, SchemaId, TopicPartition};
