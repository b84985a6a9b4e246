//! The leak scan: takes values of masked leaves from samples of raw topics, and looks for them in open topics
//! and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::Path;

use indicatif::ProgressBar;
use sluice_contract::Contract;
use sluice_core::names::lineage::OFFSET;
use sluice_core::{Fault, RecordRef, SchemaId};
use sluice_govern::leak::{self, LeafTextReader, LeakNeedles};
use sluice_govern::plan::{DesiredTopic, TopicAccess, TopicPurpose};
use sluice_runtime::config::KafkaSection;
use sluice_runtime::registry::SchemaRegistry;
use sluice_warehouse::{self, QueryFormat};
use sluice_wire::{DatumSchema, framing};

use super::VerifyDifference;
use crate::apply::FleetContext;
use crate::cli::VerifyArgs;

/// One record of a sample.
struct LeakSample {
    /// Topic, partition and offset, for the report.
    place: String,
    key: Vec<u8>,
    value: Vec<u8>,
    /// The values of all headers, one after the other.
    headers: Vec<u8>,
}

/// Schemas by id, with the readers of their leaves' texts.
struct LeakSchemaCache {
    registry: SchemaRegistry,
    /// `None` if the registry does not have the id, or if the schema cannot be read.
    known: BTreeMap<u32, Option<(DatumSchema, LeafTextReader)>>,
}

/// Scans a sample of every open topic, and of every table if a lake is named.
///
/// # Errors
/// Fails if Kafka, the registry or the lake cannot be read.
pub(super) async fn scan(fleet: &FleetContext, args: &VerifyArgs) -> anyhow::Result<Vec<VerifyDifference>> {
    let mut readers =
        LeakSchemaCache { registry: SchemaRegistry::new(&fleet.registry)?, known: BTreeMap::new() };
    let open: Vec<&str> = fleet
        .desired
        .topics
        .iter()
        .filter(|topic| topic.access == TopicAccess::Open)
        .map(|topic| topic.name.as_str())
        .collect();
    let bar = bar((fleet.contracts.served().count() + open.len()) as u64);

    // The needles: values of masked leaves, from the newest raw records. They stay in memory.
    let mut needles = LeakNeedles::default();
    for contract in fleet.contracts.served() {
        bar.set_message(contract.raw_topic.clone());
        for record in sample(&fleet.kafka, &contract.raw_topic, args.sample).await? {
            // A key with a schema has leaves of its own. A plain key is a leaf of the value, too.
            if contract.record_key.schema().is_some()
                && let Some((_, texts, datum)) = readers.of(&record.key).await?
            {
                needles.take_key(contract, texts.read(datum));
            }
            let Some((_, texts, datum)) = readers.of(&record.value).await? else { continue };
            needles.take(contract, texts.read(datum));
        }
        bar.inc(1);
    }
    let count = needles.ready();
    tracing::debug!(count, "values of masked leaves to look for");

    // The haystack: records of open topics. A masked topic's records must also have the form of their
    // operations.
    let mut differences = vec![];
    for topic in open {
        bar.set_message(topic.to_owned());
        let contract = fleet.contracts.by_masked_topic(topic);
        for record in sample(&fleet.kafka, topic, args.sample).await? {
            differences.extend(found(&needles, &record));
            if let (Some(contract), Some((schema, texts, datum))) =
                (contract, readers.of(&record.value).await?)
            {
                differences.extend(misshapen(contract, &record.place, schema, texts, datum));
            }
            if let Some(contract) = contract.filter(|contract| contract.record_key.schema().is_some())
                && let Some((_, texts, datum)) = readers.of(&record.key).await?
            {
                let wrong =
                    leak::misshapen_key(contract, &texts.read(datum)).into_iter().map(|(path, expected)| {
                        let what = format!(
                            "the key's leaf `{path}` is not a result of its masking: expected {expected}"
                        );
                        leak(record.place.clone(), what)
                    });
                differences.extend(wrong);
            }
        }
        bar.inc(1);
    }

    // Tables, if a lake is named.
    if let Some(lake) = &args.lake {
        differences.extend(tables(&needles, fleet, lake, args.sample).await?);
    }
    bar.finish_and_clear();

    // A leaf that leaks usually leaks in every record. The first record of each topic is enough.
    let mut reported = BTreeSet::new();
    differences.retain(|found: &VerifyDifference| {
        let topic = found.place.split(' ').take(2).collect::<Vec<_>>().join(" ");
        reported.insert((topic, found.what.clone()))
    });
    Ok(differences)
}

/// Returns a difference of the leak scan.
fn leak(place: String, what: String) -> VerifyDifference {
    VerifyDifference { check: "leak", place, what }
}

/// Looks for a needle in key, value and headers of a record. The report names the leaf, never the value.
fn found(needles: &LeakNeedles, record: &LeakSample) -> Option<VerifyDifference> {
    let parts = [("key", &record.key), ("value", &record.value), ("headers", &record.headers)];
    parts.into_iter().find_map(|(part, bytes)| {
        let leaf = needles.find(bytes)?;
        Some(leak(record.place.clone(), format!("its {part} holds a value of the masked leaf {leaf}")))
    })
}

/// Compares a masked record with its contract: no dropped leaf, and every value in the form of its operation.
fn misshapen(
    contract: &Contract,
    place: &str,
    schema: &DatumSchema,
    texts: &LeafTextReader,
    datum: &[u8],
) -> Vec<VerifyDifference> {
    // Leaves of the record's schema that the contract drops.
    let undropped = leak::undropped(contract, schema).into_iter().map(|path| {
        leak(place.to_owned(), format!("its schema has the leaf {path}, which the contract drops"))
    });

    // Values that their operation cannot give.
    let read = texts.read(datum);
    let misshapen = leak::misshapen_value(contract, &read).into_iter().map(|(path, expected)| {
        leak(place.to_owned(), format!("the leaf {path} is not a result of its masking: expected {expected}"))
    });
    undropped.chain(misshapen).collect()
}

/// Reads the newest `count` records of every partition. A topic that does not exist has none.
async fn sample(kafka: &KafkaSection, topic: &str, count: u32) -> Result<Vec<LeakSample>, Fault> {
    // The client blocks, and the registry's calls need the runtime's threads.
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    let reading = tokio::task::spawn_blocking(move || {
        let mut all = vec![];
        let taken = sluice_kafka::read_last(&kafka, &topic, count, |record| all.push(LeakSample::of(record)));
        taken.map(|()| all)
    });
    reading.await.map_err(|error| Fault::bug("reading a sample", error))?
}

impl LeakSample {
    /// Copies a record that is lent.
    fn of(record: &RecordRef<'_>) -> Self {
        let headers = record.headers.iter().flat_map(|header| header.value.unwrap_or_default());
        Self {
            place: format!("topic {} partition {} offset {}", record.topic, record.partition, record.offset),
            key: record.key.unwrap_or_default().to_vec(),
            value: record.value.unwrap_or_default().to_vec(),
            headers: headers.copied().collect(),
        }
    }
}

impl LeakSchemaCache {
    /// Returns the schema and the reader of a framed value or key, and its datum. `None` if it is not framed,
    /// or if its schema cannot be read.
    async fn of<'v>(
        &mut self,
        value: &'v [u8],
    ) -> Result<Option<(&DatumSchema, &LeafTextReader, &'v [u8])>, Fault> {
        let Ok((id, datum)) = framing::split(value) else { return Ok(None) };
        let SchemaId(raw) = id;
        // A schema that cannot be read is remembered, too: the registry is asked once for each id.
        if !self.known.contains_key(&raw) {
            let found = self.registry.schema(id).await?;
            let schema = found.and_then(|text| DatumSchema::parse(&text).ok());
            let reader =
                schema.and_then(|schema| LeafTextReader::new(&schema).ok().map(|texts| (schema, texts)));
            self.known.insert(raw, reader);
        }
        let known = self.known.get(&raw).and_then(Option::as_ref);
        Ok(known.map(|(schema, texts)| (schema, texts, datum)))
    }
}

/// Looks for needles in the newest rows of every open topic's table.
async fn tables(
    needles: &LeakNeedles,
    fleet: &FleetContext,
    lake: &Path,
    count: u32,
) -> anyhow::Result<Vec<VerifyDifference>> {
    let there = sluice_warehouse::tables(lake)?;
    let mut differences = vec![];
    for topic in landed(fleet) {
        // The sink creates a table at the first record of its topic.
        if !there.iter().any(|(_, name)| *name == topic) {
            continue;
        }
        let sql = format!("SELECT * FROM \"{topic}\" ORDER BY {OFFSET} DESC LIMIT {count}");
        let mut text = vec![];
        sluice_warehouse::print(&sluice_warehouse::query(lake, &sql).await?, QueryFormat::Json, &mut text)?;
        // The rows are searched as one text. The report has the table without an offset.
        if let Some(leaf) = needles.find(&text) {
            let what = format!("a row holds a value of the masked leaf {leaf}");
            differences.push(leak(format!("table {topic}"), what));
        }
    }
    Ok(differences)
}

/// Returns the topics that have tables: masked records and facts.
fn landed(fleet: &FleetContext) -> impl Iterator<Item = &str> {
    let landed = |topic: &&DesiredTopic| matches!(topic.purpose, TopicPurpose::Masked | TopicPurpose::Facts);
    fleet.desired.topics.iter().filter(landed).map(|topic| topic.name.as_str())
}

/// Returns a progress bar over the topics. It is hidden if standard error is not a terminal.
fn bar(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = indicatif::ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
