//! The collector: it asks a paginated API for every id of a table, and publishes every page to Kafka, once.
//!
//! ```text
//! database ──claim 500, fenced──► waiting ids ──► task per id (bounded) ──page──► publisher thread ──► Kafka
//!    ▲                                              │  ▲    │                      one transaction for all
//!    │ heartbeat every third of a lease             │  └────┘ HTTP, next page      pages that wait: records,
//!    └──── done | dead | released, fenced ──────────┘                              letters, checkpoints
//! ```
//!
//! Memory holds one page part per id in flight. `checkpoints.rs` and `session.rs` explain the promise of
//! exactly once and the reasons for it. `walk.rs` is an id's way over its pages. The pure parts are
//! `process.rs` (page → records), `page.rs`, `pagination.rs`, `request.rs`, `retry_after.rs`, `drift.rs`,
//! `incremental.rs` and `client/window.rs`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod auth;
mod budget;
mod checkpoints;
mod client;
mod collect;
pub mod config;
mod descriptor;
mod drift;
mod held;
mod incremental;
mod job;
mod link_header;
pub mod operate;
mod page;
mod pagination;
mod process;
mod progress;
mod publisher;
mod recall;
pub mod rejected;
mod request;
mod retry_after;
mod run;
mod scribe;
mod session;
mod sightings;
mod takeover;
mod tally;
mod tape;
mod template;
mod verdict;
mod walk;

pub use config::{CollectorConfig, RawCollectorConfig};
pub use descriptor::{ACCESS, DESCRIPTOR};
pub use run::{RunOptions, run};
pub use tally::CollectorSummary;
pub use tape::AnswerTape;
