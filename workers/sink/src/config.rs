//! The sink's configuration: the topics that it reads and the stores that take their records.
//!
//! ```yaml
//! kafka: {brokers: "localhost:9092"}
//! registry: {url: "http://localhost:8081"}
//! group: lake
//! topics: [aviation.flight.masked.v1]      # left out: every masked and every facts topic of the contracts
//! stores:
//!   - archive: {path: /data/archive}
//!   - delta: {path: /data/lake}
//! ```

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_core::Fault;
use sluice_core::Store;
use sluice_location::{Location, LocationError};
use sluice_runtime::config::{
    AdminSection, ConfigErrors, KafkaSection, LimitsSection, MemorySize, RegistrySection,
};
use sluice_runtime::lane::LanePace;
use tokio::runtime::Handle;

use sluice_archive::ArchiveStore;
use sluice_delta::{CHECKPOINT_EVERY, DeltaStore, FileCodec};

/// The smallest batch worth a file.
const LEAST_BATCH: usize = 64 << 10;

/// Configuration of a sink worker.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// Kafka: brokers and client properties.
    pub kafka: KafkaSection,
    /// The registry that has the writers' schemas.
    pub registry: RegistrySection,
    /// Folder of contracts.
    #[serde(default = "default_schemas")]
    pub schemas: PathBuf,
    /// The address of health, metrics and status.
    #[serde(default)]
    pub admin: AdminSection,
    /// Consumer group. Each store reads as a group of its own, `<group>-<store>`.
    pub group: String,
    /// The process's memory. All buffers are sized from it.
    #[serde(default = "default_memory")]
    pub memory: MemorySize,
    /// Topics to land. Left out or empty: every masked topic and every facts topic of the contracts.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Stores that take the records. At most one store of a kind.
    pub stores: Vec<StoreConfig>,
    /// Seconds after which waiting records are written, even if there are few.
    #[serde(default = "default_flush_seconds")]
    pub flush_seconds: u64,
    /// Bytes of waiting records, with the bytes that a store keeps beside each, after which it writes.
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes: MemorySize,
    /// Waiting records after which a store writes.
    #[serde(default = "default_batch_records")]
    pub batch_records: u64,
    /// This process's name in the group. A restart under the same name takes over at once. Two processes may
    /// not have the same name at the same time. Default: host name and process id.
    #[serde(default)]
    pub instance: Option<String>,
    /// Limits at which the worker stops by itself: dead letters, a stuck partition, draining.
    #[serde(default)]
    pub limits: LimitsSection,
}

/// One store, with its kind as the key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StoreConfig {
    /// Avro container objects: the master copy.
    Archive(ArchiveSection),
    /// Delta tables: the embedded warehouse.
    Delta(DeltaSection),
}

/// An archive of Avro container objects.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveSection {
    /// Folder of the archive. It is created if it does not exist.
    pub path: PathBuf,
    /// Compression of the blocks.
    #[serde(default)]
    pub codec: BlockCodec,
}

/// Compression of an archive's blocks. All readers of Avro know `deflate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockCodec {
    /// Zstandard.
    #[default]
    Zstandard,
    /// Deflate.
    Deflate,
    /// Snappy.
    Snappy,
}

/// A lake of Delta tables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeltaSection {
    /// Folder of the lake. It is created if it does not exist.
    pub path: PathBuf,
    /// Compression of the Parquet files.
    #[serde(default)]
    pub codec: TableCodec,
    /// Number of commits between two checkpoints of a table's log.
    #[serde(default = "default_checkpoint_every")]
    pub checkpoint_every: u64,
}

/// Compression of a table's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TableCodec {
    /// Zstandard.
    #[default]
    Zstd,
    /// Snappy.
    Snappy,
}

fn default_schemas() -> PathBuf {
    "schemas".into()
}

// The buffers of both stores and of the Kafka client share this: `validate` compares `batch_bytes` with it.
fn default_memory() -> MemorySize {
    MemorySize::mib(192)
}

// A table is at most this old. A shorter time makes more and smaller files.
fn default_flush_seconds() -> u64 {
    10
}

// Less than an eighth of the default memory.
fn default_batch_bytes() -> MemorySize {
    MemorySize::mib(16)
}

// Reached only by records of a few bytes. All others reach `batch_bytes` before.
fn default_batch_records() -> u64 {
    500_000
}

fn default_checkpoint_every() -> u64 {
    CHECKPOINT_EVERY
}

impl SinkConfig {
    /// Checks the rules that the types alone cannot check, and finds all mistakes at once.
    ///
    /// # Errors
    /// Fails with [`ConfigErrors`]: a path and a hint for each mistake.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut wrong =
            |path: &str, message: &str, hint: &str| errors.add(path, message, Some(hint.to_owned()));

        // The group and at least one store. Without a store the sink would have no lane.
        if self.group.trim().is_empty() {
            wrong(
                "group",
                "is empty: expected the name of a consumer group",
                "give the sink a group of its own, for example `lake`",
            );
        }
        if self.stores.is_empty() {
            wrong(
                "stores",
                "is empty: expected at least one store",
                "add `- archive: {path: …}` or `- delta: {path: …}`",
            );
        }

        // Stores of one kind would share a consumer group, because a store's group is named after its kind.
        for (index, store) in self.stores.iter().enumerate() {
            if self.stores.iter().take(index).any(|earlier| earlier.kind() == store.kind()) {
                let message = format!("a second store of the kind `{}`: expected one", store.kind());
                wrong(
                    &format!("stores[{index}]"),
                    &message,
                    "start another sink worker with a group of its own",
                );
            }
            if let Err(message) = store.folder() {
                wrong(
                    &format!("stores[{index}].{}.path", store.kind()),
                    &message,
                    "for example `/data/archive`",
                );
            }
            if let StoreConfig::Delta(DeltaSection { checkpoint_every: 0, .. }) = store {
                wrong(
                    &format!("stores[{index}].delta.checkpoint_every"),
                    "is 0: expected a number of commits",
                    "20 is the default",
                );
            }
        }

        // Kafka's rule for names of topics, but for the length. A topic's name becomes the name of a folder.
        for (index, topic) in self.topics.iter().enumerate() {
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if topic.is_empty() || topic == "." || topic == ".." || !topic.chars().all(legal) {
                let hint = "use letters, digits, `.`, `_` and `-`; `.` and `..` are not allowed";
                wrong(&format!("topics[{index}]"), "is not a topic name: expected one", hint);
            }
        }

        // Pace. Many small files make every reader slow, and each costs a request.
        if self.flush_seconds == 0 {
            wrong(
                "flush_seconds",
                "is 0: expected at least 1, or each record would become a file",
                "10 is the default",
            );
        }
        if self.batch_records == 0 {
            wrong(
                "batch_records",
                "is 0: expected at least 1, or each record would become a file",
                "500000 is the default",
            );
        }
        if self.batch_bytes.bytes() < LEAST_BATCH {
            wrong(
                "batch_bytes",
                "is too small: expected at least 64KiB, or files would be tiny",
                "16MiB is the default",
            );
        }

        // One store holds a batch as bytes, the other as columns, which take about three times as much. An
        // eighth of the memory leaves room for both and for the Kafka client.
        if self.batch_bytes.bytes() > self.memory.bytes() / 8 {
            wrong(
                "batch_bytes",
                "is too large: expected at most an eighth of `memory`",
                "raise `memory` or lower `batch_bytes`",
            );
        }
        errors.or(())
    }

    /// Returns the limits at which the stores' lanes flush.
    pub fn pace(&self) -> LanePace {
        LanePace {
            interval: Duration::from_secs(self.flush_seconds),
            bytes: self.batch_bytes.bytes(),
            records: self.batch_records,
            ..LanePace::default()
        }
    }
}

impl StoreConfig {
    /// Returns the store's kind: its key in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Archive(_) => "archive",
            Self::Delta(_) => "delta",
        }
    }

    /// Returns the folder that the section's `path` names.
    ///
    /// # Errors
    /// Fails with a message for the operator if `path` is not a location, or not a folder of this machine.
    fn folder(&self) -> Result<PathBuf, String> {
        let (Self::Archive(ArchiveSection { path, .. }) | Self::Delta(DeltaSection { path, .. })) = self;

        // A path that is not UTF-8 cannot be a URL.
        let Some(text) = path.to_str() else { return Ok(path.clone()) };
        let location: Location = text.parse().map_err(|error: LocationError| error.to_string())?;
        match location.local_folder() {
            Some(folder) => Ok(folder.to_owned()),
            None => Err(format!(
                "not built yet: the store {} in {location}; it takes a folder of this machine or file://…",
                self.kind()
            )),
        }
    }

    /// Builds the store. `runtime` must be multi-threaded: lanes wait for it on threads of their own.
    ///
    /// # Errors
    /// Fails with a [`Fault`] of the operator if the store's folder cannot be created or opened, or if `path`
    /// is not a folder of this machine.
    pub fn build(&self, runtime: &Handle) -> Result<Box<dyn Store>, Fault> {
        let opening = || format!("opening the store {}", self.kind());
        let folder = self.folder().map_err(|message| Fault::user(opening(), message))?;
        match self {
            // The archive needs a location that refuses to create an existing object. A folder does.
            Self::Archive(section) => {
                let store = Location::local(folder).open()?;
                Ok(Box::new(ArchiveStore::new(store, section.codec.into(), runtime.clone())))
            }

            // The store creates its folder itself.
            Self::Delta(section) => {
                let delta = DeltaStore::new(
                    &folder,
                    section.codec.into(),
                    section.checkpoint_every,
                    runtime.clone(),
                )?;
                Ok(Box::new(delta))
            }
        }
    }
}

/// Builds every store of a configuration, in its order. Each store gets a lane of its own.
///
/// # Errors
/// Fails with the [`Fault`] of the first store that cannot be built.
pub fn stores(config: &SinkConfig, runtime: &Handle) -> Result<Vec<Box<dyn Store>>, Fault> {
    config.stores.iter().map(|store| store.build(runtime)).collect()
}

// The configuration has enums of its own: a name in a file stays valid if a library renames its codec.
impl From<BlockCodec> for sluice_wire::ContainerCodec {
    fn from(codec: BlockCodec) -> Self {
        match codec {
            BlockCodec::Zstandard => Self::Zstandard,
            BlockCodec::Deflate => Self::Deflate,
            BlockCodec::Snappy => Self::Snappy,
        }
    }
}

impl From<TableCodec> for FileCodec {
    fn from(codec: TableCodec) -> Self {
        match codec {
            TableCodec::Zstd => Self::Zstd,
            TableCodec::Snappy => Self::Snappy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(stores: &str, more: &str) -> SinkConfig {
        let text = format!(
            "kafka: {{brokers: 'b:9092'}}\nregistry: {{url: 'http://r'}}\ngroup: lake\nstores: {stores}\n{more}\n"
        );
        sluice_runtime::config::parse(&text, "sink.yaml").unwrap()
    }

    #[test]
    fn the_shortest_configuration_is_a_valid_one() {
        let config = config("[{archive: {path: a}}, {delta: {path: d}}]", "");
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.pace().bytes, 16 << 20);
        assert_eq!(config.stores.iter().map(StoreConfig::kind).collect::<Vec<_>>(), ["archive", "delta"]);
    }

    #[test]
    fn mistakes_of_meaning_are_told_all_at_once() {
        let config = config(
            "[{delta: {path: a}}, {delta: {path: d, checkpoint_every: 0}}]",
            "flush_seconds: 0\ntopics: ['a/b', '..']\nbatch_bytes: 64MiB",
        );
        let errors = config.validate().unwrap_err();
        let paths: Vec<_> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "stores[1]",
                "stores[1].delta.checkpoint_every",
                "topics[0]",
                "topics[1]",
                "flush_seconds",
                "batch_bytes"
            ]
        );
        assert!(errors.0.iter().all(|error| error.hint.is_some()));
    }

    #[test]
    fn a_bucket_is_refused_and_never_becomes_a_folder() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let stores = "[{archive: {path: 's3://bucket/a'}}, {delta: {path: 'gs://bucket/a'}}]";
        let config = config(stores, "");
        let errors = config.validate().unwrap_err();
        let paths: Vec<_> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["stores[0].archive.path", "stores[1].delta.path"]);
        for store in &config.stores {
            let fault = store.build(runtime.handle()).err().unwrap().to_string();
            assert!(fault.contains("not built yet: ") && fault.contains("://bucket/a"), "{fault}");
        }
        assert!(!std::path::Path::new("s3:").exists() && !std::path::Path::new("gs:").exists());
    }

    #[test]
    fn a_store_opens_in_a_folder_by_path_and_by_url() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().display();
        let stores =
            format!("[{{archive: {{path: '{folder}/a/b'}}}}, {{delta: {{path: 'file://{folder}/d'}}}}]");
        let config = config(&stores, "");
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(super::stores(&config, runtime.handle()).unwrap().len(), 2);
        assert!(root.path().join("a/b").is_dir() && root.path().join("d").is_dir());
    }

    #[test]
    fn an_unknown_store_is_refused() {
        let text = "kafka: {brokers: b}\nregistry: {url: u}\ngroup: g\nstores: [{iceberg: {path: x}}]\n";
        let Err(errors) = sluice_runtime::config::parse::<SinkConfig>(text, "sink.yaml") else {
            panic!("accepted")
        };
        assert!(errors.0[0].path.starts_with("stores"), "{errors}");
    }
}
