//! The sink lands records of Kafka topics in stores that analysts read.
//!
//! ```text
//! topic ─► lane ─► Store ─┬─ archive   Avro container objects, one chain per topic and partition (the master copy)
//!                         └─ delta     one Delta table per topic (the embedded warehouse)
//! ```
//!
//! Each store is the truth about its position: [`Store::resume`] asks the store, not the consumer group. A
//! write has the offsets that it covers. A store accepts it only if the store's position is exactly the first
//! of them. Therefore a repeat is recognised, and a zombie (a writer that was believed dead) is refused:
//!
//! | store | source of the position | rule that makes a write exclusive |
//! |---|---|---|
//! | `archive` | the last object's metadata | an object's name is the offset at which its predecessor ended, and is created only if absent |
//! | `delta` | the table's `txn` action of the partition | a commit is created only if absent, after every commit in between was read |
//!
//! [`Store::resume`]: sluice_core::Store::resume
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod config;
mod descriptor;
mod raw_data;
mod run;

pub use config::{SinkConfig, StoreConfig, stores};
pub use descriptor::{ACCESS, DESCRIPTOR};
