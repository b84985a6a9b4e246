//! The normaliser: masked events → atomic, immutable facts. One fact per record, never null, timed.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod process;
mod run;
mod text;

pub use config::{NormaliserConfig, RawNormaliserConfig};
pub use process::NormaliserProcessor;
pub use run::run;
