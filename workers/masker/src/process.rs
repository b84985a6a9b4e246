//! Raw record in, masked record out; pure.
//!
//! ```text
//!  value: [0][id][datum] ─► program of (topic, id) ─► [0][masked id][masked datum]
//!  key:   text of the record key's field ─► the same operation as that field ─► masked key;
//!         or [0][id][datum], as the value: a schema of its own has programs of its own
//!  headers: those the contract allows, and where the record came from
//! ```
//!
//! Closed by default: a schema that the contract does not cover is not learned, so its records stand still; an
//! operation that refuses a leaf makes a dead letter in the *restricted* topic; nothing here ever quotes a value.

use std::io::Write as _;

use sluice_contract::{
    Contract, ContractPolicy, ContractSet, KeyMask, KeyRing, MaskingError, key_subject, value_subject,
};
use sluice_core::{
    Fault, LearnError, Outcome, OutcomeReason, Outputs, Processor, ReasonClass, RecordRef, Route, SchemaId,
    SchemaLookup,
};
use sluice_wire::{DatumPatch, DatumSchema, PatchError, PatchRunError, ProgramCache, framing};

/// Header that says where a masked record came from: `topic/partition/offset`.
pub(crate) const SOURCE_HEADER: &str = "sluice.source";
/// Programs kept per topic: schema versions in use at one time.
const PROGRAMS: usize = 64;

/// Masks the records of all contracts.
pub struct MaskerProcessor {
    topics: Vec<MaskerTopic>,
    routes: Vec<String>,
    scratch: Vec<u8>,
}

struct MaskerTopic {
    raw: String,
    value: DatumMasker,
    key: MaskerKey,
    headers: Vec<String>,
    route: Route,
    /// The schema asked for last is one of a key.
    asks_for_key: bool,
}

/// How keys are masked.
enum MaskerKey {
    /// The text of a leaf of the value.
    Text(KeyMask),
    /// A datum with a schema of its own.
    Datum(DatumMasker),
}

/// Values, or keys with a schema: what covers them, and the programs that were learned. A schema learned for one is
/// not known for the other, whatever its id.
struct DatumMasker {
    policy: ContractPolicy,
    subject: String,
    programs: ProgramCache<MaskerProgram>,
}

struct MaskerProgram {
    patch: DatumPatch,
    masked_id: SchemaId,
}

impl MaskerProcessor {
    /// A masker for every contract.
    ///
    /// # Errors
    /// [`MaskingError`]: a policy names a key that the ring does not hold.
    pub fn new(contracts: &ContractSet, keys: &KeyRing) -> Result<Self, MaskingError> {
        let mut masker = Self { topics: vec![], routes: vec![], scratch: vec![] };
        for (index, contract) in contracts.iter().enumerate() {
            let route = Route(u16::try_from(index).unwrap_or(u16::MAX));
            masker.routes.push(contract.masked_topic.clone());
            masker.topics.push(MaskerTopic::new(contract, keys, route)?);
        }
        Ok(masker)
    }

    /// The topics it reads.
    pub fn topics(&self) -> Vec<String> {
        self.topics.iter().map(|topic| topic.raw.clone()).collect()
    }
}

impl MaskerTopic {
    fn new(contract: &Contract, keys: &KeyRing, route: Route) -> Result<Self, MaskingError> {
        let part = |policy, subject| DatumMasker { policy, subject, programs: ProgramCache::new(PROGRAMS) };
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
            asks_for_key: false,
        })
    }

    fn mask(
        &mut self,
        record: &RecordRef<'_>,
        out: &mut Outputs,
        scratch: &mut Vec<u8>,
    ) -> Result<(), MaskerStop> {
        let mut draft = out.draft(self.route);
        match (record.key, &mut self.key) {
            (None, _) => {
                return Err(
                    OutcomeReason::new(ReasonClass::Null, "a key: masked records are ordered by it").into()
                );
            }
            (Some(key), MaskerKey::Text(mask)) => draft.key_with(|out| mask.apply(key, out))?,
            (Some(key), MaskerKey::Datum(part)) => {
                self.asks_for_key = true;
                draft.key_with(|out| part.mask(key, out)).map_err(MaskerStop::in_key)?;
            }
        }
        // A tombstone deletes its key, masked or not: it goes on as one.
        if let Some(value) = record.value {
            self.asks_for_key = false;
            draft.value_with(|out| self.value.mask(value, out))?;
        }
        scratch.clear();
        // Writing into a vector cannot fail.
        let _ = write!(scratch, "{}/{}/{}", record.topic, record.partition, record.offset);
        draft.header(SOURCE_HEADER, Some(scratch));
        for header in
            record.headers.iter().filter(|header| self.headers.iter().any(|allowed| allowed == header.name))
        {
            draft.header(header.name, header.value);
        }
        draft.timestamp_ms(record.timestamp_ms);
        draft.emit();
        Ok(())
    }
}

impl DatumMasker {
    /// Appends the masked form of a framed datum.
    fn mask(&mut self, framed: &[u8], out: &mut Vec<u8>) -> Result<(), MaskerStop> {
        let (id, datum) = framing::split(framed)
            .map_err(|error| OutcomeReason::new(ReasonClass::Framing, error.to_string()))?;
        let program = self.programs.get(id).ok_or(MaskerStop::Needs(id))?;
        framing::write_prefix(program.masked_id, out);
        Ok(program.patch.run(datum, out).map_err(reason)?)
    }

    fn learn(
        &mut self,
        id: SchemaId,
        writer: &DatumSchema,
        registry: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        let uncovered = |why: String| LearnError::Uncovered(OutcomeReason::new(ReasonClass::Contract, why));
        let patch = DatumPatch::compile(writer, &self.policy).map_err(|error| match error {
            PatchError::Uncovered(paths) => {
                uncovered(format!("a policy for every leaf of schema {id}; none for: {}", paths.join(", ")))
            }
            other => uncovered(format!("schema {id} that the policy fits: {other}")),
        })?;
        let Some(masked_id) = registry.id_of(&self.subject, patch.derived().json())? else {
            let why = format!(
                "the schema derived from schema {id}, registered under {}: run `sluice apply`",
                self.subject
            );
            return Err(LearnError::Fault(Fault::outage("looking up the masked schema", why)));
        };
        self.programs.insert(id, MaskerProgram { patch, masked_id });
        Ok(())
    }
}

/// Why a record does not go on now.
enum MaskerStop {
    /// A schema has to be learned first.
    Needs(SchemaId),
    /// It is a dead letter.
    Refused(OutcomeReason),
}

impl From<OutcomeReason> for MaskerStop {
    fn from(reason: OutcomeReason) -> Self {
        Self::Refused(reason)
    }
}

impl MaskerStop {
    /// The same, placed in the key.
    fn in_key(self) -> Self {
        match self {
            Self::Needs(id) => Self::Needs(id),
            Self::Refused(reason) => {
                let dot = if reason.path.is_empty() { "" } else { "." };
                let path = format!("(key){dot}{}", reason.path);
                Self::Refused(OutcomeReason { path, ..reason })
            }
        }
    }
}

fn reason(error: PatchRunError) -> OutcomeReason {
    match error {
        PatchRunError::Datum(error) => error.into(),
        PatchRunError::Refused { path, why } => OutcomeReason::new(ReasonClass::Masking, why).at(path, None),
    }
}

impl Processor for MaskerProcessor {
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome {
        let Some(topic) = self.topics.iter_mut().find(|topic| topic.raw == record.topic) else {
            return Outcome::Uncovered(OutcomeReason::new(
                ReasonClass::Contract,
                "a contract for this topic",
            ));
        };
        match topic.mask(record, out, &mut self.scratch) {
            Ok(()) => Outcome::Emitted,
            Err(MaskerStop::Needs(id)) => Outcome::NeedsSchema(id),
            Err(MaskerStop::Refused(reason)) => Outcome::DeadLetter(reason),
        }
    }

    fn learn(
        &mut self,
        topic: &str,
        id: SchemaId,
        schema: &str,
        registry: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        let uncovered = |why: String| LearnError::Uncovered(OutcomeReason::new(ReasonClass::Contract, why));
        let topic = self
            .topics
            .iter_mut()
            .find(|known| known.raw == topic)
            .ok_or_else(|| uncovered("a contract for this topic".into()))?;
        let writer = DatumSchema::parse(schema)
            .map_err(|error| uncovered(format!("schema {id} that can be read: {error}")))?;
        match (&mut topic.key, topic.asks_for_key) {
            (MaskerKey::Datum(key), true) => key.learn(id, &writer, registry),
            (MaskerKey::Datum(_), false) | (MaskerKey::Text(_), _) => {
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
