//! The trait that masker and normaliser implement: the same record always has the same outcome.

use crate::{Fault, Outcome, OutcomeReason, Outputs, RecordPart, RecordRef, SchemaId};

/// A transform of records: no I/O, no clock, no randomness. Its only knowledge of the outside comes through
/// [`Processor::learn`].
pub trait Processor: Send {
    /// Handles one record and appends its outputs to `out`.
    ///
    /// On any outcome but [`Outcome::Emitted`] the caller takes back the outputs of this call.
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome;

    /// Learns the writer schema with `id`, which was seen on `topic`. `schema` is its JSON text. `registry`
    /// finds the ids of derived schemas: it is the only access to the outside, and is given only here, once
    /// per schema.
    ///
    /// # Errors
    /// [`LearnError::Uncovered`] if the contract does not cover the schema, a fault if the registry cannot be
    /// asked.
    fn learn(
        &mut self,
        topic: &str,
        part: RecordPart,
        id: SchemaId,
        schema: &str,
        registry: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError>;

    /// Returns the output topics; a [`crate::Route`] is an index into them. The list may grow, but never
    /// shrinks and never changes its order.
    fn routes(&self) -> &[String];
}

impl<P: Processor + ?Sized> Processor for Box<P> {
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome {
        (**self).process(record, out)
    }

    fn learn(
        &mut self,
        topic: &str,
        part: RecordPart,
        id: SchemaId,
        schema: &str,
        registry: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        (**self).learn(topic, part, id, schema, registry)
    }

    fn routes(&self) -> &[String] {
        (**self).routes()
    }
}

/// The questions that a processor may ask the registry while it learns a schema.
pub trait SchemaLookup {
    // Exactly this schema: a compatible one would frame records with an id that describes other bytes.
    /// Returns the id under which exactly this schema is registered for `subject`; `None` if it is not
    /// registered.
    ///
    /// # Errors
    /// A [`Fault`] if the registry cannot be asked. A missing schema is not an error.
    fn id_of(&mut self, subject: &str, schema: &str) -> Result<Option<SchemaId>, Fault>;
}

/// The reason why a schema could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The contract does not cover the schema: its records must not pass.
    #[error("the contract does not cover this schema: {0}")]
    Uncovered(OutcomeReason),
    /// The registry or another neighbour could not be asked: try again.
    #[error(transparent)]
    Fault(#[from] Fault),
}
