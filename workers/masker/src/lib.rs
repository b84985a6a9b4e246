//! The masker: raw topic → masked topic, by the contract's policy. No field without a policy passes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod descriptor;
mod process;
mod run;

pub use config::{MaskerConfig, RawMaskerConfig};
pub use descriptor::{ACCESS, DESCRIPTOR};
pub use process::MaskerProcessor;
pub use run::run;
