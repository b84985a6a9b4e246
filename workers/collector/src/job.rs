//! The parts that all tasks of a session share. They are made once, from the configuration, the contracts and
//! the registry.

use std::sync::{Arc, Mutex, PoisonError};

use sluice_contract::ContractSet;
use sluice_core::{Fault, SchemaId};
use sluice_runtime::config::ConfigErrors;
use sluice_runtime::registry::SchemaRegistry;
use sluice_runtime::retry::until_answered;
use sluice_runtime::status::WorkerStatus;
use sluice_wire::DatumSchema;
use tokio_util::sync::CancellationToken;

use crate::client::ApiClient;
use crate::config::CollectorConfig;
use crate::page::PageValues;
use crate::process::PageReader;
use crate::publisher::EndpointTopics;
use crate::sightings::PathSightings;
use crate::tape::AnswerTape;

/// A job, ready to send requests and to publish.
pub(crate) struct CollectorJob {
    pub(crate) config: CollectorConfig,
    pub(crate) api: ApiClient,
    /// In the order of the configuration's endpoints.
    pub(crate) targets: Vec<EndpointTarget>,
}

/// The topics of an endpoint's records, and the means to read its pages.
pub(crate) struct EndpointTarget {
    pub(crate) topics: Arc<EndpointTopics>,
    pub(crate) schema: DatumSchema,
    schema_id: SchemaId,
    pub(crate) record_key: String,
    /// Readers that no task uses at the moment. There are as many readers as were ever in use at once.
    idle: Mutex<Vec<PageReader>>,
    sightings: Mutex<PathSightings>,
}

/// An endpoint's contract, before the registry is asked for the schema's id.
struct EndpointContract {
    topic: String,
    schema: DatumSchema,
    record_key: String,
}

impl CollectorJob {
    /// Compiles everything. Waits while the registry is away.
    ///
    /// # Errors
    /// A fault of the operator for a missing contract, an unregistered schema, or a schema that cannot be
    /// read from JSON.
    pub(crate) async fn new(
        config: CollectorConfig,
        status: &WorkerStatus,
        stop: &CancellationToken,
    ) -> Result<Self, Fault> {
        let api = ApiClient::new(&config)?;

        // Mistakes in files come before any neighbour is asked.
        let wanted = contracts(&config).map_err(|errors| Fault::user("reading the contracts", errors))?;

        // The registry gives the schema ids for the framing of the records.
        let registry = SchemaRegistry::new(&config.registry)?;
        let mut targets = Vec::new();
        for EndpointContract { topic, schema, record_key } in wanted {
            let subject = sluice_contract::value_subject(&topic);
            let found =
                until_answered("registry", status, stop, || registry.id_of(&subject, schema.json())).await?;
            let schema_id = found.ok_or_else(|| {
                let why = "expected the contract's value schema, which is not registered; run `sluice apply`";
                Fault::user(format!("looking up {subject} in the registry"), why)
            })?;
            let topics =
                EndpointTopics { letters: sluice_contract::dead_letter_topic(&topic), records: topic };
            targets.push(EndpointTarget::new(topics, schema, schema_id, record_key));
        }

        // One reader per endpoint is made for a start.
        let job = Self { config, api, targets };
        for nth in 0..job.targets.len() {
            // Compiled now, so that a schema that cannot be read from JSON is reported before the first page.
            job.give_back(nth, job.reader(nth)?);
        }
        Ok(job)
    }

    /// Makes the job without a registry, for looking at records that are not published.
    ///
    /// # Errors
    /// A fault of the operator for a missing contract.
    pub(crate) fn offline(config: CollectorConfig, tape: Option<AnswerTape>) -> Result<Self, Fault> {
        let mut api = ApiClient::new(&config)?;
        // With a tape the answers are kept, or come from it instead of the API.
        if let Some(tape) = tape {
            api = api.taped(tape);
        }
        // Budgets are not shared here: one id, one request at a time.
        api.polite().alone();

        // The framing gets schema id 0, because the records are only shown.
        let wanted = contracts(&config).map_err(|errors| Fault::user("reading the contracts", errors))?;
        let target = |EndpointContract { topic, schema, record_key }| {
            let topics =
                EndpointTopics { letters: sluice_contract::dead_letter_topic(&topic), records: topic };
            EndpointTarget::new(topics, schema, SchemaId(0), record_key)
        };
        Ok(Self { config, api, targets: wanted.into_iter().map(target).collect() })
    }

    /// Returns a reader of the `nth` endpoint's pages: an idle one, or a new one.
    ///
    /// # Errors
    /// A fault of the operator if the schema cannot be read from JSON.
    pub(crate) fn reader(&self, nth: usize) -> Result<PageReader, Fault> {
        let target = &self.targets[nth];
        if let Some(reader) = target.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(reader);
        }
        let look = &self.config.endpoints[nth].look;
        PageReader::compile(look, &target.schema, target.schema_id, &target.record_key)
            .map_err(|error| Fault::user(format!("compiling the schema of {}", target.topics.records), error))
    }

    /// Returns a sentence for each path of an endpoint that none of its pages had.
    pub(crate) fn unseen_paths(&self, nth: usize) -> Vec<String> {
        let endpoint = &self.config.endpoints[nth];
        let sightings = self.targets[nth].sightings.lock().unwrap_or_else(PoisonError::into_inner);
        sightings.report(&endpoint.name, &endpoint.look.paths)
    }

    /// Returns the name of an id in dead letters, if it is not the id itself: 32 hexadecimal digits of HMAC-SHA-256.
    pub(crate) fn pseudonym(&self, id: &str) -> Option<String> {
        let secret = self.config.database.pseudonym.as_deref()?;
        Some(crate::auth::pseudonym(secret.as_bytes(), id))
    }

    /// Gives a reader back for the next page.
    pub(crate) fn give_back(&self, nth: usize, reader: PageReader) {
        self.targets[nth].idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    }
}

impl EndpointTarget {
    /// Notes the paths that a page had.
    pub(crate) fn note(&self, values: &PageValues) {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner).note(values);
    }

    /// Returns a target without readers.
    fn new(topics: EndpointTopics, schema: DatumSchema, schema_id: SchemaId, record_key: String) -> Self {
        Self {
            topics: Arc::new(topics),
            schema,
            schema_id,
            record_key,
            idle: Mutex::new(Vec::new()),
            sightings: Mutex::default(),
        }
    }
}

/// Returns the contract of each endpoint, in their order. Every mistake is reported, not only the first.
fn contracts(config: &CollectorConfig) -> Result<Vec<EndpointContract>, ConfigErrors> {
    let contracts: ContractSet = sluice_runtime::contracts::load(&config.schemas)?;
    let mut errors = ConfigErrors::default();
    let mut wanted = Vec::new();

    // An endpoint needs a contract whose record key is a leaf.
    for (nth, endpoint) in config.endpoints.iter().enumerate() {
        match contracts.iter().find(|contract| contract.raw_topic == endpoint.topic) {
            // A draft's topic does not exist, or is not kept up.
            Some(contract) if contract.is_draft() => {
                let message = "expected a contract that is served, found one with `status: draft`";
                let hint = format!("set `status: active` in {} and run `sluice apply`", contract.file());
                errors.add(format!("endpoints[{nth}].topic"), message, Some(hint));
            }
            // The record's key in Kafka is the text of one leaf of its value.
            Some(contract) => match contract.record_key.leaf() {
                Some(leaf) => wanted.push(EndpointContract {
                    topic: endpoint.topic.clone(),
                    schema: contract.value.clone(),
                    record_key: leaf.to_owned(),
                }),
                None => {
                    let message = "expected a contract whose `recordKey` is a leaf";
                    let hint = "name a leaf instead of key.avsc, `none` or a decision: a collector writes a \
                                leaf's text as key"
                        .to_owned();
                    errors.add(format!("endpoints[{nth}].topic"), message, Some(hint));
                }
            },
            None => {
                // The list of raw topics shows a misspelt name at once.
                let known: Vec<_> = contracts.iter().map(|contract| contract.raw_topic.as_str()).collect();
                let hint = format!("there are contracts for: {}", known.join(", "));
                errors.add(format!("endpoints[{nth}].topic"), "expected a topic with a contract", Some(hint));
            }
        }
    }

    errors.or(wanted)
}
