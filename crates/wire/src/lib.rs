//! Compiled Avro programs: a writer schema and a task become a flat program over a datum's bytes.
//!
//! No value tree is built and, in steady state, nothing is allocated per record. The tasks:
//!
//! | task | type | what comes out |
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
//!  schema JSON ──► Schema (flat node table) ──► plan (what happens to each leaf) ──► ops ──► walk over bytes
//!                                                                                              │ on failure
//!                                                                     DatumError ◄── diagnose ◄┘ (second walk)
//! ```
//!
//! The fast walk knows only "well formed" or "not". Path, position and expectation are found by a second, slow
//! walk over the node table, so that a good record pays nothing for a bad one's report.

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

/// Levels of records, arrays and maps in one datum; a deeper one is refused.
pub const MAX_NESTING: usize = 64;
/// Levels of nesting in a schema, before recursion.
pub const MAX_SCHEMA_DEPTH: usize = 128;
/// Leaves of a schema once every path is written out; a schema with more cannot be patched or listed.
pub const MAX_LEAVES: usize = 16_384;
