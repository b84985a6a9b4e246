//! The only room that loops: Kafka lanes, the registry, dead letters, configuration, and the pages for an
//! operator.
//!
//! ```text
//!              ┌────────────────── transform lane (masker, normaliser): one OS thread ──────────────────┐
//!  topic ──►   │ Consumer ─► Processor ─► Outputs ─► transactional Producer ─► commit(outputs, offsets) │ ──► topic
//!              └────────────────────────────────────────────────────────────────────────────────────────┘
//!              ┌────────────────── store lane (sink): one OS thread per store ──────────────────────────┐
//!  topic ──►   │ Consumer ─► Store::append ─► Store::flush (durable) ─► Receipt ─► Checkpoint ─► commit │ ──► store
//!              └────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Three kinds of offset, defined once: the lane has taken in the *working* offset; a receipt covers the
//! *proven* offset; the group (or the store) remembers the *committed* offset. They only ever move in that
//! order.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod admin;
pub mod config;
pub mod contracts;
pub mod dead_letter;
pub mod descriptor;
pub mod fleet;
pub mod key_files;
pub mod lane;
pub mod metrics;
pub mod process;
pub mod receipts;
pub mod registry;
pub mod replay;
pub mod retry;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod watchdog;
