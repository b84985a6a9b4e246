//! Patch: copies runs of untouched bytes, and drops, nulls or replaces the leaves that the policy names.

use std::borrow::Cow;
use std::sync::Arc;

use crate::leaf::read_leaf;
use crate::program::compile;
use crate::program::diagnose::diagnose;
use crate::program::op::WalkProgram;
use crate::schema::print::print;
use crate::{DatumSchema, LeafInfo, LeafType, LeafValue, LeafWriter, PatchError, PatchRunError};

mod decide;
pub(crate) mod derive;
mod explain;
mod run;

/// The action for one leaf, or for a whole subtree if it is [`LeafAction::Keep`], [`LeafAction::Drop`] or
/// [`LeafAction::Null`].
#[derive(Clone)]
pub enum LeafAction {
    /// The leaf passes as it is.
    Keep,
    /// The leaf is left out, from the schema too.
    Drop,
    /// The leaf becomes null, under `["null", T]`.
    Null,
    /// The function's output replaces the leaf.
    Replace(Arc<dyn LeafFn>),
}

/// A pure function of one leaf: the same input always gives the same output.
pub trait LeafFn: Send + Sync {
    /// Returns the output type for a leaf of this type, as Avro schema JSON (for example `{"type":"string"}`
    /// or `"string"`).
    ///
    /// # Errors
    /// The reason why the function cannot be applied to this type. It is found when the policy is compiled.
    fn output(&self, input: &LeafType) -> Result<serde_json::Value, String>;

    /// Appends the Avro-encoded output leaf. The function is never called for an absent optional: null stays
    /// null.
    ///
    /// # Errors
    /// The reason why the leaf is refused, without a quotation of it. The record becomes a dead letter of
    /// class masking.
    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>>;

    /// Returns the function's name for `explain`.
    fn name(&self) -> &str;
}

/// The actions for the leaves of a schema.
pub trait LeafPolicy {
    /// Returns the action for a leaf. `None` means that the leaf is not covered, and the policy does not
    /// compile.
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction>;

    /// Returns the action for a whole record, array or map at `path` ([`LeafAction::Drop`],
    /// [`LeafAction::Null`] or [`LeafAction::Keep`]). `None`, the default, goes on to the leaves.
    fn subtree(&self, path: &str) -> Option<LeafAction> {
        let _ = path;
        None
    }
}

/// A compiled policy: a datum of the writer's schema in, a datum of the derived schema out.
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
    /// at every level. If one named type is used under different policies, its first form keeps the name.
    /// Each other form gets the name with its path appended.
    ///
    /// # Errors
    /// [`PatchError::Uncovered`] with every leaf that has no policy, [`PatchError::Unsupported`] if an action
    /// does not fit.
    pub fn compile(schema: &DatumSchema, policy: &dyn LeafPolicy) -> Result<Self, PatchError> {
        // The plan comes first: the derived schema and the program both follow from it.
        let decided = decide::decide(schema, policy)?;
        let derived = derive::derive(schema, &decided.plan, &decided.slots);
        // A function may return an output type that is not valid Avro, which shows only here.
        let derived = DatumSchema::parse(&print(&derived)).map_err(|error| PatchError::Unsupported {
            path: String::new(),
            why: format!("the policy leads to an invalid schema: {error}"),
        })?;

        let program = compile::plan(schema, &decided.plan)?;
        Ok(Self { schema: schema.clone(), derived, program, decided })
    }

    /// Returns the schema of the patched datums. Dropped fields are gone; nulled ones are `["null", T]` with
    /// default null.
    pub fn derived(&self) -> &DatumSchema {
        &self.derived
    }

    /// Appends the patched datum to `out`; on error `out` is as it was.
    ///
    /// # Errors
    /// [`PatchRunError`] if the bytes are not a datum, or if a function refused a leaf.
    #[inline]
    pub fn run(&self, datum: &[u8], out: &mut Vec<u8>) -> Result<(), PatchRunError> {
        self.run_task(datum, out, u32::MAX).map(drop)
    }

    /// Does the same as [`DatumPatch::run`], and returns the original of the leaf with this slot. `None` if the
    /// datum has no such leaf. See [`DatumPatch::slot`].
    ///
    /// # Errors
    /// As [`DatumPatch::run`].
    #[inline]
    pub fn run_and_read<'d>(
        &'d self,
        datum: &'d [u8],
        out: &mut Vec<u8>,
        slot: u32,
    ) -> Result<Option<LeafValue<'d>>, PatchRunError> {
        let at = self.run_task(datum, out, slot)?;
        let leaf = self.decided.slots.get(slot as usize).map(|slot| &slot.leaf);
        let read = at.zip(leaf).and_then(|(at, leaf)| read_leaf(leaf, datum, at));
        Ok(read.map(|(leaf, _)| leaf))
    }

    /// Returns the slot of the leaf at a path, by which [`DatumPatch::run_and_read`] reads it. `None` if no
    /// function replaces the leaf.
    pub fn slot(&self, path: &str) -> Option<u32> {
        self.decided.slot(path)
    }

    /// Patches a datum and returns the position of the leaf with this slot, if the walk met it.
    #[inline]
    fn run_task(&self, datum: &[u8], out: &mut Vec<u8>, wanted: u32) -> Result<Option<usize>, PatchRunError> {
        let start = out.len();
        let slots = &self.decided.slots;
        let mut patching = run::PatchTask { slots, out, done: 0, refused: None, wanted, found: None };
        // The task copies only up to the last action; the rest of the datum is flushed here.
        if self.program.run(datum, &mut patching).is_some() {
            crate::program::walk::WalkTask::flush(&mut patching, datum, datum.len());
            return Ok(patching.found);
        }

        // Take back the bytes of the record that failed.
        let refused = patching.refused.take();
        out.truncate(start);
        Err(self.failure(datum, refused))
    }

    /// Makes the error of a datum that was not patched: a refusal, or a datum that is broken.
    #[cold]
    fn failure(&self, datum: &[u8], refused: Option<(u32, Cow<'static, str>)>) -> PatchRunError {
        match refused {
            Some((slot, why)) => {
                let path = self.decided.slots.get(slot as usize).map(|slot| slot.path.clone());
                debug_assert!(path.is_some(), "every slot of the program has its leaf");
                PatchRunError::Refused { path: path.unwrap_or_default(), why }
            }
            None => PatchRunError::Datum(diagnose(&self.schema, datum)),
        }
    }

    /// Prints one line per leaf with its action, then the program, for a reader at the terminal.
    pub fn explain(&self) -> String {
        explain::explain(&self.decided, &self.program)
    }
}
