//! The descriptor of a worker: its name, its configuration, its use of Kafka, its neighbours, its start and its
//! replay.
//!
//! Each worker's crate has one, and the binary has one list of them. Commands, `--help`, permissions, the
//! catalogue, `replay` and the chart's check are derived from the list. The Kafka resources are a part of their own, [`WorkerAccess`],
//! which the plan takes without the worker's code.

use std::path::Path;

use sluice_contract::WorkerAccess;
use sluice_core::{Domain, Fault, Processor, Retry};

use crate::config::{ConfigErrors, RegistrySection};
use crate::replay::ReplayConfig;

/// A worker as the binary knows it.
#[derive(Debug)]
pub struct WorkerDescriptor {
    /// Name, topics, consumer groups and transactional ids.
    pub access: WorkerAccess,
    /// One line for `--help`, without a full stop.
    pub summary: &'static str,
    /// Names of the neighbours that must answer before the worker is ready, for example `kafka`.
    pub neighbours: &'static [&'static str],
    /// True if the worker can end by itself when nothing is left to do (`--once`).
    pub once: bool,
    /// Returns the JSON schema of the configuration file.
    pub config_schema: fn() -> serde_json::Value,
    /// Reads the configuration file at the path and runs the worker to its end. Blocks, and must not be called
    /// inside a tokio runtime.
    pub run: fn(&Path, WorkerRunOptions) -> Result<(), WorkerError>,
    /// How single records are handled again outside of a lane, if the worker can do that. Set exactly if
    /// [`WorkerAccess::replays`] is.
    pub replay: Option<ReplaySupport>,
}

/// A worker's part in `sluice replay` and `sluice dead-letters replay`.
#[derive(Debug, Clone, Copy)]
pub struct ReplaySupport {
    /// Reads the live worker's configuration file. Nothing is started.
    pub load: fn(&Path) -> Result<OfflineWorker, WorkerError>,
    /// The reason why the worker cannot handle records of an archive, if it cannot.
    pub archive_refusal: Option<&'static str>,
}

/// A worker's code and settings, without its lanes.
pub struct OfflineWorker {
    /// The live worker's settings.
    pub config: ReplayConfig,
    /// The worker's transform.
    pub processor: Box<dyn Processor>,
    /// The topics that the worker reads.
    pub topics: Vec<String>,
    /// The live worker's registry.
    pub registry: RegistrySection,
}

/// The options of a run that are on the command line and not in the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkerRunOptions {
    /// End when nothing is left to do. Only for a worker whose descriptor has `once`.
    pub once: bool,
}

/// The reason why a worker did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The configuration has mistakes. The worker was not started.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The worker ended with a fault.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What someone has to look at after a worker has ended well, as sentences. Its exit code is 1.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct WorkerFindings(pub Vec<String>);

impl WorkerFindings {
    /// Returns the fault with which the worker ends. No retry changes it.
    pub fn into_fault(self, doing: &str) -> Fault {
        Fault::new(Domain::User, Retry::Never, doing, self)
    }
}
