//! Contracts: one file per topic, everything else derived, leaks refused before they exist.
//!
//! ```text
//!  schemas/<domain>/<topic>/value.avsc ──────────┐
//!  schemas/<domain>/<topic>/contract.odcs.yaml ──┴─► Contracts::parse ─┬─► Findings (all of them, file:line, hint)
//!                                                                     └─► Contract ─┬─► policy(keys)   ► the masker's walk
//!                                                                                   ├─► key_mask(keys) ► Kafka keys
//!                                                                                   ├─► masked_schema  ► the registry
//!                                                                                   └─► plan::Desired  ► diff(world)
//! ```
//!
//! Pure: it takes texts and gives back values. Whoever may do I/O reads the files, fetches the keys and carries out
//! the plan.
//!
//! What is refused, never let through by silence: a leaf of the value without a policy, a policy without a leaf, a
//! tagged or restricted leaf that is kept, tags that differ between the two files, an operation that does not fit the
//! type or is not built yet, a setting that names a path that is not there, two contracts with one topic.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod avsc;
mod contract;
mod contracts;
mod coverage;
mod finding;
mod masking;
mod odcs;
pub mod plan;
mod policy;
mod references;
mod section;
mod settings;
mod yaml;

pub use contract::{
    Cleanup, Compatibility, Contract, Facts, Field, Owner, PartitionBy, Retention, Role, TablePartition,
    View, Warehouse, WarehouseMode, dead_letter_topic, value_subject,
};
pub use contracts::{CONTRACT_FILE, Contracts, KEY_FILE, VALUE_FILE};
pub use finding::{Finding, Findings};
pub use masking::{
    Constant, DateStep, Generalise, KEY_BYTES_MIN, KeyError, KeyRing, MaskingError, Op, Partial, Pseudonym,
};
pub use policy::{ContractPolicy, KeyMask};
