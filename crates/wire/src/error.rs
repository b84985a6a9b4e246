//! What can go wrong, one enum per stage. None of them ever quotes a value.

use std::borrow::Cow;

use sluice_core::{OutcomeReason, ReasonClass};

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Not an Avro schema; the text says where.
    #[error("not an Avro schema: {0}")]
    Parse(String),
    /// More than [`crate::MAX_SCHEMA_DEPTH`] levels.
    #[error("schema is nested deeper than {limit} levels", limit = crate::MAX_SCHEMA_DEPTH)]
    TooDeep,
    /// More than [`crate::MAX_LEAVES`] leaves once every path is written out.
    #[error("schema has more than {limit} leaves when every path is written out", limit = crate::MAX_LEAVES)]
    TooLarge,
    /// A path that the schema does not have.
    #[error("no field `{0}` in the schema")]
    UnknownPath(String),
    /// A valid schema that this task cannot work with.
    #[error("at `{path}`: {why}")]
    Unsupported {
        /// Field path.
        path: String,
        /// What stands in the way.
        why: String,
    },
}

/// Bytes that are not a datum of the writer's schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at `{path}`, byte {position}: expected {expected}")]
pub struct DatumError {
    /// Field path, empty for the datum as a whole.
    pub path: String,
    /// Byte position in the datum (without the five bytes of framing).
    pub position: usize,
    /// What was expected there; never what was found.
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
    /// Leaves without a policy: nothing is let through by default. All of them, in schema order.
    #[error("no policy for: {}", .0.join(", "))]
    Uncovered(Vec<String>),
    /// An action that cannot be applied at this path.
    #[error("at `{path}`: {why}")]
    Unsupported {
        /// Field path.
        path: String,
        /// What stands in the way.
        why: String,
    },
    /// The schema itself.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// A record that cannot be patched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchRunError {
    /// Not a datum of the schema.
    #[error(transparent)]
    Datum(#[from] DatumError),
    /// A masking function refused the leaf.
    #[error("at `{path}`: {why}")]
    Refused {
        /// Field path.
        path: String,
        /// The function's reason; by contract it does not quote the value.
        why: Cow<'static, str>,
    },
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
