//! The rows of the fault matrix, on real servers, each a seeded run of its own.
//!
//! `cargo test -p sluice-fault --test rows` runs the short choice, `make fault` all; `SEED=7 cargo test … <name>` repeats
//! one. What takes more than a few seconds is ignored by default.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod brokers;
mod controls;
mod coordinator;
mod disk;
mod killed;
mod log;
mod network;
mod poison;
mod registry;
mod storm;
mod zombie;
