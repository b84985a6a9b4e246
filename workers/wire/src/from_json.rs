//! FromJson: an API's JSON record to an Avro datum, read as a stream; no value tree.

use std::borrow::Cow;

use crate::{Schema, SchemaError};

/// A JSON record that does not fit the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at `{path}`: expected {expected}")]
pub struct JsonError {
    /// Field path, empty for the record as a whole.
    pub path: String,
    /// What was expected; never what was found.
    pub expected: Cow<'static, str>,
}

/// What to do with a JSON field that the schema does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// Pass over it.
    #[default]
    Ignore,
    /// Refuse the record.
    Refuse,
}

/// A compiled reader of JSON records.
pub struct FromJson;

impl FromJson {
    /// Compiles with [`UnknownFields::Ignore`].
    ///
    /// # Errors
    /// [`SchemaError`] if a default does not fit its field.
    pub fn compile(_schema: &Schema) -> Result<Self, SchemaError> {
        Err(SchemaError::TooLarge)
    }

    /// The same with another rule for unknown fields.
    pub fn unknown_fields(self, _rule: UnknownFields) -> Self {
        self
    }

    /// Appends the datum to `out`; on error `out` is as it was. A missing field takes its default, or null
    /// where null is allowed.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn run(&mut self, _json: &[u8], _out: &mut Vec<u8>) -> Result<(), JsonError> {
        Ok(())
    }
}
