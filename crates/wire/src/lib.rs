//! Compiled Avro programs: a writer's schema and a task become a flat program over the bytes of a datum.
//!
//! A program builds no value tree and, in steady state, allocates nothing per record. The tasks:
//!
//! | task | type | result |
//! |---|---|---|
//! | validate | [`DatumValidator`] | proof that the bytes are one datum of the schema, and nothing more |
//! | patch | [`DatumPatch`] | the datum of the derived schema: leaves kept, dropped, nulled or replaced |
//! | project | [`LeafProjection`] | typed leaves in one pass |
//! | frame | [`LineageFrame`], [`ContainerWriter`] | the datum with its lineage in an Avro object container block |
//! | transcode | [`ProtobufTranscoder`] | protobuf wire bytes for a given descriptor |
//! | columns | [`columns::ColumnBatchBuilder`] | Arrow record batches that no bad record can spoil |
//! | from JSON | [`JsonConverter`] | the datum for a JSON record, read as a stream |
//!
//! ```text
//!  schema JSON ──► Schema (flat node table) ──► plan (the action for every leaf) ──► ops ──► walk over bytes
//!                                                                                              │ on failure
//!                                                                     DatumError ◄── diagnose ◄┘ (second walk)
//! ```
//!
//! The fast walk finds out whether a datum is well formed, and nothing else. After a failure a second, slow
//! walk over the node table finds path, position and expectation. A good record therefore pays nothing for
//! the report about a bad one.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod console;
mod container;
mod datum;
mod error;
mod frame;
pub mod framing;
mod from_json;
mod leaf;
mod patch;
mod program;
mod programs;
mod project;
mod schema;
mod transcode;
mod validate;

#[cfg(feature = "columns")]
pub mod columns;

pub use container::{ContainerCodec, ContainerWriter};
pub use error::{DatumError, PatchError, PatchRunError, SchemaError};
pub use frame::{LineageFrame, RecordLineage};
pub use framing::FramingError;
pub use from_json::{JsonConverter, JsonError, UnknownFields};
pub use leaf::{LeafValue, LeafWriter};
pub use patch::{DatumPatch, LeafAction, LeafFn, LeafPolicy};
pub use programs::ProgramCache;
pub use project::LeafProjection;
pub use schema::{DatumSchema, LeafInfo, LeafKind, LeafType, LogicalType};
pub use transcode::{DescriptorProto, ProtobufTranscoder};
pub use validate::DatumValidator;

/// The largest number of levels of records, arrays and maps in one datum. A deeper datum is refused.
pub const MAX_NESTING: usize = 64;
/// The largest number of levels of nesting in a schema, before recursion.
pub const MAX_SCHEMA_DEPTH: usize = 128;
/// The largest number of leaves of a schema once every path is written out. A larger schema cannot be patched
/// or listed.
pub const MAX_LEAVES: usize = 16_384;
