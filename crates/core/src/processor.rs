//! The one trait that masker and normaliser implement: same record in, same outcome out.

use crate::{Fault, Outcome, OutcomeReason, Outputs, RecordRef, SchemaId};

/// A transform of records: no I/O, no clock, no randomness. Everything it may know of the world it has learned
/// through [`Processor::learn`].
pub trait Processor: Send {
    /// Handles one record, appending what comes of it to `out`.
    ///
    /// On any outcome but [`Outcome::Emitted`] the caller takes back what this call appended.
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome;

    /// Teaches it the writer schema with `id` as seen on `topic`. `registry` answers for derived schemas; it is the
    /// only door to the outside and only open here, once per schema.
    fn learn(
        &mut self,
        topic: &str,
        id: SchemaId,
        schema: &str,
        registry: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError>;

    /// Output topics; a [`crate::Route`] is an index into them. May grow, never shrinks or reorders.
    fn routes(&self) -> &[String];
}

/// What a processor may ask of the registry while learning.
pub trait SchemaLookup {
    /// The id under which exactly this schema is registered for `subject`; `None` if it is not.
    ///
    /// # Errors
    /// A [`Fault`] if the registry cannot be asked: an outage, not an answer.
    fn id_of(&mut self, subject: &str, schema: &str) -> Result<Option<SchemaId>, Fault>;
}

/// Why a schema could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The contract does not cover it: its records must not pass.
    #[error("the contract does not cover this schema: {0}")]
    Uncovered(OutcomeReason),
    /// The outside could not be asked; try again.
    #[error(transparent)]
    Fault(#[from] Fault),
}
