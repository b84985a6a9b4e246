//! Validate: the bytes are one datum of the schema, and nothing more.

use crate::{DatumError, Schema, SchemaError};

/// A compiled validation.
pub struct Validate;

impl Validate {
    /// Compiles the walk.
    ///
    /// # Errors
    /// [`SchemaError`] if the schema is beyond the limits.
    pub fn compile(_schema: &Schema) -> Result<Self, SchemaError> {
        Err(SchemaError::TooLarge)
    }

    /// Proves that `datum` is well formed and ends where the record ends.
    ///
    /// # Errors
    /// [`DatumError`] with path, byte position and what was expected.
    pub fn run(&self, _datum: &[u8]) -> Result<(), DatumError> {
        Ok(())
    }
}
