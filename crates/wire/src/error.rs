//! The errors of this crate, one enum per stage. No error ever quotes a value.

use std::borrow::Cow;

use sluice_core::{OutcomeReason, ReasonClass};

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The text is not an Avro schema. The message names the place and the expectation.
    #[error("not an Avro schema: {0}")]
    Parse(String),
    /// The schema has more than [`crate::MAX_SCHEMA_DEPTH`] levels.
    #[error("the schema is too deep: expected at most {limit} levels", limit = crate::MAX_SCHEMA_DEPTH)]
    TooDeep,
    /// The schema has more than [`crate::MAX_LEAVES`] leaves once every path is written out.
    #[error("the schema is too large: expected at most {limit} paths to leaves", limit = crate::MAX_LEAVES)]
    TooLarge,
    /// The schema does not have this path.
    #[error("no field `{0}` in the schema")]
    UnknownPath(String),
    /// The schema is valid, but this task cannot work with it.
    #[error("{}: {why}", name_field(.path, "the schema as a whole"))]
    Unsupported {
        /// Field path, empty for the schema as a whole.
        path: String,
        /// The obstacle.
        why: String,
    },
}

/// Bytes that are not a datum of the writer's schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, byte {position}: expected {expected}", name_field(.path, "the datum as a whole"))]
pub struct DatumError {
    /// Field path, empty for the datum as a whole.
    pub path: String,
    /// Byte position in the datum (without the five bytes of framing).
    pub position: usize,
    /// The expectation at this position; it never quotes the bytes that were found.
    pub expected: Cow<'static, str>,
}

impl From<DatumError> for OutcomeReason {
    fn from(error: DatumError) -> Self {
        OutcomeReason::new(ReasonClass::Datum, error.expected).at(error.path, Some(error.position))
    }
}

/// A policy that cannot be compiled against a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// These leaves have no policy, and no leaf passes by default. The list is complete and in schema order.
    #[error("no policy for: {}", .0.join(", "))]
    Uncovered(Vec<String>),
    /// The action cannot be applied at this path.
    #[error("{}: {why}", name_field(.path, "the datum as a whole"))]
    Unsupported {
        /// Field path, empty for the datum as a whole.
        path: String,
        /// The obstacle.
        why: String,
    },
    /// The schema itself cannot be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// A record that cannot be patched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchRunError {
    /// The bytes are not a datum of the schema.
    #[error(transparent)]
    Datum(#[from] DatumError),
    /// A masking function refused the leaf.
    #[error("{}: {why}", name_field(.path, "the datum as a whole"))]
    Refused {
        /// Field path.
        path: String,
        /// The function's reason; by contract it does not quote the value.
        why: Cow<'static, str>,
    },
}

/// Names the field of an error for its message; an empty path is the `whole`.
pub(crate) fn name_field(path: &str, whole: &str) -> String {
    if path.is_empty() { whole.to_owned() } else { format!("field {path}") }
}

impl From<PatchRunError> for OutcomeReason {
    fn from(error: PatchRunError) -> Self {
        match error {
            PatchRunError::Datum(error) => error.into(),
            PatchRunError::Refused { path, why } => {
                OutcomeReason::new(ReasonClass::Masking, why).at(path, None)
            }
        }
    }
}
