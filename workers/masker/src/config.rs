//! The masker's configuration: the raw form, and the checked one.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_contract::{ContractSelection, KeyRing};
use sluice_core::names::selecting_instance;
use sluice_runtime::config::{
    AdminSection, ConfigErrors, KafkaSection, LimitsSection, MemorySize, RegistrySection, check_neighbours,
};
use sluice_runtime::contracts::{self, ContractFolderSnapshot, KeysSection};
use sluice_runtime::lane::LanePace;

/// The masker's configuration file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMaskerConfig {
    /// Kafka: `{brokers: "host:port"}`.
    #[schemars(description = "Kafka: {brokers: \"host:port\"}.")]
    pub kafka: KafkaSection,
    /// The schema registry: `{url: "http://…"}`.
    pub registry: RegistrySection,
    /// Folder of the contracts, `schemas/<domain>/<topic>/`.
    pub schemas: PathBuf,
    /// Contracts to serve, each `<domain>/<topic folder>`, for example `shop/order` or `shop/*`. Left out or empty: all of
    /// them. Workers of one group with different contracts share the group: a contract that moves goes on where it was.
    #[serde(default)]
    pub contracts: Vec<String>,
    /// Masking keys: `{name: {epoch: {file: path}}}`, base64 of at least 32 bytes.
    pub keys: KeysSection,
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
    "masker".into()
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

/// The checked configuration, with the contracts and keys that it names.
pub struct MaskerConfig {
    /// The configuration file.
    pub raw: RawMaskerConfig,
    /// The contracts of the file's folder.
    pub folder: ContractFolderSnapshot,
    /// The masking keys of the file.
    pub keys: KeyRing,
    /// The contracts of the folder that are served.
    pub selection: ContractSelection,
    /// This process's name, unique in the group.
    pub instance: String,
    /// The time of commits.
    pub pace: LanePace,
}

impl MaskerConfig {
    /// Checks everything that the file's form does not: Kafka's properties, contracts, keys.
    ///
    /// # Errors
    /// All mistakes at once, each with its setting and a hint.
    pub fn check(raw: RawMaskerConfig) -> Result<Self, ConfigErrors> {
        // Each part is read although another one has failed, so that one start shows all mistakes.
        let mut errors = ConfigErrors::default();
        let mut note = |mut found: ConfigErrors| errors.0.append(&mut found.0);
        check_neighbours(&raw.kafka, &raw.registry).unwrap_or_else(&mut note);
        let keys = contracts::keys(&raw.keys).map_err(&mut note).ok();
        let opened = contracts::open(&raw.schemas).map_err(&mut note).ok();
        let (Some(keys), Some(folder)) = (keys, opened) else { return Err(errors) };

        // Every key that a served contract names must be in the ring. A missing one would stop the worker at a record.
        let selection =
            contracts::selection(&raw.contracts, &folder.contracts).unwrap_or_else(|mut found| {
                errors.0.append(&mut found.0);
                ContractSelection::default()
            });
        for contract in folder.contracts.served().filter(|contract| selection.covers(contract)) {
            if let Err(error) = contract.policy(&keys) {
                errors.add(
                    format!("{} (keys)", contract.folder),
                    error.to_string(),
                    Some("add the key under `keys`".into()),
                );
            }
        }

        // Defaults that depend on the machine.
        let instance = raw.instance.clone().unwrap_or_else(sluice_runtime::config::default_instance);
        let instance = selecting_instance(&instance, &selection.patterns());
        let pace =
            LanePace { interval: std::time::Duration::from_millis(raw.commit_ms), ..LanePace::default() };
        errors.or(Self { raw, folder, keys, selection, instance, pace })
    }
}
