//! Masks records: a raw record in, a masked record out. Pure.
//!
//! ```text
//!  value: [0][id][datum] ─► program of (topic, id) ─► [0][masked id][masked datum]
//!  key:   text of the record key's field ─► the same operation as that field ─► masked key;
//!         or [0][id][datum], as the value: a schema of its own has programs of its own
//!  headers: those that the contract allows, and the source of the record
//! ```
//!
//! The masker is closed by default. A schema that the contract does not cover is not learned, and its
//! partition is held. An operation that refuses a leaf makes a dead letter in the *restricted* topic. No
//! message quotes a value.

use std::io::Write as _;

use sluice_contract::{
    Contract, ContractPolicy, ContractSet, KeyMask, KeyRing, MaskingError, key_subject, value_subject,
};
use sluice_core::{
    Fault, LearnError, Outcome, OutcomeReason, Outputs, Processor, ReasonClass, RecordPart, RecordRef, Route,
    SchemaId, SchemaLookup,
};
use sluice_wire::{DatumPatch, DatumSchema, PatchError, PatchRunError, ProgramCache, framing};

pub(crate) use sluice_core::names::SOURCE_HEADER;
/// Most programs kept for a topic, one for each schema version in use at one time.
const PROGRAMS: usize = 64;

/// Masks the records of all contracts.
pub struct MaskerProcessor {
    topics: Vec<MaskerTopic>,
    /// The masked topics. A route is an index in this list.
    routes: Vec<String>,
    /// A buffer for the source header, which every record reuses.
    scratch: Vec<u8>,
}

/// The programs of one contract's topic.
struct MaskerTopic {
    raw: String,
    value: DatumMasker,
    key: MaskerKey,
    headers: Vec<String>,
    route: Route,
}

/// The way in which keys are masked.
enum MaskerKey {
    /// The key is the text of a leaf of the value.
    Text(KeyMask),
    /// The key is a datum with a schema of its own.
    Datum(DatumMasker),
}

/// The masked side of values, or of keys with a schema: its policy, and the learned programs. A schema that
/// was learned for values is not known for keys, even under the same id, because the policies differ.
struct DatumMasker {
    policy: ContractPolicy,
    subject: String,
    programs: ProgramCache<MaskerProgram>,
}

/// The program of one raw schema, and the registry's id of the masked schema.
struct MaskerProgram {
    patch: DatumPatch,
    masked_id: SchemaId,
}

impl MaskerProcessor {
    /// Prepares a masker for every contract but the drafts.
    ///
    /// # Errors
    /// [`MaskingError`] if a policy names a key that the ring does not hold.
    pub fn new(contracts: &ContractSet, keys: &KeyRing) -> Result<Self, MaskingError> {
        let mut masker = Self { topics: vec![], routes: vec![], scratch: vec![] };
        for (index, contract) in contracts.served().enumerate() {
            // Each contract has a masked topic of its own: its index is the route.
            debug_assert!(u16::try_from(index).is_ok(), "a route is a u16");
            let route = Route(u16::try_from(index).unwrap_or(u16::MAX));
            masker.routes.push(contract.masked_topic.clone());
            masker.topics.push(MaskerTopic::new(contract, keys, route)?);
        }
        Ok(masker)
    }

    /// Returns the raw topics of all contracts.
    pub fn topics(&self) -> Vec<String> {
        self.topics.iter().map(|topic| topic.raw.clone()).collect()
    }
}

impl MaskerTopic {
    /// Prepares the masker of one contract, without a program yet. Fails if the ring lacks a key of the
    /// policy.
    fn new(contract: &Contract, keys: &KeyRing, route: Route) -> Result<Self, MaskingError> {
        let part = |policy, subject| DatumMasker { policy, subject, programs: ProgramCache::new(PROGRAMS) };

        // A contract has a policy for keys only if it has a schema for them.
        let key = match contract.key_policy(keys)? {
            Some(policy) => MaskerKey::Datum(part(policy, key_subject(&contract.masked_topic))),
            None => MaskerKey::Text(contract.key_mask(keys)?),
        };
        Ok(Self {
            raw: contract.raw_topic.clone(),
            value: part(contract.policy(keys)?, value_subject(&contract.masked_topic)),
            key,
            headers: contract.headers.clone(),
            route,
        })
    }

    /// Appends the masked record. An error leaves no output behind: the draft is dropped before it is
    /// emitted.
    fn mask(
        &mut self,
        record: &RecordRef<'_>,
        out: &mut Outputs,
        scratch: &mut Vec<u8>,
    ) -> Result<(), MaskerStop> {
        // The key. A tombstone has one as well, and it is masked in the same way.
        let mut draft = out.draft(self.route);
        match (record.key, &mut self.key) {
            (None, _) => {
                let expected = "a key, because masked records are ordered by it";
                return Err(OutcomeReason::new(ReasonClass::Null, expected).into());
            }
            (Some(key), MaskerKey::Text(mask)) => draft.key_with(|out| mask.apply(key, out))?,
            (Some(key), MaskerKey::Datum(part)) => {
                draft.key_with(|out| part.mask(key, out)).map_err(MaskerStop::in_key)?;
            }
        }

        // The value. A tombstone stays a tombstone: it deletes the masked key.
        if let Some(value) = record.value {
            draft.value_with(|out| self.value.mask(value, out))?;
        }

        // The headers: the source, and those that the contract allows.
        scratch.clear();
        // Writing into a vector cannot fail.
        let _ = write!(scratch, "{}/{}/{}", record.topic, record.partition, record.offset);
        draft.header(SOURCE_HEADER, Some(scratch));
        for header in
            record.headers.iter().filter(|header| self.headers.iter().any(|allowed| allowed == header.name))
        {
            draft.header(header.name, header.value);
        }

        // The record's own time, so that retention counts from it in the masked topic too.
        draft.timestamp_ms(record.timestamp_ms);
        draft.emit();
        Ok(())
    }
}

impl DatumMasker {
    /// Appends the masked form of a framed datum, with the masked schema's id. Fails if the schema is not
    /// learned yet, or if the record must become a dead letter.
    fn mask(&mut self, framed: &[u8], out: &mut Vec<u8>) -> Result<(), MaskerStop> {
        let (id, datum) = framing::split(framed)
            .map_err(|error| OutcomeReason::new(ReasonClass::Framing, error.to_string()))?;

        // The part is corrected by `in_key` if this datum is a key.
        let program = self.programs.get(id).ok_or(MaskerStop::Needs(RecordPart::Value, id))?;
        framing::write_prefix(program.masked_id, out);
        Ok(program.patch.run(datum, out).map_err(reason)?)
    }

    /// Compiles the program of a raw schema, and looks up the id of the schema that follows from it.
    ///
    /// Fails if the contract does not cover the schema, or if the masked schema is not registered.
    fn learn(
        &mut self,
        id: SchemaId,
        writer: &DatumSchema,
        registry: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        let uncovered = |why: String| LearnError::Uncovered(OutcomeReason::new(ReasonClass::Contract, why));

        // The closed default: a leaf without a policy makes the whole schema uncovered. No leaf is guessed
        // about.
        let patch = DatumPatch::compile(writer, &self.policy).map_err(|error| match error {
            PatchError::Uncovered(paths) => {
                let paths = paths.join(", ");
                uncovered(format!("a policy for every leaf of schema {id}, found none for: {paths}"))
            }
            other => uncovered(format!("a policy that fits schema {id}: {other}")),
        })?;

        // The masker registers nothing: `sluice apply` has registered the derived schema, or will. Until then
        // the partition waits.
        let Some(masked_id) = registry.id_of(&self.subject, patch.derived().json())? else {
            let why = format!(
                "the schema derived from schema {id} is not registered under {}: run `sluice apply`",
                self.subject
            );
            return Err(LearnError::Fault(Fault::outage("looking up the masked schema", why)));
        };
        self.programs.insert(id, MaskerProgram { patch, masked_id });
        Ok(())
    }
}

/// The reason why a record has no output now.
enum MaskerStop {
    /// A schema has to be learned first.
    Needs(RecordPart, SchemaId),
    /// The record is a dead letter.
    Refused(OutcomeReason),
}

impl From<OutcomeReason> for MaskerStop {
    fn from(reason: OutcomeReason) -> Self {
        Self::Refused(reason)
    }
}

impl MaskerStop {
    /// Returns the same reason with a path in the key, for example `(key).id`.
    fn in_key(self) -> Self {
        match self {
            // The datum's masker does not know which part of the record it masks.
            Self::Needs(_, id) => Self::Needs(RecordPart::Key, id),
            Self::Refused(reason) => {
                // The reason can have no path, for example if the framing is wrong.
                let dot = if reason.path.is_empty() { "" } else { "." };
                let path = format!("(key){dot}{}", reason.path);
                Self::Refused(OutcomeReason { path, ..reason })
            }
        }
    }
}

/// Returns the reason of a dead letter. It has the leaf's path, never the leaf's value.
fn reason(error: PatchRunError) -> OutcomeReason {
    match error {
        PatchRunError::Datum(error) => error.into(),
        PatchRunError::Refused { path, why } => OutcomeReason::new(ReasonClass::Masking, why).at(path, None),
    }
}

impl Processor for MaskerProcessor {
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome {
        // A topic can lose its contract while the worker runs. Its records are then held, not lost.
        let Some(topic) = self.topics.iter_mut().find(|topic| topic.raw == record.topic) else {
            return Outcome::Uncovered(OutcomeReason::new(
                ReasonClass::Contract,
                "a contract for this topic",
            ));
        };
        match topic.mask(record, out, &mut self.scratch) {
            Ok(()) => Outcome::Emitted,
            Err(MaskerStop::Needs(part, id)) => Outcome::NeedsSchema(part, id),
            Err(MaskerStop::Refused(reason)) => Outcome::DeadLetter(reason),
        }
    }

    fn learn(
        &mut self,
        topic: &str,
        part: RecordPart,
        id: SchemaId,
        schema: &str,
        registry: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        // The topic and its schema. A mistake here holds the partition: its records are not lost.
        let uncovered = |why: String| LearnError::Uncovered(OutcomeReason::new(ReasonClass::Contract, why));
        let topic = self
            .topics
            .iter_mut()
            .find(|known| known.raw == topic)
            .ok_or_else(|| uncovered("a contract for this topic".into()))?;
        let writer = DatumSchema::parse(schema)
            .map_err(|error| uncovered(format!("a readable schema {id}: {error}")))?;

        // One id can be in use for keys and values. Each part has programs of its own.
        match (part, &mut topic.key) {
            (RecordPart::Key, MaskerKey::Datum(key)) => key.learn(id, &writer, registry),
            (RecordPart::Key, MaskerKey::Text(_)) | (RecordPart::Value, _) => {
                topic.value.learn(id, &writer, registry)
            }
        }
    }

    fn routes(&self) -> &[String] {
        &self.routes
    }
}

#[cfg(test)]
mod tests;
