//! The only room that loops: Kafka lanes, the registry, dead letters, configuration, and what an operator sees.
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
//! Three kinds of offset, defined once: *working* is what the lane has taken in; *proven* is what a receipt covers;
//! *committed* is what the group (or the store) remembers. They only ever move in that order.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod admin;
pub mod config;
pub mod contracts;
pub mod dead_letter;
pub mod fleet;
pub mod lane;
pub mod metrics;
pub mod receipts;
pub mod registry;
pub mod replay;
pub mod retry;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod watchdog;
