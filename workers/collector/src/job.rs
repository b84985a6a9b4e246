//! What all tasks of a session share, made once from the configuration, the contracts and the registry.

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
use crate::process::PageReader;
use crate::publisher::EndpointTopics;
use crate::tape::AnswerTape;

/// A job, ready to ask and to publish.
pub(crate) struct CollectorJob {
    pub(crate) config: CollectorConfig,
    pub(crate) api: ApiClient,
    pub(crate) targets: Vec<EndpointTarget>,
}

/// Where an endpoint's records go, and how they are read.
pub(crate) struct EndpointTarget {
    pub(crate) topics: Arc<EndpointTopics>,
    pub(crate) schema: DatumSchema,
    schema_id: SchemaId,
    pub(crate) record_key: String,
    /// Readers that no task uses at the moment: as many as ever read at once.
    idle: Mutex<Vec<PageReader>>,
}

/// An endpoint's contract before the registry was asked.
struct EndpointContract {
    topic: String,
    schema: DatumSchema,
    record_key: String,
}

impl CollectorJob {
    /// Compiles everything; waits for the registry for as long as it is away.
    pub(crate) async fn new(
        config: CollectorConfig,
        status: &WorkerStatus,
        stop: &CancellationToken,
    ) -> Result<Self, Fault> {
        let api = ApiClient::new(&config)?;
        let wanted = contracts(&config).map_err(|errors| Fault::user("reading the contracts", errors))?;
        let registry = SchemaRegistry::new(&config.registry)?;
        let mut targets = Vec::new();
        for EndpointContract { topic, schema, record_key } in wanted {
            let subject = sluice_contract::value_subject(&topic);
            let found =
                until_answered("registry", status, stop, || registry.id_of(&subject, schema.json())).await?;
            let schema_id = found.ok_or_else(|| {
                let why = "the contract's value schema is not registered; run `sluice apply`";
                Fault::user(format!("looking up {subject}"), why)
            })?;
            let topics =
                EndpointTopics { letters: sluice_contract::dead_letter_topic(&topic), records: topic };
            targets.push(EndpointTarget::new(topics, schema, schema_id, record_key));
        }
        let job = Self { config, api, targets };
        for nth in 0..job.targets.len() {
            // A schema that cannot be read from JSON is said now, not at the first page.
            job.give_back(nth, job.reader(nth)?);
        }
        Ok(job)
    }

    /// The same without a registry, for looking at records that are not published.
    pub(crate) fn offline(config: CollectorConfig, tape: Option<AnswerTape>) -> Result<Self, Fault> {
        let mut api = ApiClient::new(&config)?;
        if let Some(tape) = tape {
            api = api.taped(tape);
        }
        // Nobody else is asked about limits: one id, one request at a time.
        api.polite().alone();
        let wanted = contracts(&config).map_err(|errors| Fault::user("reading the contracts", errors))?;
        let target = |EndpointContract { topic, schema, record_key }| {
            let topics =
                EndpointTopics { letters: sluice_contract::dead_letter_topic(&topic), records: topic };
            EndpointTarget::new(topics, schema, SchemaId(0), record_key)
        };
        Ok(Self { config, api, targets: wanted.into_iter().map(target).collect() })
    }

    /// A reader of the `nth` endpoint's pages.
    pub(crate) fn reader(&self, nth: usize) -> Result<PageReader, Fault> {
        let target = &self.targets[nth];
        if let Some(reader) = target.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(reader);
        }
        let look = &self.config.endpoints[nth].look;
        PageReader::compile(look, &target.schema, target.schema_id, &target.record_key)
            .map_err(|error| Fault::user(format!("compiling the schema of {}", target.topics.records), error))
    }

    pub(crate) fn give_back(&self, nth: usize, reader: PageReader) {
        self.targets[nth].idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    }
}

impl EndpointTarget {
    fn new(topics: EndpointTopics, schema: DatumSchema, schema_id: SchemaId, record_key: String) -> Self {
        Self { topics: Arc::new(topics), schema, schema_id, record_key, idle: Mutex::new(Vec::new()) }
    }
}

fn contracts(config: &CollectorConfig) -> Result<Vec<EndpointContract>, ConfigErrors> {
    let contracts: ContractSet = sluice_runtime::contracts::load(&config.schemas)?;
    let mut errors = ConfigErrors::default();
    let mut wanted = Vec::new();
    for (nth, endpoint) in config.endpoints.iter().enumerate() {
        match contracts.iter().find(|contract| contract.raw_topic == endpoint.topic) {
            Some(contract) => match contract.record_key.leaf() {
                Some(leaf) => wanted.push(EndpointContract {
                    topic: endpoint.topic.clone(),
                    schema: contract.value.clone(),
                    record_key: leaf.to_owned(),
                }),
                None => {
                    let message =
                        "its contract has a key.avsc; a collector writes keys that are the text of a leaf";
                    let hint = "say `recordKey` in the contract instead of key.avsc".to_owned();
                    errors.add(format!("endpoints[{nth}].topic"), message, Some(hint));
                }
            },
            None => {
                let known: Vec<_> = contracts.iter().map(|contract| contract.raw_topic.as_str()).collect();
                let hint = format!("contracts are there for: {}", known.join(", "));
                errors.add(format!("endpoints[{nth}].topic"), "has no contract", Some(hint));
            }
        }
    }
    errors.or(wanted)
}
