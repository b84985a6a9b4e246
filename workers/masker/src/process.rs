//! Raw record in, masked record out; pure.
//!
//! ```text
//!  value: [0][id][datum] ─► program of (topic, id) ─► [0][masked id][masked datum]
//!  key:   text of the record key's field ─► the same operation as that field ─► masked key
//!  headers: those the contract allows, and where the record came from
//! ```
//!
//! Closed by default: a schema that the contract does not cover is not learned, so its records stand still; an
//! operation that refuses a leaf makes a dead letter in the *restricted* topic; nothing here ever quotes a value.

use std::io::Write as _;

use sluice_contract::{Contract, ContractPolicy, Contracts, KeyMask, KeyRing, MaskingError, value_subject};
use sluice_core::{
    Class, Fault, LearnError, Outcome, Outputs, Processor, Reason, RecordRef, Route, SchemaId, SchemaLookup,
};
use sluice_wire::{Patch, PatchError, PatchRunError, Programs, Schema, framing};

/// Header that says where a masked record came from: `topic/partition/offset`.
pub(crate) const SOURCE_HEADER: &str = "sluice.source";
/// Programs kept per topic: schema versions in use at one time.
const PROGRAMS: usize = 64;

/// Masks the records of all contracts.
pub struct Masker {
    topics: Vec<Topic>,
    routes: Vec<String>,
    scratch: Vec<u8>,
}

struct Topic {
    raw: String,
    policy: ContractPolicy,
    key: KeyMask,
    headers: Vec<String>,
    subject: String,
    route: Route,
    programs: Programs<Program>,
}

struct Program {
    patch: Patch,
    masked_id: SchemaId,
}

impl Masker {
    /// A masker for every contract.
    ///
    /// # Errors
    /// [`MaskingError`]: a policy names a key that the ring does not hold.
    pub fn new(contracts: &Contracts, keys: &KeyRing) -> Result<Self, MaskingError> {
        let mut masker = Self { topics: vec![], routes: vec![], scratch: vec![] };
        for (index, contract) in contracts.iter().enumerate() {
            let route = Route(u16::try_from(index).unwrap_or(u16::MAX));
            masker.routes.push(contract.masked_topic.clone());
            masker.topics.push(Topic::new(contract, keys, route)?);
        }
        Ok(masker)
    }

    /// The topics it reads.
    pub fn topics(&self) -> Vec<String> {
        self.topics.iter().map(|topic| topic.raw.clone()).collect()
    }
}

impl Topic {
    fn new(contract: &Contract, keys: &KeyRing, route: Route) -> Result<Self, MaskingError> {
        Ok(Self {
            raw: contract.raw_topic.clone(),
            policy: contract.policy(keys)?,
            key: contract.key_mask(keys)?,
            headers: contract.headers.clone(),
            subject: value_subject(&contract.masked_topic),
            route,
            programs: Programs::new(PROGRAMS),
        })
    }

    fn mask(
        &mut self,
        record: &RecordRef<'_>,
        out: &mut Outputs,
        scratch: &mut Vec<u8>,
    ) -> Result<Outcome, Reason> {
        let mut draft = out.draft(self.route);
        match record.key {
            None => return Err(Reason::new(Class::Null, "a key: the text of the record key's field")),
            Some(key) => draft.key_with(|out| self.key.apply(key, out))?,
        }
        // A tombstone deletes its key, masked or not: it goes on as one.
        if let Some(value) = record.value {
            let (id, datum) =
                framing::split(value).map_err(|error| Reason::new(Class::Framing, error.to_string()))?;
            let Some(program) = self.programs.get(id) else { return Ok(Outcome::NeedsSchema(id)) };
            draft.value_with(|out| {
                framing::write_prefix(program.masked_id, out);
                program.patch.run(datum, out).map_err(reason)
            })?;
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
        Ok(Outcome::Emitted)
    }
}

fn reason(error: PatchRunError) -> Reason {
    match error {
        PatchRunError::Datum(error) => error.into(),
        PatchRunError::Refused { path, why } => Reason::new(Class::Masking, why).at(path, None),
    }
}

impl Processor for Masker {
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome {
        let Some(topic) = self.topics.iter_mut().find(|topic| topic.raw == record.topic) else {
            return Outcome::Uncovered(Reason::new(Class::Contract, "a contract for this topic"));
        };
        topic.mask(record, out, &mut self.scratch).unwrap_or_else(Outcome::DeadLetter)
    }

    fn learn(
        &mut self,
        topic: &str,
        id: SchemaId,
        schema: &str,
        registry: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        let uncovered = |why: String| LearnError::Uncovered(Reason::new(Class::Contract, why));
        let topic = self
            .topics
            .iter_mut()
            .find(|known| known.raw == topic)
            .ok_or_else(|| uncovered("a contract for this topic".into()))?;
        let writer = Schema::parse(schema)
            .map_err(|error| uncovered(format!("schema {id} that can be read: {error}")))?;
        let patch = Patch::compile(&writer, &topic.policy).map_err(|error| match error {
            PatchError::Uncovered(paths) => {
                uncovered(format!("a policy for every leaf of schema {id}; none for: {}", paths.join(", ")))
            }
            other => uncovered(format!("schema {id} that the policy fits: {other}")),
        })?;
        let derived = patch.derived().json();
        let Some(masked_id) = registry.id_of(&topic.subject, derived)? else {
            let why = format!(
                "the schema derived from schema {id}, registered under {}: run `sluice apply`",
                topic.subject
            );
            return Err(LearnError::Fault(Fault::outage("looking up the masked schema", why)));
        };
        topic.programs.insert(id, Program { patch, masked_id });
        Ok(())
    }

    fn routes(&self) -> &[String] {
        &self.routes
    }
}

#[cfg(test)]
mod tests;
