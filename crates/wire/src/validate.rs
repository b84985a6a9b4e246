//! Validate: proves that the bytes are exactly one datum of the schema.

use crate::program::compile;
use crate::program::diagnose::diagnose;
use crate::program::op::WalkProgram;
use crate::program::walk::IdleTask;
use crate::{DatumError, DatumSchema, SchemaError};

/// A compiled validation of one schema.
pub struct DatumValidator {
    schema: DatumSchema,
    program: WalkProgram,
}

impl DatumValidator {
    /// Compiles the walk over datums of `schema`.
    ///
    /// # Errors
    /// [`SchemaError::TooLarge`] if the schema is beyond the limits.
    pub fn compile(schema: &DatumSchema) -> Result<Self, SchemaError> {
        Ok(Self { schema: schema.clone(), program: compile::keep(schema)? })
    }

    /// Proves that `datum` is well formed and ends where its record ends.
    ///
    /// # Errors
    /// [`DatumError`] with the path, the byte position and the expectation.
    #[inline]
    pub fn run(&self, datum: &[u8]) -> Result<(), DatumError> {
        // The fast walk does not know where it failed; the diagnosis finds the place.
        match self.program.run(datum, &mut IdleTask) {
            Some(()) => Ok(()),
            None => Err(diagnose(&self.schema, datum)),
        }
    }
}
