//! `sluice topics`, `sluice tail` and `sluice get`: a look at the topics of the contracts and their records.
//!
//! The commands read committed records outside any group, and no position moves. They prevent mistakes, not intent: a
//! raw topic needs the name of a role that reads raw records, but anyone can name it. Kafka's permissions decide.

mod access;
mod datum;
mod filter;
mod get;
mod record;
mod span;
mod tail;
mod topics;
mod window;

use std::path::PathBuf;

use clap::Args;
use sluice_contract::ContractSet;
use sluice_govern::plan::DesiredState;
use sluice_kafka::KafkaScanner;
use sluice_runtime::config::{self, KafkaSection, RegistrySection};
use sluice_runtime::contracts;
use sluice_runtime::registry::{BlockingRegistry, SchemaRegistry};

use crate::apply::RawApplyConfig;
use crate::cli::CommandFormat;

pub(crate) use get::{GetArgs, get};
pub(crate) use tail::{TailArgs, tail};
pub(crate) use topics::{TopicsArgs, topics};

/// The end of the help of `tail` and `get`.
const ACCESS_HELP: &str = "Masked topics, facts and their dead letters are shown without --as. A raw topic and its dead letters need a \
    role of the contract with `view: raw`. This prevents mistakes, not intent: Kafka's permissions decide who can read.";

// The options of the commands that show records.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Kafka, registry and contracts, YAML: the file that `apply` takes.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The role of the contract by which the topic is read. Without it only open topics are shown.
    #[arg(long = "as", value_name = "ROLE")]
    role: Option<String>,
    /// One line of text for each record, or one JSON object.
    #[arg(long, value_enum, default_value = "text")]
    output: CommandFormat,
}

/// The contracts, and the clients for reading.
struct TopicLook {
    contracts: ContractSet,
    desired: DesiredState,
    kafka: KafkaSection,
    scanner: KafkaScanner,
    registry: RegistrySection,
}

impl TopicLook {
    /// Reads the file and the contracts, and checks that Kafka answers.
    ///
    /// # Errors
    /// Fails with the mistakes of file and contracts, or with the fault of Kafka.
    fn open(file: &std::path::Path) -> anyhow::Result<Self> {
        let raw: RawApplyConfig = config::load(file)?;
        sluice_kafka::check_properties(&raw.kafka)?;
        let contracts = contracts::load(&raw.schemas)?;
        let desired = DesiredState::of(&contracts, &crate::workers::access());

        // An address that is wrong is found by this call, and not after a timeout.
        sluice_kafka::knock(&raw.kafka)?;
        let scanner = KafkaScanner::open(&raw.kafka)?;
        Ok(Self { contracts, desired, kafka: raw.kafka, scanner, registry: raw.registry })
    }

    /// Returns the registry, whose calls block.
    fn registry(&self, runtime: &tokio::runtime::Runtime) -> anyhow::Result<BlockingRegistry> {
        let registry = SchemaRegistry::new(&self.registry)?;
        Ok(BlockingRegistry::new(registry, runtime.handle().clone()))
    }
}
