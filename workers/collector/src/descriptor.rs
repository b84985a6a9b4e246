//! The collector's descriptor.

use std::io::IsTerminal as _;
use std::path::Path;

use sluice_contract::WorkerAccess;
use sluice_core::names::{COLLECTOR_TOPICS, NamePattern};
use sluice_runtime::config;
use sluice_runtime::descriptor::{WorkerDescriptor, WorkerError, WorkerFindings, WorkerRunOptions};
use sluice_runtime::process::{self, TokioThreads};

use crate::config::{CollectorConfig, RawCollectorConfig};
use crate::run::{RunOptions, run};

/// The collector's use of Kafka. It reads no contract's topic in a group, but its own checkpoints.
pub const ACCESS: WorkerAccess = WorkerAccess {
    name: "collector",
    reads: |_| vec![],
    writes: |contract| vec![contract.raw_topic.clone()],
    groups: |_| vec![],
    transactional_ids: |group| vec![NamePattern::prefix(format!("{group}-"))],
    own_topics: &[COLLECTOR_TOPICS],
    replays: false,
};

/// The collector.
pub static DESCRIPTOR: WorkerDescriptor = WorkerDescriptor {
    access: ACCESS,
    summary: "Take ids from a database, ask an API for each, page by page, publish every record",
    neighbours: &["kafka", "registry", "database"],
    once: true,
    config_schema: config::schema::<RawCollectorConfig>,
    run: run_process,
    replay: None,
};

/// Runs the job at `file` and prints its summary.
fn run_process(file: &Path, options: WorkerRunOptions) -> Result<(), WorkerError> {
    let config = CollectorConfig::load(file)?;
    let (admin, drain) = (config.admin().clone(), config.limits.drain());
    let options = RunOptions { once: options.once, progress: std::io::stderr().is_terminal() };
    process::run(&DESCRIPTOR, &admin, drain, TokioThreads::One, |status, stop| async move {
        let summary = run(config, options, status, stop).await?;
        println!("{summary}");
        // A run that ends by itself has somebody who looks at its exit code.
        match options.once && !summary.findings.is_empty() {
            true => Err(WorkerFindings(summary.findings).into_fault("collecting")),
            false => Ok(()),
        }
    })?;
    Ok(())
}
