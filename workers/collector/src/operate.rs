//! The operator's commands between runs: check a job's file, try an id, show the state, list dead ids, make
//! dead ids due again, create the side tables.

use std::collections::BTreeMap;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use sluice_core::{Fault, Outputs};
use sluice_kafka::admin::KafkaAdmin;
use sluice_lease::{BuriedId, JobClaims, SideTableState, StateCount};
use sluice_runtime::registry::SchemaRegistry;
use sluice_wire::framing;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::PagePosition;
use crate::client::{PageRefusal, TroubleKind};
use crate::config::CollectorConfig;
use crate::drift::DriftNotice;
use crate::incremental::IncrementalMarks;
use crate::job::CollectorJob;
use crate::process::LETTERS;
use crate::tape::AnswerTape;
use crate::walk::{PagePart, PageTaker, PageWalk, PageWalkHalt};

/// One page of a trial, or a part of a large page.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TrialPage {
    /// Name of the endpoint.
    pub endpoint: String,
    /// Number of the page, from 0.
    pub page: u64,
    /// Method, URL and body of the request, without credentials.
    pub asked: String,
    /// Bytes of the body, decompressed.
    pub bytes: u64,
    /// Topic of its records.
    pub topic: String,
    /// Records that fit the contract.
    pub records: u64,
    /// The first of these records as they would be in Kafka: the Avro datum, decoded by another
    /// implementation.
    pub samples: Vec<serde_json::Value>,
    /// The reasons why the other records do not fit; no values.
    pub rejects: Vec<String>,
}

/// The extent of a trial.
#[derive(Debug, Clone)]
pub struct TrialOptions {
    /// Pages per endpoint.
    pub pages: u64,
    /// Records per page that are decoded.
    pub samples: usize,
    /// The tape on which answers are kept, or from which they come.
    pub tape: Option<AnswerTape>,
}

/// The result of a trial.
#[derive(Debug, Default, serde::Serialize)]
pub struct TrialReport {
    /// The pages in their order.
    pub pages: Vec<TrialPage>,
    /// Signs that pages moved, totals that do not match the records, and paths that no page had.
    pub drifts: Vec<String>,
    /// The reason why the trial ended before its end, if it did.
    pub stopped: Option<String>,
    /// The fault of an API that did not answer at all.
    #[serde(skip)]
    pub away: Option<Fault>,
}

/// The content of a job's file, after every check that needs no neighbour.
#[derive(Debug, serde::Serialize)]
pub struct JobCheckReport {
    /// Job.
    pub job: String,
    /// `transactional` or `idempotent`.
    pub mode: &'static str,
    /// Endpoints with their topics, in order.
    pub endpoints: Vec<CheckedEndpoint>,
    /// The neighbours by name; empty unless they were asked.
    pub neighbours: BTreeMap<String, JobNeighbourReport>,
}

/// The state of a neighbour.
#[derive(Debug, serde::Serialize)]
pub struct JobNeighbourReport {
    /// Whether the neighbour has everything that the job needs.
    pub ok: bool,
    /// The state as a sentence, or the fault.
    pub says: String,
}

/// One endpoint of a valid file.
#[derive(Debug, serde::Serialize)]
pub struct CheckedEndpoint {
    /// Name.
    pub name: String,
    /// The request for an id called `ID`.
    pub asks: String,
    /// Topic of its records.
    pub topic: String,
    /// Field that becomes the key.
    pub key: String,
    /// Topic of the records that do not fit.
    pub dead_letters: String,
}

/// Checks a job's file: its contracts, their schemas, its requests. With `neighbours` it also asks database,
/// registry and Kafka whether they have everything that the job needs.
///
/// # Errors
/// A [`Fault`] for a mistake in the file itself. Faults of neighbours are part of the report.
pub async fn check(config: CollectorConfig, neighbours: bool) -> Result<JobCheckReport, Fault> {
    let job = CollectorJob::offline(config, None)?;

    // Every schema is compiled and every first request is built, for an id called `ID`.
    let mut endpoints = Vec::new();
    for (nth, endpoint) in job.config.endpoints.iter().enumerate() {
        let target = &job.targets[nth];
        job.give_back(nth, job.reader(nth)?);
        let values = crate::template::TemplateValues { id: "ID", since: endpoint.start.as_deref() };
        let asking = job.api.asking(endpoint, values, &endpoint.pagination.ask(None)).map_err(refused)?;
        endpoints.push(CheckedEndpoint {
            name: endpoint.name.clone(),
            asks: asking.shown(),
            topic: target.topics.records.clone(),
            key: target.record_key.clone(),
            dead_letters: target.topics.letters.clone(),
        });
    }

    // A neighbour's fault does not keep the others from being asked.
    let mut found = BTreeMap::new();
    if neighbours {
        let mut report = |name: &str, state: Result<String, Fault>| {
            let ok = state.is_ok();
            let says = state.unwrap_or_else(|fault| fault.to_string());
            found.insert(name.to_owned(), JobNeighbourReport { ok, says });
        };
        report("database", database(&job.config).await);
        report("registry", registry(&job).await);
        report("kafka", kafka(&job));
    }

    let mode = if job.config.transactional { "transactional" } else { "idempotent" };
    Ok(JobCheckReport { job: job.config.job.clone(), mode, endpoints, neighbours: found })
}

/// Requests the first pages of one id and publishes nothing. It needs neither database nor registry nor
/// Kafka.
///
/// # Errors
/// A [`Fault`] for a missing contract, refused credentials, or an API that is away.
pub async fn try_id(config: CollectorConfig, id: &str, trial: TrialOptions) -> Result<TrialReport, Fault> {
    let job = CollectorJob::offline(config, trial.tape)?;
    let stop = CancellationToken::new();
    let mut found = TrialReport::default();
    for nth in 0..job.config.endpoints.len() {
        // Each endpoint is walked by itself, from its first page, in parts of 4 MiB of output.
        let taker = TrialTaker { job: &job, found: &mut found, samples: trial.samples };
        let mut walk = PageWalk {
            job: &job,
            id,
            taker,
            stop: &stop,
            marks: IncrementalMarks::default(),
            pseudonym: None,
            run: 0,
            part: 4 << 20,
            most: Some(trial.pages.max(1)),
        };

        // Trouble with this id ends the trial and is part of the report.
        let first = PagePosition::first(&job.config.endpoints[nth].name);
        match walk.only(nth, first).await {
            Ok(()) => found.drifts.extend(job.unseen_paths(nth)),
            // An API that does not answer at all is a neighbour that is away. The report has the reason too.
            Err(PageWalkHalt::Refused(PageRefusal::Later { reason, kind: TroubleKind::Away, .. }))
                if found.pages.is_empty() =>
            {
                found.stopped = Some(format!("{}: {reason}", job.config.endpoints[nth].name));
                found.away = Some(unanswered(reason));
                break;
            }
            Err(PageWalkHalt::Refused(PageRefusal::Dead(why) | PageRefusal::Later { reason: why, .. })) => {
                found.stopped = Some(format!("{}: {why}", job.config.endpoints[nth].name));
                break;
            }
            Err(PageWalkHalt::Refused(PageRefusal::Fatal(fault)) | PageWalkHalt::Fault(fault)) => {
                // Trouble that concerns every id is the operator's to mend.
                return Err(fault);
            }
            Err(
                // A trial has no claim, no publisher and no database, and nothing stops it.
                PageWalkHalt::Refused(PageRefusal::Stopped)
                | PageWalkHalt::Lost
                | PageWalkHalt::Unknown
                | PageWalkHalt::Database(_),
            ) => break,
        }
    }
    Ok(found)
}

/// Returns the ids by state, with the work done for them.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn status(config: &CollectorConfig) -> Result<Vec<StateCount>, Fault> {
    Ok(claims(config).await?.status().await?)
}

/// Returns the first `most` dead ids, with the page at which they fail and the reason.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn dead(config: &CollectorConfig, most: u32) -> Result<Vec<BuriedId>, Fault> {
    Ok(claims(config).await?.buried(most).await?)
}

/// Makes one dead id, or all, due again: from the page at which it failed, or from its first page. Returns
/// how many.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn retry(config: &CollectorConfig, id: Option<&str>, from_start: bool) -> Result<u64, Fault> {
    Ok(claims(config).await?.revive(id, from_start).await?)
}

/// Takes an id out: it is never collected again, whatever the table of ids says. Returns whether it was known.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn forget(config: &CollectorConfig, id: &str) -> Result<bool, Fault> {
    Ok(claims(config).await?.forget(id).await?)
}

/// Returns the statements that create the side tables, for operators whose worker may not create tables. The
/// statements that upgrade tables of an earlier version come first, as comments.
///
/// # Errors
/// A [`Fault`] if the URL's scheme is unknown.
pub fn migration(config: &CollectorConfig) -> Result<Vec<String>, Fault> {
    let dialect = sluice_lease::SqlDialect::of(&config.database.url)?;
    // As comments, because they fail on a table that is up to date.
    let older = dialect
        .upgrade()
        .iter()
        .flat_map(|(column, texts)| texts.iter().map(move |text| (*column, *text)))
        .map(|(column, text)| {
            // Line by line: the statements hold comments of their own.
            let lines: Vec<String> = text.lines().map(|line| format!("-- {}", line.trim_end())).collect();
            format!("-- Run this once if sluice_claims has no column {column}:\n{}", lines.join("\n"))
        });
    Ok(older.chain(dialect.migration().iter().map(|&text| text.to_owned())).collect())
}

/// Creates the side tables unless they exist.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn migrate(config: &CollectorConfig) -> Result<(), Fault> {
    let claims = JobClaims::connect(&config.database.url, &config.job, 2).await?;
    Ok(claims.migrate().await?)
}

/// Connects to the database.
async fn claims(config: &CollectorConfig) -> Result<JobClaims, Fault> {
    // A command runs one statement at a time; two connections are plenty.
    Ok(JobClaims::connect(&config.database.url, &config.job, 2).await?)
}

/// Checks that the source can be read and that the side table is there or may be created.
async fn database(config: &CollectorConfig) -> Result<String, Fault> {
    let claims = claims(config).await?;
    let ids = claims.count(&config.database.source).await?;
    let table = match (claims.side_table().await?, config.database.migrate) {
        (SideTableState::There, _) => "the table sluice_claims is up to date",
        (SideTableState::Missing, true) => "the table sluice_claims is missing; the first run creates it",
        (SideTableState::Older, true) => {
            "the table sluice_claims is of an earlier version; the next run upgrades it"
        }
        // The worker may not create tables: the operator has to do it before the first run.
        (SideTableState::Missing, false) => {
            let why = "expected the table to exist; run `sluice collector migrate` to create it";
            return Err(Fault::user("checking the table sluice_claims", why));
        }
        (SideTableState::Older, false) => {
            let why =
                "expected this version's columns, found an earlier version's; run `sluice collector migrate`";
            return Err(Fault::user("checking the table sluice_claims", why));
        }
    };
    let pooled = match claims.is_pooled() {
        true => "; a pooler gives each transaction another connection, and statements have no names",
        false => "",
    };
    Ok(format!("{ids} ids in {}; {table}{pooled}", config.database.source.table))
}

/// Checks that every value schema is registered.
async fn registry(job: &CollectorJob) -> Result<String, Fault> {
    let registry = SchemaRegistry::new(&job.config.registry)?;
    for target in &job.targets {
        let subject = sluice_contract::value_subject(&target.topics.records);
        if registry.id_of(&subject, target.schema.json()).await?.is_none() {
            let why = "expected the contract's value schema, which is not registered; run `sluice apply`";
            return Err(Fault::user(format!("looking up {subject} in the registry"), why));
        }
    }
    Ok("every schema is registered".to_owned())
}

/// Checks that every topic exists, those for dead letters too.
fn kafka(job: &CollectorJob) -> Result<String, Fault> {
    // Kafka says here why it does not answer. The next call would report a time-out.
    sluice_kafka::knock(&job.config.kafka)?;
    let admin = KafkaAdmin::new(&job.config.kafka)?;
    let names =
        |target: &crate::job::EndpointTarget| [target.topics.records.clone(), target.topics.letters.clone()];
    let wanted: Vec<String> = job.targets.iter().flat_map(names).collect();
    let there = admin.there(&wanted)?;
    let missing: Vec<&str> =
        wanted.iter().filter(|name| !there.contains_key(*name)).map(String::as_str).collect();
    match missing.is_empty() {
        true => Ok("every topic exists".to_owned()),
        false => {
            let why = format!("expected these topics to exist: {}; run `sluice apply`", missing.join(", "));
            Err(Fault::user("looking for topics", why))
        }
    }
}

/// Keeps the parts that a walk reads for the report.
struct TrialTaker<'t> {
    job: &'t CollectorJob,
    found: &'t mut TrialReport,
    samples: usize,
}

impl PageTaker for TrialTaker<'_> {
    async fn take(&mut self, part: PagePart<'_>, outputs: &mut Outputs) -> Result<(), PageWalkHalt> {
        let target = &self.job.targets[part.nth];
        let (letters, records): (Vec<_>, Vec<_>) = outputs.iter().partition(|record| record.route == LETTERS);

        // Dead letters carry their reason in a header; it holds no values.
        let reason = |letter: &sluice_core::OutRecord<'_>| {
            let found = letter.headers().find(|header| header.name == "sluice.dlq.reason");
            let text = found.and_then(|header| header.value).unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };

        // Records are decoded from the bytes that would be published.
        let sample = |record: &sluice_core::OutRecord<'_>| {
            let datum = record.value.and_then(|value| value.get(framing::PREFIX..)).unwrap_or_default();
            decoded(target.schema.avro(), datum)
        };
        let samples: Result<Vec<_>, Fault> = records.iter().take(self.samples).map(sample).collect();

        self.found.pages.push(TrialPage {
            endpoint: part.at.endpoint.clone(),
            page: part.at.page,
            asked: part.asked.to_owned(),
            bytes: part.bytes,
            topic: target.topics.records.clone(),
            records: part.read.records,
            samples: samples.map_err(PageWalkHalt::Fault)?,
            rejects: letters.iter().map(reason).collect(),
        });
        outputs.clear();
        Ok(())
    }

    fn noticed(&mut self, endpoint: &str, page: u64, noticed: DriftNotice) {
        self.found.drifts.push(format!("{endpoint}, page {page}: {noticed}"));
    }
}

/// Decodes a datum to JSON by Apache's implementation, as an independent check of the encoder.
fn decoded(schema: &apache_avro::Schema, mut datum: &[u8]) -> Result<serde_json::Value, Fault> {
    let value = GenericDatumReader::builder(schema)
        .build()
        .and_then(|reader| reader.read_value(&mut datum))
        .map_err(|error| Fault::bug("reading back an encoded record", error))?;
    serde_json::Value::try_from(shown(value)).map_err(|error| Fault::bug("showing a record", error))
}

/// Replaces the numbers for which JSON has no word by their names.
fn shown(value: Value) -> Value {
    match value {
        Value::Float(number) if !number.is_finite() => Value::String(number.to_string()),
        Value::Double(number) if !number.is_finite() => Value::String(number.to_string()),
        Value::Union(at, value) => Value::Union(at, Box::new(shown(*value))),
        Value::Array(items) => Value::Array(items.into_iter().map(shown).collect()),
        Value::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, value)| (key, shown(value))).collect())
        }
        Value::Record(fields) => {
            Value::Record(fields.into_iter().map(|(name, value)| (name, shown(value))).collect())
        }
        value => value,
    }
}

/// Returns the fault of an API that did not answer.
fn unanswered(reason: String) -> Fault {
    let doing = "asking the API";
    // The operator mends a host's name and a certificate. The resolver's error has no kind of its own.
    if reason.contains("lookup address") {
        return Fault::user(doing, reason).with_hint("check the host in api.base_url");
    }
    if reason.contains("certificate") {
        return Fault::user(doing, reason)
            .with_hint("check api.base_url, and who has signed the API's certificate");
    }
    Fault::outage(doing, reason).with_hint("try again once it answers, or check api.base_url")
}

/// Turns a refusal into the fault that a command reports.
fn refused(refusal: PageRefusal) -> Fault {
    match refusal {
        PageRefusal::Stopped => Fault::outage("asking the API", "stopped"),
        PageRefusal::Later { reason, .. } => Fault::outage("asking the API", reason),
        PageRefusal::Dead(reason) => Fault::user("asking the API", reason),
        PageRefusal::Fatal(fault) => fault,
    }
}
