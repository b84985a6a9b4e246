//! The normaliser's configuration: the raw form, and the checked one.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_runtime::config::{
    AdminSection, ConfigErrors, KafkaSection, LimitsSection, MemorySize, RegistrySection,
};
use sluice_runtime::contracts::{self, ContractFolderSnapshot};
use sluice_runtime::lane::LanePace;

/// The normaliser's configuration file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawNormaliserConfig {
    /// Kafka: `{brokers: "host:port"}`.
    #[schemars(description = "Kafka: {brokers: \"host:port\"}.")]
    pub kafka: KafkaSection,
    /// The schema registry: `{url: "http://…"}`.
    pub registry: RegistrySection,
    /// Folder of the contracts, `schemas/<domain>/<topic>/`.
    pub schemas: PathBuf,
    /// Admin pages.
    #[serde(default)]
    pub admin: AdminSection,
    /// Consumer group.
    #[serde(default = "group")]
    pub group: String,
    /// This process's name among the group's. A restart under the same name takes over at once; two at a time may not
    /// share one. Default: host name and process id.
    #[serde(default)]
    pub instance: Option<String>,
    /// Memory for buffers and batches.
    #[serde(default = "memory")]
    pub memory: MemorySize,
    /// Lanes: threads, each with a consumer and a producer of its own.
    #[serde(default = "lanes")]
    #[schemars(range(min = 1, max = 64))]
    pub lanes: usize,
    /// Longest time a record waits for its commit, in milliseconds.
    #[serde(default = "commit_ms")]
    #[schemars(range(min = 10, max = 5000))]
    pub commit_ms: u64,
    /// Where the worker stops by itself: dead letters, standing still, draining.
    #[serde(default)]
    pub limits: LimitsSection,
}

// Defaults of the fields above.
fn group() -> String {
    "normaliser".into()
}

fn memory() -> MemorySize {
    MemorySize::mib(128)
}

fn lanes() -> usize {
    1
}

fn commit_ms() -> u64 {
    250
}

/// The checked configuration, with the contracts that it names.
pub struct NormaliserConfig {
    /// The configuration file.
    pub raw: RawNormaliserConfig,
    /// The contracts of the file's folder.
    pub folder: ContractFolderSnapshot,
    /// This process's name, unique in the group.
    pub instance: String,
    /// The time of commits.
    pub pace: LanePace,
}

impl NormaliserConfig {
    /// Checks everything that the file's form does not: Kafka's properties and contracts.
    ///
    /// # Errors
    /// All mistakes at once, each with its setting and a hint.
    pub fn check(raw: RawNormaliserConfig) -> Result<Self, ConfigErrors> {
        // Each part is read although another one has failed, so that one start shows all mistakes.
        let mut errors = ConfigErrors::default();
        let mut note = |mut found: ConfigErrors| errors.0.append(&mut found.0);
        sluice_kafka::check_properties(&raw.kafka).unwrap_or_else(&mut note);
        let opened = contracts::open(&raw.schemas).map_err(&mut note).ok();
        let Some(folder) = opened else { return Err(errors) };

        // A normaliser without facts would run for ever and read nothing.
        if !folder.contracts.iter().any(|contract| contract.facts.is_some()) {
            errors.add(
                "schemas",
                "no contract asks for facts",
                Some("add the custom property `facts` to a contract".into()),
            );
        }

        // Defaults that depend on the machine.
        let instance = raw.instance.clone().unwrap_or_else(sluice_runtime::config::default_instance);
        let pace =
            LanePace { interval: std::time::Duration::from_millis(raw.commit_ms), ..LanePace::default() };
        errors.or(Self { raw, folder, instance, pace })
    }
}
