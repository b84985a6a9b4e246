//! Wire programs against other implementations, generated schemas and hostile bytes.
//!
//! One binary for all: what they share is compiled and linked once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agreement;
#[cfg(feature = "columns")]
mod columns;
mod containers;
mod generate;
mod golden;
mod hostile;
mod json;
mod transcode;
