//! The sink's configuration: where records come from and which stores take them.
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
use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_core::Fault;
use sluice_core::Store;
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
    /// Where Kafka is.
    pub kafka: KafkaSection,
    /// Where writers' schemas are registered.
    pub registry: RegistrySection,
    /// Folder of contracts.
    #[serde(default = "default_schemas")]
    pub schemas: PathBuf,
    /// Where health, metrics and status are served.
    #[serde(default)]
    pub admin: AdminSection,
    /// Consumer group; each store reads as a group of its own, `<group>-<store>`.
    pub group: String,
    /// The process's memory setting, from which all buffers are sized.
    #[serde(default = "default_memory")]
    pub memory: MemorySize,
    /// Topics to land; left out or empty: every masked topic and every facts topic of the contracts.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Where they are landed; at most one store of a kind.
    pub stores: Vec<StoreConfig>,
    /// Seconds after which what waits is written, however little it is.
    #[serde(default = "default_flush_seconds")]
    pub flush_seconds: u64,
    /// Bytes of records, and of what a store keeps beside each, after which it writes.
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes: MemorySize,
    /// Records after which a store writes.
    #[serde(default = "default_batch_records")]
    pub batch_records: u64,
    /// This process's name among the group's. A restart under the same name takes over at once; two at a time may not
    /// share one. Default: host name and process id.
    #[serde(default)]
    pub instance: Option<String>,
    /// Where the worker stops by itself: dead letters, standing still, draining.
    #[serde(default)]
    pub limits: LimitsSection,
}

/// One store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StoreConfig {
    /// Avro container objects, the master copy.
    Archive(ArchiveSection),
    /// Delta tables, the embedded warehouse.
    Delta(DeltaSection),
}

/// An archive of Avro container objects.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveSection {
    /// Folder of the archive; made if it is not there.
    pub path: PathBuf,
    /// How blocks are compressed.
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
    /// Folder of the lake; made if it is not there.
    pub path: PathBuf,
    /// How files are compressed.
    #[serde(default)]
    pub codec: TableCodec,
    /// Every how many commits the table's log gets a checkpoint.
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

fn default_memory() -> MemorySize {
    MemorySize::mib(192)
}

fn default_flush_seconds() -> u64 {
    10
}

fn default_batch_bytes() -> MemorySize {
    MemorySize::mib(16)
}

fn default_batch_records() -> u64 {
    500_000
}

fn default_checkpoint_every() -> u64 {
    CHECKPOINT_EVERY
}

impl SinkConfig {
    /// What the form alone cannot tell: mistakes of meaning, all at once.
    ///
    /// # Errors
    /// [`ConfigErrors`] with a path and a hint for each.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut wrong =
            |path: &str, message: &str, hint: &str| errors.add(path, message, Some(hint.to_owned()));
        if self.group.trim().is_empty() {
            wrong("group", "is empty", "give the sink a group of its own, such as `lake`");
        }
        if self.stores.is_empty() {
            wrong("stores", "is empty", "add `- archive: {path: …}` or `- delta: {path: …}`");
        }
        for (index, store) in self.stores.iter().enumerate() {
            if self.stores.iter().take(index).any(|earlier| earlier.kind() == store.kind()) {
                let message = format!("a second store of the kind `{}`", store.kind());
                wrong(
                    &format!("stores[{index}]"),
                    &message,
                    "start another sink worker with a group of its own",
                );
            }
            if let StoreConfig::Delta(DeltaSection { checkpoint_every: 0, .. }) = store {
                wrong(&format!("stores[{index}].delta.checkpoint_every"), "is 0", "20 is the default");
            }
        }
        for (index, topic) in self.topics.iter().enumerate() {
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if topic.is_empty() || topic == "." || topic == ".." || !topic.chars().all(legal) {
                let hint = "topics consist of letters, digits, `.`, `_` and `-`";
                wrong(&format!("topics[{index}]"), "is no name of a topic", hint);
            }
        }
        if self.flush_seconds == 0 {
            wrong("flush_seconds", "is 0: every record would be a file", "10 is the default");
        }
        if self.batch_records == 0 {
            wrong("batch_records", "is 0: every record would be a file", "500000 is the default");
        }
        if self.batch_bytes.bytes() < LEAST_BATCH {
            wrong("batch_bytes", "is less than 64KiB: files would be tiny", "16MiB is the default");
        }
        // A batch is held as bytes by one store, as columns (about three times as large) by the other.
        if self.batch_bytes.bytes() > self.memory.bytes() / 8 {
            wrong(
                "batch_bytes",
                "is more than an eighth of `memory`",
                "raise `memory` or lower `batch_bytes`",
            );
        }
        errors.or(())
    }

    /// When the stores' lanes flush.
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
    /// Its kind, as it stands in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Archive(_) => "archive",
            Self::Delta(_) => "delta",
        }
    }

    /// Builds the store. `runtime` must be a multi-threaded one; lanes wait for it on threads of their own.
    ///
    /// # Errors
    /// A [`Fault`] of the operator's if its folder cannot be made or opened.
    pub fn build(&self, runtime: &Handle) -> Result<Box<dyn Store>, Fault> {
        match self {
            Self::Archive(section) => {
                let doing = || format!("opening the archive {}", section.path.display());
                std::fs::create_dir_all(&section.path).map_err(|error| Fault::user(doing(), error))?;
                let store = LocalFileSystem::new_with_prefix(&section.path)
                    .map_err(|error| Fault::user(doing(), error))?;
                Ok(Box::new(ArchiveStore::new(Arc::new(store), section.codec.into(), runtime.clone())))
            }
            Self::Delta(section) => {
                let delta = DeltaStore::new(
                    &section.path,
                    section.codec.into(),
                    section.checkpoint_every,
                    runtime.clone(),
                )?;
                Ok(Box::new(delta))
            }
        }
    }
}

/// Builds every store of a configuration, in its order; each is to get a lane of its own.
///
/// # Errors
/// The [`Fault`] of the first that cannot be built.
pub fn stores(config: &SinkConfig, runtime: &Handle) -> Result<Vec<Box<dyn Store>>, Fault> {
    config.stores.iter().map(|store| store.build(runtime)).collect()
}

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
    fn an_unknown_store_is_refused() {
        let text = "kafka: {brokers: b}\nregistry: {url: u}\ngroup: g\nstores: [{iceberg: {path: x}}]\n";
        let Err(errors) = sluice_runtime::config::parse::<SinkConfig>(text, "sink.yaml") else {
            panic!("accepted")
        };
        assert!(errors.0[0].path.starts_with("stores"), "{errors}");
    }
}
