//! Masks records: a raw record in, a masked record out. Pure.
//!
//! ```text
//!  value: [0][id][datum] ─► program of (topic, id) ─► [0][masked id][masked datum]
//!  key:   text of the record key's field, compared with it ─► the same operation as that field ─► masked key;
//!         or [0][id][datum], as the value: a schema of its own has programs of its own;
//!         or bytes of their own, by decision; or no key
//!  headers: those that the contract allows, each by its operation, and the source of the record
//!  time:  that of the record, or that of masking if the event time is masked
//! ```
//!
//! The masker is closed by default. A schema that the contract does not cover is not learned, and its
//! partition is held. An operation that refuses a leaf makes a dead letter in the *restricted* topic. No
//! message quotes a value.

use std::io::Write as _;

use sluice_contract::{
    Contract, ContractPolicy, ContractSet, KeyMask, KeyRing, MaskingError, RecordKey, RecordTime, TextMask,
    key_subject, value_subject,
};
use sluice_core::{
    Fault, LearnError, Outcome, OutcomeReason, Outputs, Processor, ReasonClass, RecordPart, RecordRef, Route,
    SchemaId, SchemaLookup,
};
use sluice_wire::{
    DatumPatch, DatumSchema, LeafProjection, LeafValue, PatchError, PatchRunError, ProgramCache, framing,
};

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
    headers: Vec<(String, TextMask)>,
    time: RecordTime,
    route: Route,
}

/// The way in which keys are masked.
enum MaskerKey {
    /// The key is the text of a leaf of the value.
    Text(KeyMask),
    /// The key is a datum with a schema of its own.
    Datum(DatumMasker),
    /// The key is no leaf's text.
    Bare(TextMask),
    /// Masked records have no key.
    Nothing,
}

/// The masked side of values, or of keys with a schema: its policy, and the learned programs. A schema that
/// was learned for values is not known for keys, even under the same id, because the policies differ.
struct DatumMasker {
    policy: ContractPolicy,
    subject: String,
    programs: ProgramCache<MaskerProgram>,
    /// Path of the leaf that a record's key is compared with.
    key_leaf: Option<String>,
}

/// The program of one raw schema, and the registry's id of the masked schema.
struct MaskerProgram {
    patch: DatumPatch,
    masked_id: SchemaId,
    key_leaf: KeyLeafReader,
}

/// The way to the leaf that a record's key is compared with.
enum KeyLeafReader {
    /// No key is compared with a leaf.
    Nothing,
    /// The patch replaces the leaf, and reads it on its way.
    Slot(u32),
    /// The leaf is kept, so that the patch copies it unread.
    Projection(Box<LeafProjection>),
    /// The writer's schema has no such leaf.
    Missing,
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
        let part = |policy, subject, key_leaf| DatumMasker {
            policy,
            subject,
            programs: ProgramCache::new(PROGRAMS),
            key_leaf,
        };

        // A contract has a policy for keys only if it has a schema for them.
        let key = match (contract.key_policy(keys)?, &contract.record_key) {
            (Some(policy), _) => MaskerKey::Datum(part(policy, key_subject(&contract.masked_topic), None)),
            (None, RecordKey::Bare(_)) => {
                contract.bare_key_mask(keys)?.map_or(MaskerKey::Nothing, MaskerKey::Bare)
            }
            (None, _) => MaskerKey::Text(contract.key_mask(keys)?),
        };
        let key_leaf = contract.record_key.leaf().map(str::to_owned);
        Ok(Self {
            raw: contract.raw_topic.clone(),
            value: part(contract.policy(keys)?, value_subject(&contract.masked_topic), key_leaf),
            key,
            headers: contract.header_masks(keys)?,
            time: contract.record_time,
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
        let now_ms = out.now_ms();
        let mut draft = out.draft(self.route);

        // A key with a schema of its own depends on nothing else.
        let missing =
            || OutcomeReason::new(ReasonClass::Null, "a key, because masked records are ordered by it");
        if let MaskerKey::Datum(part) = &mut self.key {
            let key = record.key.ok_or_else(missing)?;
            draft.key_with(|out| part.mask(key, out).map(drop)).map_err(MaskerStop::in_key)?;
        }

        // The value, and the leaf that the key is compared with. A tombstone stays a tombstone: it deletes the
        // masked key.
        let mut key_leaf = None;
        if let Some(value) = record.value {
            draft.value_with(|out| {
                key_leaf = self.value.mask(value, out)?;
                Ok::<(), MaskerStop>(())
            })?;
        }

        // Any other key.
        match (record.key, &self.key) {
            (_, MaskerKey::Datum(_)) => {}
            (None, MaskerKey::Text(_)) => return Err(missing().into()),
            (Some(key), MaskerKey::Text(mask)) => {
                match key_leaf {
                    Some(leaf) => mask.check(key, leaf)?,
                    None => mask.check_alone(key)?,
                }
                draft.key_with(|out| mask.apply(key, out))?;
            }
            (Some(key), MaskerKey::Bare(mask)) => {
                draft.key_with(|out| mask.apply(key, out).map(drop)).map_err(|why| {
                    OutcomeReason::new(ReasonClass::Masking, why).at("(key)".to_owned(), None)
                })?;
            }
            // A tombstone deletes by its key.
            (None, MaskerKey::Bare(_)) if record.value.is_none() => return Err(missing().into()),
            (None, MaskerKey::Bare(_)) => {}
            (_, MaskerKey::Nothing) if record.value.is_none() => {
                let expected = "a value, because masked records of this contract have no key";
                return Err(OutcomeReason::new(ReasonClass::Null, expected).into());
            }
            (_, MaskerKey::Nothing) => {}
        }

        // The headers: the source, and those that the contract allows.
        scratch.clear();
        // Writing into a vector cannot fail.
        let _ = write!(scratch, "{}/{}/{}", record.topic, record.partition, record.offset);
        draft.header(SOURCE_HEADER, Some(scratch));
        for header in record.headers {
            let Some((_, mask)) = self.headers.iter().find(|(name, _)| name == header.name) else { continue };
            let Some(text) = header.value else {
                draft.header(header.name, None);
                continue;
            };
            scratch.clear();
            let has_text = mask.apply(text, scratch).map_err(|why| {
                OutcomeReason::new(ReasonClass::Masking, why).at(format!("(header).{}", header.name), None)
            })?;
            draft.header(header.name, has_text.then_some(scratch.as_slice()));
        }

        // The time, by which masked records are kept.
        draft.timestamp_ms(self.time.stamp(record.timestamp_ms, now_ms));
        draft.emit();
        Ok(())
    }
}

impl DatumMasker {
    /// Appends the masked form of a framed datum, with the masked schema's id, and returns the leaf that the
    /// key is compared with. Fails if the schema is not learned yet, or if the record must become a dead
    /// letter.
    fn mask<'d>(
        &'d mut self,
        framed: &'d [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<LeafValue<'d>>, MaskerStop> {
        let (id, datum) = framing::split(framed)
            .map_err(|error| OutcomeReason::new(ReasonClass::Framing, error.to_string()))?;

        // The part is corrected by `in_key` if this datum is a key.
        let program = self.programs.get(id).ok_or(MaskerStop::Needs(RecordPart::Value, id))?;
        framing::write_prefix(program.masked_id, out);
        match &program.key_leaf {
            KeyLeafReader::Nothing => {
                program.patch.run(datum, out).map_err(reason)?;
                Ok(None)
            }
            // A union's other branch has no such leaf, and a null has no text.
            KeyLeafReader::Slot(slot) => {
                let leaf = program.patch.run_and_read(datum, out, *slot).map_err(reason)?;
                Ok(Some(leaf.unwrap_or(LeafValue::Null)))
            }
            KeyLeafReader::Projection(projection) => {
                program.patch.run(datum, out).map_err(reason)?;
                let mut found = LeafValue::Null;
                projection.run(datum, |_, leaf| found = leaf).map_err(OutcomeReason::from)?;
                Ok(Some(found))
            }
            KeyLeafReader::Missing => Ok(Some(LeafValue::Null)),
        }
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
        let key_leaf = self.key_leaf_reader(writer, &patch);
        self.programs.insert(id, MaskerProgram { patch, masked_id, key_leaf });
        Ok(())
    }

    /// Returns the way to the leaf that keys are compared with. A writer's schema without it makes every key a
    /// dead letter: nothing could be compared.
    fn key_leaf_reader(&self, writer: &DatumSchema, patch: &DatumPatch) -> KeyLeafReader {
        let Some(path) = &self.key_leaf else { return KeyLeafReader::Nothing };
        if let Some(slot) = patch.slot(path) {
            return KeyLeafReader::Slot(slot);
        }
        match LeafProjection::compile(writer, &[path]) {
            Ok(projection) => KeyLeafReader::Projection(Box::new(projection)),
            Err(_) => KeyLeafReader::Missing,
        }
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
            (RecordPart::Key, _) | (RecordPart::Value, _) => topic.value.learn(id, &writer, registry),
        }
    }

    fn routes(&self) -> &[String] {
        &self.routes
    }
}

#[cfg(test)]
mod tests;
