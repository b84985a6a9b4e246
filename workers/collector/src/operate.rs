//! What an operator asks between runs: is the file sound, what would be asked, how does it stand, who is dead, let the
//! dead try again.

use std::collections::BTreeMap;

use apache_avro::reader::datum::GenericDatumReader;
use sluice_core::{Fault, Outputs};
use sluice_kafka::admin::KafkaAdmin;
use sluice_lease::{BuriedId, JobClaims, SideTableState, StateCount};
use sluice_runtime::registry::SchemaRegistry;
use sluice_wire::framing;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::PagePosition;
use crate::client::PageRefusal;
use crate::config::CollectorConfig;
use crate::drift::DriftNotice;
use crate::incremental::IncrementalMarks;
use crate::job::CollectorJob;
use crate::process::LETTERS;
use crate::tape::AnswerTape;
use crate::walk::{PagePart, PageTaker, PageWalk, PageWalkHalt};

/// One page, or a part of a large one, of a trial.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TrialPage {
    /// Endpoint.
    pub endpoint: String,
    /// 0-based page.
    pub page: u64,
    /// Method, URL and body; without credentials.
    pub asked: String,
    /// Bytes of the body, decompressed.
    pub bytes: u64,
    /// Topic of its records.
    pub topic: String,
    /// Records that fit.
    pub records: u64,
    /// The first of them as they would stand in Kafka: the Avro datum, decoded again by another implementation.
    pub samples: Vec<serde_json::Value>,
    /// Why the others do not; no values.
    pub rejects: Vec<String>,
}

/// How much of an id is looked at.
#[derive(Debug, Clone)]
pub struct TrialOptions {
    /// Pages per endpoint.
    pub pages: u64,
    /// Records per page that are decoded.
    pub samples: usize,
    /// Where answers are kept, or come from.
    pub tape: Option<AnswerTape>,
}

/// What a trial found.
#[derive(Debug, Default, serde::Serialize)]
pub struct TrialReport {
    /// Page by page.
    pub pages: Vec<TrialPage>,
    /// Pages that were seen to move, and totals that are not true.
    pub drifts: Vec<String>,
    /// Why it ended before its end, if it did.
    pub stopped: Option<String>,
}

/// What a job's file says, after every check that needs no neighbour.
#[derive(Debug, serde::Serialize)]
pub struct JobCheckReport {
    /// Job.
    pub job: String,
    /// `transactional` or `idempotent`.
    pub mode: &'static str,
    /// Endpoints with their topics, in order.
    pub endpoints: Vec<CheckedEndpoint>,
    /// By name; only if they were asked.
    pub neighbours: BTreeMap<String, JobNeighbourReport>,
}

/// What a neighbour has or lacks.
#[derive(Debug, serde::Serialize)]
pub struct JobNeighbourReport {
    /// Has it what the job needs?
    pub ok: bool,
    /// In words.
    pub says: String,
}

/// One endpoint of a sound file.
#[derive(Debug, serde::Serialize)]
pub struct CheckedEndpoint {
    /// Name.
    pub name: String,
    /// What is asked for an id called `ID`.
    pub asks: String,
    /// Topic of its records.
    pub topic: String,
    /// Field that becomes the key.
    pub key: String,
    /// Topic of the records that do not fit.
    pub dead_letters: String,
}

/// Looks at a job's file: its contracts, their schemas, its requests. With `neighbours` also asks database, registry
/// and Kafka whether they have what the job needs.
///
/// # Errors
/// A [`Fault`] for what is wrong with the file itself.
pub async fn check(config: CollectorConfig, neighbours: bool) -> Result<JobCheckReport, Fault> {
    let job = CollectorJob::offline(config, None)?;
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
    let mut found = BTreeMap::new();
    if neighbours {
        let mut say = |name: &str, found_out: Result<String, Fault>| {
            let ok = found_out.is_ok();
            let says = found_out.unwrap_or_else(|fault| fault.to_string());
            found.insert(name.to_owned(), JobNeighbourReport { ok, says });
        };
        say("database", database(&job.config).await);
        say("registry", registry(&job).await);
        say("kafka", kafka(&job));
    }
    let mode = if job.config.transactional { "transactional" } else { "idempotent" };
    Ok(JobCheckReport { job: job.config.job.clone(), mode, endpoints, neighbours: found })
}

/// Asks for the first pages of one id and publishes nothing. Needs neither database nor registry nor Kafka.
///
/// # Errors
/// A [`Fault`] for a contract that is missing, credentials that are refused, or an API that is away.
pub async fn try_id(config: CollectorConfig, id: &str, trial: TrialOptions) -> Result<TrialReport, Fault> {
    let job = CollectorJob::offline(config, trial.tape)?;
    let stop = CancellationToken::new();
    let mut found = TrialReport::default();
    for nth in 0..job.config.endpoints.len() {
        let taker = TrialTaker { job: &job, found: &mut found, samples: trial.samples };
        let mut walk = PageWalk {
            job: &job,
            id,
            taker,
            stop: &stop,
            marks: IncrementalMarks::default(),
            part: 4 << 20,
            most: Some(trial.pages.max(1)),
        };
        let first = PagePosition::first(&job.config.endpoints[nth].name);
        match walk.only(nth, first).await {
            Ok(()) => {}
            Err(PageWalkHalt::Refused(PageRefusal::Dead(why) | PageRefusal::Later { reason: why, .. })) => {
                found.stopped = Some(format!("{}: {why}", job.config.endpoints[nth].name));
                break;
            }
            Err(PageWalkHalt::Refused(PageRefusal::Fatal(fault)) | PageWalkHalt::Fault(fault)) => {
                return Err(fault);
            }
            Err(
                PageWalkHalt::Refused(PageRefusal::Stopped)
                | PageWalkHalt::Lost
                | PageWalkHalt::Unknown
                | PageWalkHalt::Database(_),
            ) => break,
        }
    }
    Ok(found)
}

/// Ids by state, with what was done for them.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn status(config: &CollectorConfig) -> Result<Vec<StateCount>, Fault> {
    Ok(claims(config).await?.status().await?)
}

/// Ids that were given up, with the page they fail at and why; the first `most`.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn dead(config: &CollectorConfig, most: u32) -> Result<Vec<BuriedId>, Fault> {
    Ok(claims(config).await?.buried(most).await?)
}

/// Makes one dead id, or all, due again: from the page it failed at, or from its first page. Answers how many.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn retry(config: &CollectorConfig, id: Option<&str>, from_start: bool) -> Result<u64, Fault> {
    Ok(claims(config).await?.revive(id, from_start).await?)
}

/// The statements that make the side tables, for operators whose worker may not; those that bring an earlier version's up
/// to date come first, as comments.
///
/// # Errors
/// A [`Fault`] if the URL's scheme is not known.
pub fn migration(config: &CollectorConfig) -> Result<Vec<String>, Fault> {
    let dialect = sluice_lease::SqlDialect::of(&config.database.url)?;
    let older = dialect
        .upgrade()
        .iter()
        .map(|text| format!("/* once, if sluice_claims has no column due_said:\n{text} */"));
    Ok(older.chain(dialect.migration().iter().map(|&text| text.to_owned())).collect())
}

/// Makes the side tables unless they are there.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn migrate(config: &CollectorConfig) -> Result<(), Fault> {
    let claims = JobClaims::connect(&config.database.url, &config.job, 2).await?;
    Ok(claims.migrate().await?)
}

async fn claims(config: &CollectorConfig) -> Result<JobClaims, Fault> {
    Ok(JobClaims::connect(&config.database.url, &config.job, 2).await?)
}

async fn database(config: &CollectorConfig) -> Result<String, Fault> {
    let claims = claims(config).await?;
    let ids = claims.count(&config.database.source).await?;
    let table = match (claims.side_table().await?, config.database.migrate) {
        (SideTableState::There, _) => "sluice_claims is there",
        (SideTableState::Missing, true) => "sluice_claims will be made at the first run",
        (SideTableState::Older, true) => {
            "sluice_claims is of an earlier version; the next run brings it up to date"
        }
        (SideTableState::Missing, false) => {
            let why = "the table sluice_claims is not there; `sluice collector migrate` makes it";
            return Err(Fault::user("looking into the database", why));
        }
        (SideTableState::Older, false) => {
            let why = "the table sluice_claims is of an earlier version; `sluice collector migrate` brings it up to date";
            return Err(Fault::user("looking into the database", why));
        }
    };
    Ok(format!("{ids} ids in {}; {table}", config.database.source.table))
}

async fn registry(job: &CollectorJob) -> Result<String, Fault> {
    let registry = SchemaRegistry::new(&job.config.registry)?;
    for target in &job.targets {
        let subject = sluice_contract::value_subject(&target.topics.records);
        if registry.id_of(&subject, target.schema.json()).await?.is_none() {
            let why = "the contract's value schema is not registered; run `sluice apply`";
            return Err(Fault::user(format!("looking up {subject}"), why));
        }
    }
    Ok("has every schema".to_owned())
}

fn kafka(job: &CollectorJob) -> Result<String, Fault> {
    let admin = KafkaAdmin::new(&job.config.kafka)?;
    let names =
        |target: &crate::job::EndpointTarget| [target.topics.records.clone(), target.topics.letters.clone()];
    let wanted: Vec<String> = job.targets.iter().flat_map(names).collect();
    let there = admin.there(&wanted)?;
    let missing: Vec<&str> =
        wanted.iter().filter(|name| !there.contains_key(*name)).map(String::as_str).collect();
    match missing.is_empty() {
        true => Ok("has every topic".to_owned()),
        false => Err(Fault::user("looking for topics", format!("missing: {}", missing.join(", ")))),
    }
}

/// Shows what a walk reads.
struct TrialTaker<'t> {
    job: &'t CollectorJob,
    found: &'t mut TrialReport,
    samples: usize,
}

impl PageTaker for TrialTaker<'_> {
    async fn take(&mut self, part: PagePart<'_>, outputs: &mut Outputs) -> Result<(), PageWalkHalt> {
        let target = &self.job.targets[part.nth];
        let (letters, records): (Vec<_>, Vec<_>) = outputs.iter().partition(|record| record.route == LETTERS);
        let reason = |letter: &sluice_core::OutRecord<'_>| {
            let found = letter.headers().find(|header| header.name == "sluice.dlq.reason");
            let text = found.and_then(|header| header.value).unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
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

/// A datum as JSON, by Apache's implementation: another opinion than the one that wrote it.
fn decoded(schema: &apache_avro::Schema, mut datum: &[u8]) -> Result<serde_json::Value, Fault> {
    let value = GenericDatumReader::builder(schema)
        .build()
        .and_then(|reader| reader.read_value(&mut datum))
        .map_err(|error| Fault::bug("reading back an encoded record", error))?;
    serde_json::Value::try_from(value).map_err(|error| Fault::bug("showing a record", error))
}

fn refused(refusal: PageRefusal) -> Fault {
    match refusal {
        PageRefusal::Stopped => Fault::outage("asking the API", "stopped"),
        PageRefusal::Later { reason, .. } => Fault::outage("asking the API", reason),
        PageRefusal::Dead(reason) => Fault::user("asking the API", reason),
        PageRefusal::Fatal(fault) => fault,
    }
}
