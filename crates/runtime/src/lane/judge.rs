//! One record from its bytes to a verdict: process, learn the schema that it needs, process again. Lanes and replays
//! share this loop.

use sluice_core::{
    Domain, Fault, LearnError, Outcome, OutcomeReason, ReasonClass, RecordPart, RecordRef, SchemaId,
    SchemaLookup,
};

use crate::registry::BlockingRegistry;

/// Gives the texts of schemas, and answers for derived ones.
pub(crate) trait SchemaSource: SchemaLookup {
    /// Returns the schema with `id` as JSON text; `None` if the registry has no such id.
    ///
    /// # Errors
    /// A [`Fault`] if the registry cannot be asked.
    fn schema(&mut self, id: SchemaId) -> Result<Option<String>, Fault>;

    /// Returns itself as the door that a judge may ask while it learns.
    fn as_lookup(&mut self) -> &mut dyn SchemaLookup;
}

impl SchemaSource for BlockingRegistry {
    fn schema(&mut self, id: SchemaId) -> Result<Option<String>, Fault> {
        BlockingRegistry::schema(self, id)
    }

    fn as_lookup(&mut self) -> &mut dyn SchemaLookup {
        self
    }
}

/// Handles records and learns the schemas that it needs for them.
pub(crate) trait RecordJudge {
    /// Handles one record. An outcome other than [`Outcome::Emitted`] leaves nothing behind.
    fn process(&mut self, record: &RecordRef<'_>) -> Outcome;

    /// Learns the writer schema with `id`, as a part of records of `topic` has it.
    ///
    /// # Errors
    /// [`LearnError::Uncovered`] if records of this schema must not pass, a fault if a neighbour cannot be asked.
    fn learn(
        &mut self,
        topic: &str,
        part: RecordPart,
        id: SchemaId,
        schema: &str,
        lookup: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError>;
}

/// How one record ended, or why it cannot end now.
#[derive(Debug)]
pub(crate) enum RecordVerdict {
    /// Its outputs are made, or the store has taken it.
    Written,
    /// By rule, nothing comes of it.
    Skipped(OutcomeReason),
    /// It goes to the dead-letter topic.
    DeadLetter(OutcomeReason),
    /// The contract does not cover its schema: it waits, and so does everything behind it.
    Uncovered(OutcomeReason),
    /// A neighbour cannot be asked about its schema.
    Unavailable(Fault),
}

/// Judges one record, and teaches the judge each schema that it asks for.
///
/// # Errors
/// An internal [`Fault`] if a schema is asked for again right after it was learned.
pub(crate) fn judge_record<J: RecordJudge>(
    judge: &mut J,
    source: &mut dyn SchemaSource,
    record: &RecordRef<'_>,
) -> Result<RecordVerdict, Fault> {
    // A record asks at most once for the schema of its key and once for the schema of its value.
    let mut learned: [Option<SchemaId>; 2] = [None; 2];

    loop {
        let (part, id) = match judge.process(record) {
            Outcome::Emitted => return Ok(RecordVerdict::Written),
            Outcome::Skipped(reason) => return Ok(RecordVerdict::Skipped(reason)),
            Outcome::DeadLetter(reason) => return Ok(RecordVerdict::DeadLetter(reason)),
            Outcome::Uncovered(reason) => return Ok(RecordVerdict::Uncovered(reason)),
            Outcome::NeedsSchema(part, id) => (part, id),
        };

        // Asked again for the same part: the judge did not keep what it was taught.
        let slot = match part {
            RecordPart::Key => &mut learned[0],
            RecordPart::Value => &mut learned[1],
        };
        if slot.replace(id).is_some() {
            let why =
                format!("schema {id} of the record's {} was learned and is needed again", part.as_str());
            return Err(Fault::bug("learning a schema", why));
        }

        // An id that the registry does not have is the record's fault; a registry that is away is not.
        let schema = match source.schema(id) {
            Err(fault) => return Ok(RecordVerdict::Unavailable(fault)),
            Ok(Some(schema)) => schema,
            Ok(None) => {
                let expected = format!("a registered schema; the registry has no id {id}");
                let reason = OutcomeReason::new(ReasonClass::UnknownSchema, expected);
                return Ok(RecordVerdict::DeadLetter(reason));
            }
        };

        let span = tracing::debug_span!("schema_learned", topic = record.topic, %id, part = part.as_str());
        let _entered = span.enter();
        match judge.learn(record.topic, part, id, &schema, source.as_lookup()) {
            Ok(()) => tracing::debug!("schema learned"),
            Err(LearnError::Uncovered(reason)) => return Ok(RecordVerdict::Uncovered(reason)),
            Err(LearnError::Fault(fault)) if fault.domain == Domain::Internal => return Err(fault),
            Err(LearnError::Fault(fault)) => return Ok(RecordVerdict::Unavailable(fault)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_core::Offset;

    /// A source that has the ids below `known`, or is away.
    struct FakeSource {
        known: u32,
        away: bool,
    }

    impl SchemaLookup for FakeSource {
        fn id_of(&mut self, _: &str, _: &str) -> Result<Option<SchemaId>, Fault> {
            Ok(None)
        }
    }

    impl SchemaSource for FakeSource {
        fn schema(&mut self, id: SchemaId) -> Result<Option<String>, Fault> {
            if self.away {
                return Err(Fault::outage("asking the registry", "no answer"));
            }
            Ok((id.0 < self.known).then(|| "\"int\"".to_owned()))
        }

        fn as_lookup(&mut self) -> &mut dyn SchemaLookup {
            self
        }
    }

    /// Needs the schemas that `needs` names, first to last, and forgets what it learned if `forgets`.
    #[derive(Default)]
    struct FakeJudge {
        needs: Vec<(RecordPart, SchemaId)>,
        forgets: bool,
        learned: usize,
    }

    impl RecordJudge for FakeJudge {
        fn process(&mut self, _: &RecordRef<'_>) -> Outcome {
            match self.needs.first() {
                Some((part, id)) => Outcome::NeedsSchema(*part, *id),
                None => Outcome::Emitted,
            }
        }

        fn learn(
            &mut self,
            _: &str,
            _: RecordPart,
            _: SchemaId,
            _: &str,
            _: &mut dyn SchemaLookup,
        ) -> Result<(), LearnError> {
            self.learned += 1;
            if !self.forgets {
                self.needs.remove(0);
            }
            Ok(())
        }
    }

    fn judge(judge: &mut FakeJudge, known: u32, away: bool) -> Result<RecordVerdict, Fault> {
        let record = RecordRef {
            topic: "t",
            partition: 0,
            offset: Offset::new(1).unwrap(),
            timestamp_ms: None,
            key: None,
            value: None,
            headers: &[],
        };
        judge_record(judge, &mut FakeSource { known, away }, &record)
    }

    fn needs(parts: &[(RecordPart, u32)]) -> FakeJudge {
        let needs = parts.iter().map(|(part, id)| (*part, SchemaId(*id))).collect();
        FakeJudge { needs, ..FakeJudge::default() }
    }

    #[test]
    fn key_and_value_are_learned_once_each_even_under_one_id() {
        let mut both = needs(&[(RecordPart::Key, 1), (RecordPart::Value, 1)]);
        assert!(matches!(judge(&mut both, 2, false), Ok(RecordVerdict::Written)));
        assert_eq!(both.learned, 2);
    }

    #[test]
    fn a_schema_that_is_needed_again_is_a_bug_and_no_endless_loop() {
        let mut forgetful = FakeJudge { forgets: true, ..needs(&[(RecordPart::Value, 1)]) };
        assert_eq!(judge(&mut forgetful, 2, false).unwrap_err().domain, Domain::Internal);
    }

    #[test]
    fn an_unknown_id_is_a_dead_letter_and_a_registry_that_is_away_is_none() {
        let unknown = judge(&mut needs(&[(RecordPart::Value, 9)]), 2, false);
        assert!(
            matches!(unknown, Ok(RecordVerdict::DeadLetter(reason)) if reason.class == ReasonClass::UnknownSchema)
        );
        let away = judge(&mut needs(&[(RecordPart::Value, 1)]), 2, true);
        assert!(matches!(away, Ok(RecordVerdict::Unavailable(_))));
    }
}
