//! The normaliser's descriptor.

use std::path::Path;

use sluice_contract::{Contract, WorkerAccess};
use sluice_core::Fault;
use sluice_core::names::{NamePattern, transactional_id};
use sluice_runtime::config;
use sluice_runtime::descriptor::{
    OfflineWorker, ReplaySupport, WorkerDescriptor, WorkerError, WorkerRunOptions,
};
use sluice_runtime::process::{self, TokioThreads};
use sluice_runtime::replay::ReplayConfig;

use crate::config::{NormaliserConfig, RawNormaliserConfig};
use crate::process::NormaliserProcessor;

/// The normaliser's use of Kafka. Each lane has a transactional id of its own, `<group>-normaliser-<lane>`.
pub const ACCESS: WorkerAccess = WorkerAccess {
    name: "normaliser",
    reads,
    writes,
    groups: |group| vec![NamePattern::literal(group)],
    transactional_ids: |group| vec![NamePattern::prefix(transactional_id(group, "normaliser", ""))],
    own_topics: &[],
    replays: true,
};

/// The normaliser.
pub static DESCRIPTOR: WorkerDescriptor = WorkerDescriptor {
    access: ACCESS,
    summary: "Turn masked records into atomic facts",
    neighbours: &["kafka", "registry"],
    once: false,
    config_schema: config::schema::<RawNormaliserConfig>,
    run,
    replay: Some(ReplaySupport { load: load_offline, archive_refusal: None }),
};

/// Returns the masked topic of a contract with facts. A contract without facts does not concern the
/// normaliser.
pub(crate) fn reads(contract: &Contract) -> Vec<String> {
    contract.facts.iter().map(|_| contract.masked_topic.clone()).collect()
}

/// Returns the facts topic, if the contract has one.
pub(crate) fn writes(contract: &Contract) -> Vec<String> {
    contract.facts.iter().map(|facts| facts.topic.clone()).collect()
}

/// Runs the normaliser with the configuration at `file`.
fn run(file: &Path, _: WorkerRunOptions) -> Result<(), WorkerError> {
    let config = NormaliserConfig::check(config::load(file)?)?;
    let (admin, drain) = (config.raw.admin.clone(), config.raw.limits.drain());
    process::run(&DESCRIPTOR, &admin, drain, TokioThreads::Two, |status, stop| {
        crate::run(config, status, stop)
    })?;
    Ok(())
}

/// Prepares the normaliser for a replay with the live worker's configuration at `file`.
fn load_offline(file: &Path) -> Result<OfflineWorker, WorkerError> {
    let config = NormaliserConfig::check(config::load(file)?)?;
    let normaliser = NormaliserProcessor::new(&config.folder.contracts.select(&config.selection))
        .map_err(|error| Fault::user("preparing the facts", error))?;

    let raw = config.raw;
    Ok(OfflineWorker {
        topics: normaliser.topics(),
        processor: Box::new(normaliser),
        registry: raw.registry,
        config: ReplayConfig {
            worker: ACCESS.name,
            kafka: raw.kafka,
            group: raw.group,
            instance: config.instance,
            memory: raw.memory.bytes(),
            limits: raw.limits.dead_letters.into(),
        },
    })
}
