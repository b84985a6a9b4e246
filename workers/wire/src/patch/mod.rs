//! Patch: copy runs of untouched bytes; drop, null or replace what the policy names.

use std::borrow::Cow;
use std::sync::Arc;

use crate::{Leaf, LeafInfo, LeafType, LeafWriter, PatchError, PatchRunError, Schema};

/// What a policy says for one leaf, or for a whole subtree where it is [`Action::Drop`] or [`Action::Null`].
#[derive(Clone)]
pub enum Action {
    /// As it is.
    Keep,
    /// Gone, from the schema too.
    Drop,
    /// Null, under `["null", T]`.
    Null,
    /// Replaced by what the function makes of it.
    Replace(Arc<dyn LeafFn>),
}

/// A function of one leaf: pure, the same output for the same input.
pub trait LeafFn: Send + Sync {
    /// Type that comes out for a leaf of this type, as Avro schema JSON (`{"type":"string"}` or `"string"`).
    ///
    /// # Errors
    /// Why the function cannot be applied to this type; found when the policy is compiled.
    fn output(&self, input: &LeafType) -> Result<serde_json::Value, String>;

    /// Appends the Avro-encoded output leaf. Never called for an absent optional: null stays null.
    ///
    /// # Errors
    /// Why the leaf is refused, without quoting it; the record becomes a dead letter of class masking.
    fn apply(&self, leaf: Leaf<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>>;

    /// Name for `explain`.
    fn name(&self) -> &str;
}

/// What becomes of each leaf of a schema.
pub trait Policy {
    /// The action for a leaf; `None` means not covered, which is a compile error.
    fn action(&self, leaf: &LeafInfo) -> Option<Action>;

    /// The action for a whole record, array or map at `path` ([`Action::Drop`], [`Action::Null`] or
    /// [`Action::Keep`]); `None`, the default, goes on to its leaves.
    fn subtree(&self, path: &str) -> Option<Action> {
        let _ = path;
        None
    }
}

/// A compiled policy: datum of the writer's schema in, datum of the derived schema out.
pub struct Patch {
    derived: Schema,
}

impl Patch {
    /// Compiles a policy against a schema.
    ///
    /// # Errors
    /// [`PatchError::Uncovered`] with every leaf that has no policy, [`PatchError::Unsupported`] where an
    /// action does not fit.
    pub fn compile(_schema: &Schema, _policy: &dyn Policy) -> Result<Self, PatchError> {
        Err(PatchError::Schema(crate::SchemaError::TooLarge))
    }

    /// Schema of what comes out: dropped fields gone, nulled ones `["null", T]` with default null.
    pub fn derived(&self) -> &Schema {
        &self.derived
    }

    /// Appends the patched datum to `out`; on error `out` is as it was.
    ///
    /// # Errors
    /// [`PatchRunError`]: not a datum, or a leaf that its function refused.
    pub fn run(&self, _datum: &[u8], _out: &mut Vec<u8>) -> Result<(), PatchRunError> {
        Ok(())
    }

    /// One line per leaf and what becomes of it, for people.
    pub fn explain(&self) -> String {
        String::new()
    }
}
