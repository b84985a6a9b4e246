//! Patch: copy runs of untouched bytes; drop, null or replace what the policy names.

use std::borrow::Cow;
use std::sync::Arc;

use crate::program::compile;
use crate::program::diagnose::diagnose;
use crate::program::op::WalkProgram;
use crate::schema::print::print;
use crate::{DatumSchema, LeafInfo, LeafType, LeafValue, LeafWriter, PatchError, PatchRunError};

mod decide;
pub(crate) mod derive;
mod explain;
mod run;

/// What a policy says for one leaf, or for a whole subtree where it is [`LeafAction::Drop`] or [`LeafAction::Null`].
#[derive(Clone)]
pub enum LeafAction {
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
    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>>;

    /// Name for `explain`.
    fn name(&self) -> &str;
}

/// What becomes of each leaf of a schema.
pub trait LeafPolicy {
    /// The action for a leaf; `None` means not covered, which is a compile error.
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction>;

    /// The action for a whole record, array or map at `path` ([`LeafAction::Drop`], [`LeafAction::Null`] or
    /// [`LeafAction::Keep`]); `None`, the default, goes on to its leaves.
    fn subtree(&self, path: &str) -> Option<LeafAction> {
        let _ = path;
        None
    }
}

/// A compiled policy: datum of the writer's schema in, datum of the derived schema out.
pub struct DatumPatch {
    schema: DatumSchema,
    derived: DatumSchema,
    program: WalkProgram,
    decided: decide::PatchDecision,
}

impl DatumPatch {
    /// Compiles a policy against a schema.
    ///
    /// A part whose every leaf is dropped is dropped itself. In a recursive record the policy of a leaf holds
    /// at every level. Where one named type is used under different policies, the first form keeps its name and
    /// each other form gets the name with its path appended.
    ///
    /// # Errors
    /// [`PatchError::Uncovered`] with every leaf that has no policy, [`PatchError::Unsupported`] where an
    /// action does not fit.
    pub fn compile(schema: &DatumSchema, policy: &dyn LeafPolicy) -> Result<Self, PatchError> {
        let decided = decide::decide(schema, policy)?;
        let derived = derive::derive(schema, &decided.plan, &decided.slots);
        let derived = DatumSchema::parse(&print(&derived)).map_err(|error| PatchError::Unsupported {
            path: String::new(),
            why: format!("the policy leads to a schema that is none: {error}"),
        })?;
        let program = compile::plan(schema, &decided.plan)?;
        Ok(Self { schema: schema.clone(), derived, program, decided })
    }

    /// Schema of what comes out: dropped fields gone, nulled ones `["null", T]` with default null.
    pub fn derived(&self) -> &DatumSchema {
        &self.derived
    }

    /// Appends the patched datum to `out`; on error `out` is as it was.
    ///
    /// # Errors
    /// [`PatchRunError`]: not a datum, or a leaf that its function refused.
    #[inline]
    pub fn run(&self, datum: &[u8], out: &mut Vec<u8>) -> Result<(), PatchRunError> {
        let start = out.len();
        let mut patching = run::PatchTask { slots: &self.decided.slots, out, done: 0, refused: None };
        if self.program.run(datum, &mut patching).is_some() {
            crate::program::walk::WalkTask::flush(&mut patching, datum, datum.len());
            return Ok(());
        }
        let refused = patching.refused.take();
        out.truncate(start);
        Err(self.failure(datum, refused))
    }

    #[cold]
    fn failure(&self, datum: &[u8], refused: Option<(u32, Cow<'static, str>)>) -> PatchRunError {
        match refused {
            Some((slot, why)) => {
                let path = self.decided.slots.get(slot as usize).map(|slot| slot.path.clone());
                PatchRunError::Refused { path: path.unwrap_or_default(), why }
            }
            None => PatchRunError::Datum(diagnose(&self.schema, datum)),
        }
    }

    /// One line per leaf and what becomes of it, then the program; for people.
    pub fn explain(&self) -> String {
        explain::explain(&self.decided, &self.program)
    }
}
