//! Takes facts from records: a masked record in, facts out. Pure.
//!
//! Each attribute of a record that is not null becomes one record on the facts topic, with its entity as the
//! key. The identity of a fact depends only on topic, partition and offset of the source and on the
//! attribute. A record that is handled twice gives the same facts, byte for byte.

use sha2::{Digest, Sha256};
use sluice_contract::{ContractSet, value_subject};
use sluice_core::{
    Fault, LearnError, Outcome, OutcomeReason, Outputs, Processor, ReasonClass, RecordPart, RecordRef, Route,
    SchemaId, SchemaLookup,
};
use sluice_wire::{DatumSchema, LeafProjection, LeafValue, LeafWriter, LogicalType, ProgramCache, framing};

use crate::text::{self, ValueType};

/// Most programs kept for a topic, one for each schema version in use at one time.
const PROGRAMS: usize = 64;
/// Most leaves that a contract's facts may name together.
const LEAVES: usize = 64;
/// The fact schema's fields, in the order in which [`NormaliserFact::write`] writes them.
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
    /// The facts topics. A route is an index in this list.
    routes: Vec<String>,
    fact_schema: String,
    scratch: NormaliserScratch,
}

/// The reason why these contracts make no normaliser.
#[derive(Debug, thiserror::Error)]
pub enum NormaliserError {
    /// The fleet's fact schema is missing, or is not the one that this version writes.
    #[error("schemas/sluice/fact/value.avsc: expected the fact schema of this version")]
    FactSchema,
    /// A contract's facts name too many leaves. Holds the contract's id.
    #[error("contract {0}: expected at most {LEAVES} leaves in its facts")]
    TooMany(String),
}

/// The fact rules and programs of one contract's masked topic.
struct NormaliserTopic {
    masked: String,
    entity_type: String,
    /// The leaves that the projection reads, each once.
    paths: Vec<String>,
    /// Parts of the entity's name, as indexes in `paths`.
    entity: Vec<usize>,
    /// The time, as an index in `paths`.
    time: usize,
    /// The attributes, as indexes in `paths`.
    attributes: Vec<usize>,
    subject: String,
    route: Route,
    programs: ProgramCache<NormaliserProgram>,
}

/// The program of one masked schema.
struct NormaliserProgram {
    project: LeafProjection,
    /// The logical type of each of the topic's `paths`.
    logical: Vec<Option<LogicalType>>,
    /// The registry's id of the fact schema.
    fact_id: SchemaId,
}

/// Buffers that every record reuses.
#[derive(Default)]
struct NormaliserScratch {
    entity: Vec<u8>,
    value: Vec<u8>,
}

impl NormaliserProcessor {
    /// Prepares a normaliser for every contract that asks for facts.
    ///
    /// # Errors
    /// [`NormaliserError`].
    pub fn new(contracts: &ContractSet) -> Result<Self, NormaliserError> {
        // Facts are written field by field, so the schema must have exactly these fields in this order.
        let fact = contracts.fact().ok_or(NormaliserError::FactSchema)?;
        let fields: Vec<_> = fact.leaves().into_iter().map(|leaf| leaf.path).collect();
        if fields != FACT_FIELDS {
            return Err(NormaliserError::FactSchema);
        }

        let mut topics = vec![];
        let mut routes: Vec<String> = vec![];
        for contract in contracts.served() {
            let Some(facts) = &contract.facts else { continue };

            // One leaf can be part of the entity and an attribute: the projection reads it once.
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

            // Contracts may share a facts topic, and then its route.
            let index = routes.iter().position(|route| *route == facts.topic).unwrap_or_else(|| {
                routes.push(facts.topic.clone());
                routes.len() - 1
            });
            debug_assert!(u16::try_from(index).is_ok(), "a route is a u16");
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

    /// Returns the masked topics of all contracts that ask for facts.
    pub fn topics(&self) -> Vec<String> {
        self.topics.iter().map(|topic| topic.masked.clone()).collect()
    }
}

impl NormaliserTopic {
    /// Appends the facts of one record. An error is the reason of a dead letter.
    fn facts(
        &mut self,
        record: &RecordRef<'_>,
        out: &mut Outputs,
        scratch: &mut NormaliserScratch,
    ) -> Result<Outcome, OutcomeReason> {
        // A tombstone is skipped: facts are a history, and a history is not deleted by key.
        let Some(value) = record.value else {
            return Ok(Outcome::Skipped(OutcomeReason::new(
                ReasonClass::Null,
                "a value: a tombstone takes no fact back",
            )));
        };

        // The program of the record's schema.
        let (id, datum) = framing::split(value)
            .map_err(|error| OutcomeReason::new(ReasonClass::Framing, error.to_string()))?;
        let Self { programs, paths, entity, time, attributes, entity_type, route, .. } = self;
        let Some(program) = programs.get(id) else { return Ok(Outcome::NeedsSchema(RecordPart::Value, id)) };

        // One walk over the datum reads all leaves. A leaf that the record lacks stays null.
        let mut leaves = [LeafValue::Null; LEAVES];
        program.project.run(datum, |index, leaf| {
            debug_assert!(index < LEAVES, "`new` refuses more paths than LEAVES");
            if let Some(place) = leaves.get_mut(index) {
                *place = leaf;
            }
        })?;
        let leaf = |place: usize| leaves.get(place).copied().unwrap_or(LeafValue::Null);
        let logical = |place: usize| program.logical.get(place).and_then(Option::as_ref);
        let path = |place: usize| paths.get(place).map_or("", String::as_str);

        // The time and the entity, which all facts of the record share.
        let event_time = event_time(leaf(*time), logical(*time)).ok_or_else(|| {
            let expected = "a time, because every fact has one";
            OutcomeReason::new(ReasonClass::Null, expected).at(path(*time), None)
        })?;
        scratch.entity.clear();
        for (number, part) in entity.iter().enumerate() {
            // The key of a fact joins the parts of the entity, for example `UA/1545/EWR`.
            if number > 0 {
                scratch.entity.push(b'/');
            }
            text::name(leaf(*part), logical(*part), &mut scratch.entity);
        }

        // One fact for each attribute that is not null.
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

        // A record of which nothing comes is counted as skipped, so that input and output add up.
        if emitted {
            Ok(Outcome::Emitted)
        } else {
            let expected = "at least one attribute that is not null";
            Ok(Outcome::Skipped(OutcomeReason::new(ReasonClass::Null, expected)))
        }
    }
}

/// Returns a timestamp or date in microseconds since the epoch; `None` for any other leaf, or out of range.
fn event_time(leaf: LeafValue<'_>, logical: Option<&LogicalType>) -> Option<i64> {
    match leaf {
        LeafValue::Long(count) => text::micros(count, logical),
        LeafValue::Int(days) if logical == Some(&LogicalType::Date) => Some(i64::from(days) * 86_400_000_000),
        _ => None,
    }
}

/// Returns the SHA-256 state over topic, partition and offset of the record. Each attribute continues a copy
/// of it.
fn source_of(record: &RecordRef<'_>) -> Sha256 {
    // A topic's name has no zero byte, so that the zero ends it. Partition and offset have fixed lengths.
    let mut hash = Sha256::new();
    hash.update(record.topic.as_bytes());
    hash.update([0]);
    hash.update(record.partition.to_be_bytes());
    hash.update(record.offset.raw().to_be_bytes());
    hash
}

/// One fact that is to be written.
struct NormaliserFact<'a> {
    program: &'a NormaliserProgram,
    attribute: &'a str,
    kind: ValueType,
    /// Microseconds since the epoch.
    event_time: i64,
    /// The hash state of the source record.
    source: &'a Sha256,
    record: &'a RecordRef<'a>,
    entity_type: &'a str,
}

impl NormaliserFact<'_> {
    /// Appends the fact, with entity and value from the scratch buffers.
    fn write(&self, route: Route, out: &mut Outputs, scratch: &NormaliserScratch) {
        // The identity: the first 16 bytes of the hash over source and attribute, as 32 hexadecimal digits.
        let mut hash = self.source.clone();
        hash.update(self.attribute.as_bytes());
        let digest = hash.finalize();
        let mut id = [0; 32];
        let encoded = hex::encode_to_slice(&digest[..16], &mut id);
        debug_assert!(encoded.is_ok(), "16 bytes make 32 digits");

        // The record's own time, not the event's: retention counts from it, and a late event must not expire
        // at once.
        let mut draft = out.draft(route);
        draft.key(&scratch.entity);
        draft.timestamp_ms(self.record.timestamp_ms);

        // The fields in the order of FACT_FIELDS. `new` has checked that the schema has this order.
        let written: Result<(), std::convert::Infallible> = draft.value_with(|bytes| {
            framing::write_prefix(self.program.fact_id, bytes);
            let mut writer = LeafWriter::new(bytes);
            writer.bytes(&id); // ASCII: Avro writes a string and its bytes alike
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
        // A topic can lose its facts while the worker runs. Its records are then held, not skipped.
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
        _: RecordPart,
        id: SchemaId,
        schema: &str,
        registry: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        // The topic and its schema. A mistake here holds the partition: its records are not lost.
        let uncovered = |why: String| LearnError::Uncovered(OutcomeReason::new(ReasonClass::Contract, why));
        let topic = self
            .topics
            .iter_mut()
            .find(|known| known.masked == topic)
            .ok_or_else(|| uncovered("a contract that asks for this topic's facts".into()))?;
        let writer = DatumSchema::parse(schema)
            .map_err(|error| uncovered(format!("a readable schema {id}: {error}")))?;

        // The program that reads the leaves of the facts, and the logical types that tell times from numbers.
        let paths: Vec<&str> = topic.paths.iter().map(String::as_str).collect();
        let project = LeafProjection::compile(&writer, &paths)
            .map_err(|error| uncovered(format!("the facts' leaves in schema {id}: {error}")))?;
        let leaves = writer.leaves();
        let logical = topic
            .paths
            .iter()
            .map(|path| leaves.iter().find(|leaf| leaf.path == *path).and_then(|leaf| leaf.leaf.logical))
            .collect();

        // The normaliser registers nothing: that is the task of `sluice apply`. Until then the partition
        // waits.
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
