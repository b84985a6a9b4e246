//! The normaliser: masked events → atomic, immutable facts. Each fact is a record of its own, is never null
//! and has a time.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod descriptor;
mod process;
mod run;
mod text;

pub use config::{NormaliserConfig, RawNormaliserConfig};
pub use descriptor::{ACCESS, DESCRIPTOR};
pub use process::NormaliserProcessor;
pub use run::run;
