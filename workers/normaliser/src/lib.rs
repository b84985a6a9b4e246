//! The normaliser: masked events → atomic, immutable facts. One fact per record, never null, timed.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod process;
mod run;
mod text;

pub use config::{Config, RawConfig};
pub use process::Normaliser;
pub use run::run;
