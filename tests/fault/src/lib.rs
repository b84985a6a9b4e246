//! Faults on purpose, and an oracle that tells whether anything was lost, repeated, torn or put out of order.
//!
//! ```text
//!  Feed ──► raw topic ──► maskers ──► masked topic ──► sinks ──► archive, lake
//!   │ ok | fail | unknown     ▲ faults        │           ▲ faults       │
//!   └──────────────────────► Oracle ◄─────────┴──────────────────────────┘
//! ```
//!
//! The workers are the binary `sluice`, configured by files as a user would. Every run prints its seed; `SEED=<n>`
//! repeats it. `rows/` holds the rows of the fault matrix as tests, `sluice-fault chaos` is the long run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program of tests: what cannot be set up ends it"
)]

pub mod chaos;
pub mod cluster;
pub mod feed;
pub mod landed;
pub mod oracle;
pub mod proxy;
pub mod reading;
pub mod seed;
pub mod start;
pub mod trial;
