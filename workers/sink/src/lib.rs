//! Sinks: records of Kafka topics into stores that analysts read.
//!
//! ```text
//! topic ─► lane ─► Store ─┬─ archive   Avro container objects, one chain per topic and partition (the master copy)
//!                         └─ delta     one Delta table per topic (the embedded warehouse)
//! ```
//!
//! Each store is the truth about how far it has come: [`Store::resume`] asks the store, not the consumer group. A
//! write carries the offsets it covers and is accepted only by a store that stands exactly at the first of them, so a
//! repeat is recognised and a writer that was thought dead (a zombie) is refused:
//!
//! | store | where it stands | what makes a write exclusive |
//! |---|---|---|
//! | `archive` | the last object's metadata | an object's name is the offset at which its predecessor ended, and is created only if absent |
//! | `delta` | the table's `txn` action of the partition | a commit is created only if absent, after every commit in between was read |
//!
//! [`Store::resume`]: sluice_core::Store::resume
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod config;

pub use config::{SinkConfig, StoreConfig, stores};
