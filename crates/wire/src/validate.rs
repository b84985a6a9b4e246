//! Validate: the bytes are one datum of the schema, and nothing more.

use crate::program::compile;
use crate::program::diagnose::diagnose;
use crate::program::op::WalkProgram;
use crate::program::walk::IdleTask;
use crate::{DatumError, DatumSchema, SchemaError};

/// A compiled validation.
pub struct DatumValidator {
    schema: DatumSchema,
    program: WalkProgram,
}

impl DatumValidator {
    /// Compiles the walk.
    ///
    /// # Errors
    /// [`SchemaError::TooLarge`] for a schema beyond the limits.
    pub fn compile(schema: &DatumSchema) -> Result<Self, SchemaError> {
        Ok(Self { schema: schema.clone(), program: compile::keep(schema)? })
    }

    /// Proves that `datum` is well formed and ends where the record ends.
    ///
    /// # Errors
    /// [`DatumError`] with path, byte position and what was expected.
    #[inline]
    pub fn run(&self, datum: &[u8]) -> Result<(), DatumError> {
        match self.program.run(datum, &mut IdleTask) {
            Some(()) => Ok(()),
            None => Err(diagnose(&self.schema, datum)),
        }
    }
}
