//! Columns: Arrow record batches through arrow-avro, with bad records taken out before the builder.

use arrow::array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::{DatumError, Schema, SchemaError};

/// A batch that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// arrow-avro or Arrow itself.
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
}

/// A record batch in the making.
pub struct Columns {
    schema: SchemaRef,
}

impl Columns {
    /// Compiles for a writer's schema and, if given, resolves to the reader's.
    ///
    /// # Errors
    /// [`SchemaError`] where arrow-avro has no column type, or the two do not resolve.
    pub fn compile(_writer: &Schema, _reader: Option<&Schema>) -> Result<Self, SchemaError> {
        Err(SchemaError::TooLarge)
    }

    /// Appends one record; a bad one is refused and leaves the batch as it was.
    ///
    /// # Errors
    /// [`DatumError`].
    pub fn append(&mut self, _datum: &[u8]) -> Result<(), DatumError> {
        Ok(())
    }

    /// Records in the batch so far.
    pub fn rows(&self) -> usize {
        0
    }

    /// Datum bytes in the batch so far.
    pub fn bytes(&self) -> usize {
        0
    }

    /// The batch, and an empty one begun. No rows give an empty batch.
    ///
    /// # Errors
    /// [`ColumnsError`].
    pub fn flush(&mut self) -> Result<RecordBatch, ColumnsError> {
        Ok(RecordBatch::new_empty(self.schema.clone()))
    }

    /// Arrow schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
