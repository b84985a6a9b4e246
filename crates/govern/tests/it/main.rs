//! Plan, proof, catalogue and samples of the repository's own contracts.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod catalogue;
#[path = "../../../contract/tests/it/files.rs"]
mod files;
mod gate;
mod keyed;
mod mutations;
mod nested;
mod plan;
mod proof;
mod refusals;
mod samples;
mod views;
mod workers;
