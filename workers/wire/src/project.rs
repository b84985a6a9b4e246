//! Project: typed leaves in one pass over a validated datum.

use crate::{DatumError, Leaf, Schema, SchemaError};

/// Wanted leaves of a schema.
pub struct Project;

impl Project {
    /// Compiles the paths, which must be leaves outside arrays and maps.
    ///
    /// # Errors
    /// [`SchemaError::UnknownPath`], or [`SchemaError::Unsupported`] for one inside an array, map or union.
    pub fn compile(_schema: &Schema, _paths: &[&str]) -> Result<Self, SchemaError> {
        Err(SchemaError::TooLarge)
    }

    /// Calls `leaf(index in paths, leaf)` for each wanted leaf in datum order, [`Leaf::Null`] for an absent
    /// one, while the whole datum is validated. On error some leaves may have been handed out already.
    ///
    /// # Errors
    /// [`DatumError`].
    pub fn run<'d>(&'d self, _datum: &'d [u8], _leaf: impl FnMut(usize, Leaf<'d>)) -> Result<(), DatumError> {
        Ok(())
    }
}
