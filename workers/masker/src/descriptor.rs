//! The masker's descriptor.

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

use crate::config::{MaskerConfig, RawMaskerConfig};
use crate::process::MaskerProcessor;

/// The masker's use of Kafka. Each lane has a transactional id of its own, `<group>-masker-<lane>`.
pub const ACCESS: WorkerAccess = WorkerAccess {
    name: "masker",
    reads,
    writes,
    groups: |group| vec![NamePattern::literal(group)],
    transactional_ids: |group| vec![NamePattern::prefix(transactional_id(group, "masker", ""))],
    own_topics: &[],
    replays: true,
};

/// The masker.
pub static DESCRIPTOR: WorkerDescriptor = WorkerDescriptor {
    access: ACCESS,
    summary: "Mask raw topics by their contracts' policies",
    neighbours: &["kafka", "registry"],
    once: false,
    config_schema: config::schema::<RawMaskerConfig>,
    run,
    replay: Some(ReplaySupport {
        load: load_offline,
        archive_refusal: Some(
            "the archive keeps no keys, and masked records would lose theirs; the masker reads from its topic alone",
        ),
    }),
};

/// Returns the raw topic.
pub(crate) fn reads(contract: &Contract) -> Vec<String> {
    vec![contract.raw_topic.clone()]
}

/// Returns the masked topic.
pub(crate) fn writes(contract: &Contract) -> Vec<String> {
    vec![contract.masked_topic.clone()]
}

/// Runs the masker with the configuration at `file`.
fn run(file: &Path, _: WorkerRunOptions) -> Result<(), WorkerError> {
    let config = MaskerConfig::check(config::load(file)?)?;
    let (admin, drain) = (config.raw.admin.clone(), config.raw.limits.drain());
    process::run(&DESCRIPTOR, &admin, drain, TokioThreads::Two, |status, stop| {
        crate::run(config, status, stop)
    })?;
    Ok(())
}

/// Prepares the masker for a replay with the live worker's configuration at `file`.
fn load_offline(file: &Path) -> Result<OfflineWorker, WorkerError> {
    let config = MaskerConfig::check(config::load(file)?)?;
    // A pseudonym must be the live worker's, so the keys are read too.
    let masker = MaskerProcessor::new(&config.folder.contracts.select(&config.selection), &config.keys)
        .map_err(|error| Fault::user("preparing the masks", error))?;

    let raw = config.raw;
    Ok(OfflineWorker {
        topics: masker.topics(),
        processor: Box::new(masker),
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
