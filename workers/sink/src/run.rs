//! The sink as a process: a lane for each store.

use std::sync::Arc;

use sluice_contract::Contract;
use sluice_core::Fault;
use sluice_runtime::config::{self, ConfigErrors};
use sluice_runtime::contracts::{self, ContractUse};
use sluice_runtime::fleet::{self, LandingTopics, SharedLaneConfig};
use sluice_runtime::status::WorkerStatus;
use tokio_util::sync::CancellationToken;

use crate::config::{SinkConfig, stores};
use crate::descriptor::{self, ACCESS};
use crate::raw_data;

/// Lands the masked records and the facts of every contract.
struct SinkContractUse;

impl ContractUse for SinkContractUse {
    fn reads(&self, contract: &Contract) -> Vec<String> {
        descriptor::reads(contract)
    }
}

/// Checks the configuration and returns the topics to land: those that it names, or every masked and every
/// facts topic of the contracts, also of contracts to come.
///
/// # Errors
/// All mistakes of configuration and contracts at once.
pub(crate) fn check_topics(config: &SinkConfig) -> Result<LandingTopics, ConfigErrors> {
    let mut errors = config::check_neighbours(&config.kafka, &config.registry).err().unwrap_or_default();
    errors.0.extend(config.validate().err().unwrap_or_default().0);

    // Topics by name may be there without contracts. Where there are some, they decide about raw data.
    if !config.topics.is_empty() && !config.schemas.is_dir() {
        errors.0.extend(raw_data::check(config, None).0);
        return errors.or(LandingTopics::Topics(config.topics.clone()));
    }
    match contracts::open(&config.schemas) {
        Ok(folder) => {
            errors.0.extend(raw_data::check(config, Some(&folder.contracts)).0);
            let landing = match config.topics.is_empty() {
                true => LandingTopics::Contracts(Box::new(folder), Arc::new(SinkContractUse)),
                false => LandingTopics::Topics(config.topics.clone()),
            };
            errors.or(landing)
        }
        Err(found) => {
            errors.0.extend(found.0);
            Err(errors)
        }
    }
}

/// Runs until `stop`.
///
/// # Errors
/// A [`Fault`] that no retry can mend.
pub(crate) async fn run(
    config: SinkConfig,
    landing: LandingTopics,
    status: WorkerStatus,
    stop: CancellationToken,
) -> Result<(), Fault> {
    let stores = stores(&config, &tokio::runtime::Handle::current())?;
    let lanes = SharedLaneConfig {
        worker: ACCESS.name,
        memory: config.memory.bytes(),
        pace: config.pace(),
        kafka: config.kafka,
        registry: config.registry,
        group: config.group,
        instance: config.instance.unwrap_or_else(config::default_instance),
        count: 1,
        limits: config.limits,
    };
    fleet::stores(lanes, landing, stores, &status, &stop).await
}
