//! Frame: a validated datum and its lineage, appended to a container block.
//!
//! A record is its fields concatenated, so appended lineage fields are appended bytes under an extended schema,
//! and a renamed field is an edit of the schema alone.

use crate::{DatumError, Schema, SchemaError};

/// Where a record came from.
#[derive(Debug, Clone, Copy)]
pub struct Lineage<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition, 0-based.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Kafka timestamp, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Registry id of the writer's schema.
    pub schema_id: u32,
}

/// A compiled frame.
pub struct Frame {
    extended: Schema,
}

impl Frame {
    /// Compiles; with `lineage` the fields `_topic` string, `_partition` int, `_offset` long, `_timestamp`
    /// `["null", timestamp-millis]` and `_schema_id` int are appended. `renames` are (field path, new name).
    ///
    /// # Errors
    /// [`SchemaError`] if the schema is not a record, a path is unknown or a name is taken.
    pub fn compile(
        _schema: &Schema,
        _lineage: bool,
        _renames: &[(String, String)],
    ) -> Result<Self, SchemaError> {
        Err(SchemaError::TooLarge)
    }

    /// Schema of the block's records.
    pub fn extended(&self) -> &Schema {
        &self.extended
    }

    /// Appends one record; on error the block is as it was.
    ///
    /// # Errors
    /// [`DatumError`].
    pub fn append(
        &self,
        _datum: &[u8],
        _lineage: &Lineage<'_>,
        _block: &mut Vec<u8>,
    ) -> Result<(), DatumError> {
        Ok(())
    }
}
