//! Contracts: one file per topic, everything else derived, leaks refused before they exist.
//!
//! ```text
//!  schemas/<domain>/<topic>/value.avsc, key.avsc? ─┐
//!  schemas/<domain>/<topic>/contract.odcs.yaml ────┴─► ContractSet::parse ─┬─► FindingList (file:line, hint)
//!                                                                          └─► Contract
//!  Contract ─┬─► policy(keys)                     ► the masker's walk
//!            ├─► key_mask(keys), key_policy(keys) ► Kafka keys
//!            ├─► masked_schema                    ► the registry
//!            └─► govern's DesiredState            ► the plan
//! ```
//!
//! Pure: texts in, values out. The workers read the files, fetch the keys and carry out the plan.
//!
//! These mistakes are refused; none of them passes by default: a leaf of the value without a policy, a policy
//! without a leaf, a tagged or restricted leaf that is kept, tags that differ between the two files, an
//! operation that does not fit the type or is not built yet, a setting that names a path that does not exist,
//! two contracts with one topic.

//! # The contract file
//! Open Data Contract Standard 3.1, checked against the standard's JSON schema. Besides the standard the
//! fleet reads:
//!
//! | place | meaning |
//! |---|---|
//! | `domain`, `id`, `version`, `team` | names of the contract, and the team that answers for it |
//! | `status` | `draft`: checked, but neither applied nor served; every other status is served |
//! | `schema[0].physicalName` | the raw topic |
//! | `slaProperties`: `retention` | value and unit (`y w d h m s ms`), or the value `unlimited` (or -1) for records that stay for ever; needed unless the topic is compacted |
//! | `roles[]`: `access` | `read`, the default; `write` for producers of the raw topic; `readWrite`; `operate` for users who look at dead letters and run replays |
//! | `roles[].customProperties`: `view` | `raw` or `masked`; every role that reads has one |
//! | `customProperties`: `maskedTopic` | the masked topic |
//! | `recordKey` | the leaf whose text is the Kafka key; kept or hmac, never null; not beside a `key.avsc` |
//! | `schema[]` with `physicalType: key` | a property per leaf of `key.avsc`, each kept or hmac; a key that is no record has the one property `key` |
//! | `subjectKey` | the leaf that identifies the person whose data the record is |
//! | `compatibility` | the registry's level; the default is `BACKWARD` |
//! | `topic` | `{partitions: 4, cleanup: delete, config: {…}}`; `compact` if the warehouse upserts |
//! | `headers` | `{allow: […]}`; every other header stays behind |
//! | `warehouse` | `{mode: append}` or `{mode: upsert, key: […]}`, `cluster`, `partition: {field, by, expireDays}` |
//! | `facts` | `{topic, entityType, entity: […], time, attributes: […]}` |
//!
//! Each leaf has a property with `classification`, the same `tags` as `confluent:tags` in the `.avsc`, and a
//! custom property `masking`. Properties nest as the value does: `properties` under `logicalType: object`,
//! `items` under `array`. A map has `physicalType: map` and the properties `key` and `value`. A union of
//! several types has `physicalType: union` and one property per branch. One `masking` can drop or null a
//! whole record, array, map or union.
//!
//! | `masking` | result |
//! |---|---|
//! | `{op: keep}` | the raw value; refused for a leaf that is tagged or restricted |
//! | `{op: drop}`, `{op: "null"}` | no field; null |
//! | `{op: redact, with: REDACTED}` | a constant of the leaf's type |
//! | `{op: partial, keepFirst: 4, keepLast: 0, length: 8, fill: "*"}` | the ends, always at that length; no character of a text that would be shown whole |
//! | `{op: hmac, key: pseudonym, domain: account, epoch: 2}` | `2:` and 22 characters; the default is the latest epoch |
//! | `{op: generalise, date: 30m}` | rounded down to `s m h d w mo q y`, for dates, times and timestamps |
//! | `{op: generalise, number: 50}` | rounded down to a multiple |
//! | `{op: generalise, number: [18, 65]}` | the bucket as text: `<18`, `18..65`, `>=65` |
//! | `{op: generalise, geo: outward}` | a UK postcode's outward part |
//! | `{op: generalise, geo: grid, degrees: 0.1}` | a coordinate, rounded down to the grid |
//!
//! `encrypt`, `fpe` and `scan` are designed, but not built. They are refused as not available yet.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod access;
mod adopt;
pub mod avsc;
pub mod contract;
pub mod contracts;
pub mod coverage;
pub mod finding;
pub mod key;
pub mod masking;
mod odcs;
mod policy;
mod references;
mod section;
mod selection;
mod settings;
mod yaml;

pub use access::WorkerAccess;
pub use adopt::{ContractAdoption, ContractFiles, hold_back};
pub use avsc::recursion;
pub use contract::{
    CleanupPolicy, CompatibilityLevel, Contract, ContractFacts, ContractField, ContractOwner, ContractRole,
    PartitionInterval, RoleView, TablePartition, TopicRetention, WarehouseMode, WarehouseSettings,
    dead_letter_topic, sql_name, value_subject,
};
pub use contracts::{CONTRACT_FILE, ContractSet, KEY_FILE, VALUE_FILE};
pub use finding::{ContractFinding, FindingList};
pub use key::{KeySchema, RecordKey, key_subject};
pub use masking::{
    DateStep, GeneraliseRule, KEY_BYTES_MIN, KeyError, KeyRing, MaskOperation, MaskingError, PartialRule,
    PseudonymRule, RedactConstant,
};
pub use policy::{ContractPolicy, KeyMask, operation};
pub use selection::{ContractSelection, SelectionMistake};
