//! Masked record in, facts out; pure.
//!
//! For each record and each attribute that is not null: one record on the facts topic, keyed by its entity, with an
//! identity that depends on nothing but where the source stands and which attribute it is. Handling a record twice
//! gives the same facts, byte for byte.

use sha2::{Digest, Sha256};
use sluice_contract::{ContractSet, value_subject};
use sluice_core::{
    Fault, LearnError, Outcome, OutcomeReason, Outputs, Processor, ReasonClass, RecordRef, Route, SchemaId,
    SchemaLookup,
};
use sluice_wire::{DatumSchema, LeafProjection, LeafValue, LeafWriter, LogicalType, ProgramCache, framing};

use crate::text::{self, ValueType};

/// Programs kept per topic: schema versions in use at one time.
const PROGRAMS: usize = 64;
/// Most leaves that a contract's facts may name together.
const LEAVES: usize = 64;
/// The fact schema's fields, in the order in which they are written below.
const FACT_FIELDS: [&str; 11] = [
    "fact_id",
    "entity",
    "entity_type",
    "attribute",
    "value",
    "value_type",
    "event_time",
    "recorded_time",
    "source_topic",
    "source_partition",
    "source_offset",
];

/// Takes the facts out of masked records.
pub struct NormaliserProcessor {
    topics: Vec<NormaliserTopic>,
    routes: Vec<String>,
    fact_schema: String,
    scratch: NormaliserScratch,
}

/// Why a normaliser cannot be made of these contracts.
#[derive(Debug, thiserror::Error)]
pub enum NormaliserError {
    /// The fleet's fact schema is missing or is not the one that this version writes.
    #[error("schemas/sluice/fact/value.avsc is not the fact schema of this version")]
    FactSchema,
    /// A contract's facts name too many leaves.
    #[error("the facts of {0} name more than {LEAVES} leaves")]
    TooMany(String),
}

struct NormaliserTopic {
    masked: String,
    entity_type: String,
    /// What the projection asks for, each once.
    paths: Vec<String>,
    /// Places in `paths`: the parts of the entity's name, the time, the attributes.
    entity: Vec<usize>,
    time: usize,
    attributes: Vec<usize>,
    subject: String,
    route: Route,
    programs: ProgramCache<NormaliserProgram>,
}

struct NormaliserProgram {
    project: LeafProjection,
    logical: Vec<Option<LogicalType>>,
    fact_id: SchemaId,
}

#[derive(Default)]
struct NormaliserScratch {
    entity: Vec<u8>,
    value: Vec<u8>,
}

impl NormaliserProcessor {
    /// A normaliser for every contract that asks for facts.
    ///
    /// # Errors
    /// [`NormaliserError`].
    pub fn new(contracts: &ContractSet) -> Result<Self, NormaliserError> {
        let fact = contracts.fact().ok_or(NormaliserError::FactSchema)?;
        let fields: Vec<_> = fact.leaves().into_iter().map(|leaf| leaf.path).collect();
        if fields != FACT_FIELDS {
            return Err(NormaliserError::FactSchema);
        }
        let mut topics = vec![];
        let mut routes: Vec<String> = vec![];
        for contract in contracts.iter() {
            let Some(facts) = &contract.facts else { continue };
            let mut paths: Vec<String> = vec![];
            let mut place = |path: &String| {
                paths.iter().position(|known| known == path).unwrap_or_else(|| {
                    paths.push(path.clone());
                    paths.len() - 1
                })
            };
            let entity = facts.entity.iter().map(&mut place).collect();
            let time = place(&facts.time);
            let attributes = facts.attributes.iter().map(&mut place).collect();
            if paths.len() > LEAVES {
                return Err(NormaliserError::TooMany(contract.id.clone()));
            }
            // Contracts may share a facts topic.
            let index = routes.iter().position(|route| *route == facts.topic).unwrap_or_else(|| {
                routes.push(facts.topic.clone());
                routes.len() - 1
            });
            topics.push(NormaliserTopic {
                masked: contract.masked_topic.clone(),
                entity_type: facts.entity_type.clone(),
                paths,
                entity,
                time,
                attributes,
                subject: value_subject(&facts.topic),
                route: Route(u16::try_from(index).unwrap_or(u16::MAX)),
                programs: ProgramCache::new(PROGRAMS),
            });
        }
        Ok(Self {
            topics,
            routes,
            fact_schema: fact.json().to_owned(),
            scratch: NormaliserScratch::default(),
        })
    }

    /// The topics it reads.
    pub fn topics(&self) -> Vec<String> {
        self.topics.iter().map(|topic| topic.masked.clone()).collect()
    }
}

impl NormaliserTopic {
    fn facts(
        &mut self,
        record: &RecordRef<'_>,
        out: &mut Outputs,
        scratch: &mut NormaliserScratch,
    ) -> Result<Outcome, OutcomeReason> {
        let Some(value) = record.value else {
            return Ok(Outcome::Skipped(OutcomeReason::new(
                ReasonClass::Null,
                "a value; facts are never taken back by a tombstone",
            )));
        };
        let (id, datum) = framing::split(value)
            .map_err(|error| OutcomeReason::new(ReasonClass::Framing, error.to_string()))?;
        let Self { programs, paths, entity, time, attributes, entity_type, route, .. } = self;
        let Some(program) = programs.get(id) else { return Ok(Outcome::NeedsSchema(id)) };
        let mut leaves = [LeafValue::Null; LEAVES];
        program.project.run(datum, |index, leaf| {
            if let Some(place) = leaves.get_mut(index) {
                *place = leaf;
            }
        })?;
        let leaf = |place: usize| leaves.get(place).copied().unwrap_or(LeafValue::Null);
        let logical = |place: usize| program.logical.get(place).and_then(Option::as_ref);
        let path = |place: usize| paths.get(place).map_or("", String::as_str);
        let event_time = event_time(leaf(*time), logical(*time)).ok_or_else(|| {
            OutcomeReason::new(ReasonClass::Null, "a time: a fact is always timed").at(path(*time), None)
        })?;
        scratch.entity.clear();
        for (number, part) in entity.iter().enumerate() {
            if number > 0 {
                scratch.entity.push(b'/');
            }
            text::name(leaf(*part), logical(*part), &mut scratch.entity);
        }
        let source = source_of(record);
        let mut emitted = false;
        for place in attributes.iter() {
            scratch.value.clear();
            let Some(kind) = text::value(leaf(*place), &mut scratch.value) else { continue };
            let attribute = path(*place);
            let fact =
                NormaliserFact { program, attribute, kind, event_time, source: &source, record, entity_type };
            fact.write(*route, out, scratch);
            emitted = true;
        }
        if emitted {
            Ok(Outcome::Emitted)
        } else {
            Ok(Outcome::Skipped(OutcomeReason::new(ReasonClass::Null, "an attribute that is not null")))
        }
    }
}

/// Microseconds since the epoch, from a timestamp or a date.
fn event_time(leaf: LeafValue<'_>, logical: Option<&LogicalType>) -> Option<i64> {
    match leaf {
        LeafValue::Long(count) => text::micros(count, logical),
        LeafValue::Int(days) if logical == Some(&LogicalType::Date) => Some(i64::from(days) * 86_400_000_000),
        _ => None,
    }
}

/// SHA-256 over where the record stands; each attribute goes on from a copy of it.
fn source_of(record: &RecordRef<'_>) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(record.topic.as_bytes());
    hash.update([0]);
    hash.update(record.partition.to_be_bytes());
    hash.update(record.offset.raw().to_be_bytes());
    hash
}

struct NormaliserFact<'a> {
    program: &'a NormaliserProgram,
    attribute: &'a str,
    kind: ValueType,
    event_time: i64,
    source: &'a Sha256,
    record: &'a RecordRef<'a>,
    entity_type: &'a str,
}

impl NormaliserFact<'_> {
    fn write(&self, route: Route, out: &mut Outputs, scratch: &NormaliserScratch) {
        let mut hash = self.source.clone();
        hash.update(self.attribute.as_bytes());
        let digest = hash.finalize();
        let mut id = [0; 32];
        // 16 bytes make 32 digits: the buffer fits.
        let _ = hex::encode_to_slice(&digest[..16], &mut id);
        let mut draft = out.draft(route);
        draft.key(&scratch.entity);
        // The record's own time, not the event's: retention counts from it, and old events are news too.
        draft.timestamp_ms(self.record.timestamp_ms);
        let written: Result<(), std::convert::Infallible> = draft.value_with(|bytes| {
            framing::write_prefix(self.program.fact_id, bytes);
            let mut writer = LeafWriter::new(bytes);
            writer.bytes(&id); // ASCII, so a string's bytes
            writer.bytes(&scratch.entity);
            writer.string(self.entity_type);
            writer.string(self.attribute);
            writer.bytes(&scratch.value);
            writer.enum_index(self.kind as u32);
            writer.long(self.event_time);
            writer.long(self.record.timestamp_ms.unwrap_or_default().saturating_mul(1_000));
            writer.string(self.record.topic);
            writer.int(self.record.partition);
            writer.long(self.record.offset.raw());
            Ok(())
        });
        let Ok(()) = written;
        draft.emit();
    }
}

impl Processor for NormaliserProcessor {
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome {
        let Some(topic) = self.topics.iter_mut().find(|topic| topic.masked == record.topic) else {
            return Outcome::Uncovered(OutcomeReason::new(
                ReasonClass::Contract,
                "a contract that asks for this topic's facts",
            ));
        };
        topic.facts(record, out, &mut self.scratch).unwrap_or_else(Outcome::DeadLetter)
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
            .find(|known| known.masked == topic)
            .ok_or_else(|| uncovered("a contract that asks for this topic's facts".into()))?;
        let writer = DatumSchema::parse(schema)
            .map_err(|error| uncovered(format!("schema {id} that can be read: {error}")))?;
        let paths: Vec<&str> = topic.paths.iter().map(String::as_str).collect();
        let project = LeafProjection::compile(&writer, &paths)
            .map_err(|error| uncovered(format!("schema {id} with the facts' leaves: {error}")))?;
        let leaves = writer.leaves();
        let logical = topic
            .paths
            .iter()
            .map(|path| leaves.iter().find(|leaf| leaf.path == *path).and_then(|leaf| leaf.leaf.logical))
            .collect();
        let Some(fact_id) = registry.id_of(&topic.subject, &self.fact_schema)? else {
            let why =
                format!("the fact schema is not registered under {}: run `sluice apply`", topic.subject);
            return Err(LearnError::Fault(Fault::outage("looking up the fact schema", why)));
        };
        topic.programs.insert(id, NormaliserProgram { project, logical, fact_id });
        Ok(())
    }

    fn routes(&self) -> &[String] {
        &self.routes
    }
}

#[cfg(test)]
mod tests;
