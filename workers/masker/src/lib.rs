//! The masker: raw topic → masked topic, by the contract's policy. What it does not know does not pass.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod process;
mod run;

pub use config::{MaskerConfig, RawMaskerConfig};
pub use process::MaskerProcessor;
pub use run::run;
