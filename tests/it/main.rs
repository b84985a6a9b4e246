//! Integration tests on real servers. `cargo test -p sluice-tests --test it`; needs what `setup/setup.sh` brings.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod collector;
mod compose;
mod configuration;
mod delivery;
mod foreign;
mod former;
mod hidden;
mod house;
mod look;
mod outage;
mod parts;
mod plan;
mod rebuilt;
mod receipts;
mod sql;
mod unusual;
mod wire;
mod wrong;
