//! The sink's descriptor.

use std::path::Path;

use sluice_contract::{Contract, WorkerAccess};
use sluice_core::names::{NamePattern, store_group};
use sluice_runtime::config;
use sluice_runtime::descriptor::{WorkerDescriptor, WorkerError, WorkerRunOptions};
use sluice_runtime::process::{self, TokioThreads};

use crate::config::SinkConfig;
use crate::run::{check_topics, run};

/// The sink's use of Kafka. Each store has a group of its own, `<group>-<store>`, and transactional ids that
/// begin with it.
pub const ACCESS: WorkerAccess = WorkerAccess {
    name: "sink",
    reads,
    writes: |_| vec![],
    groups: |group| vec![NamePattern::prefix(store_group(group, ""))],
    transactional_ids: |group| vec![NamePattern::prefix(store_group(group, ""))],
    own_topics: &[],
    replays: false,
};

/// The sink.
pub static DESCRIPTOR: WorkerDescriptor = WorkerDescriptor {
    access: ACCESS,
    summary: "Land topics in the archive and the warehouse",
    neighbours: &["kafka", "registry"],
    once: false,
    config_schema: config::schema::<SinkConfig>,
    run: run_process,
    replay: None,
};

/// Returns the masked topic, and the facts topic if the contract has one.
pub(crate) fn reads(contract: &Contract) -> Vec<String> {
    let facts = contract.facts.as_ref().map(|facts| facts.topic.clone());
    std::iter::once(contract.masked_topic.clone()).chain(facts).collect()
}

/// Runs the sink with the configuration at `file`.
fn run_process(file: &Path, _: WorkerRunOptions) -> Result<(), WorkerError> {
    let config: SinkConfig = config::load(file)?;
    let landing = check_topics(&config)?;

    // The allocator's arenas are set before the first thread starts.
    sluice_kafka::limit_arenas();
    let (admin, drain) = (config.admin.clone(), config.limits.drain());
    process::run(&DESCRIPTOR, &admin, drain, TokioThreads::Two, |status, stop| {
        run(config, landing, status, stop)
    })?;
    Ok(())
}
