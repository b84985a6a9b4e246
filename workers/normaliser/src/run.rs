//! The normaliser as a process: lanes, registry, admin pages.

use std::sync::Arc;

use sluice_contract::Contract;
use sluice_core::Fault;
use sluice_runtime::contracts::ContractUse;
use sluice_runtime::fleet::{self, SharedLaneConfig};
use sluice_runtime::status::WorkerStatus;
use tokio_util::sync::CancellationToken;

use crate::config::NormaliserConfig;
use crate::descriptor::{self, ACCESS};
use crate::process::NormaliserProcessor;

/// Takes facts for every contract that asks for them.
struct NormaliserContractUse;

impl ContractUse for NormaliserContractUse {
    fn reads(&self, contract: &Contract) -> Vec<String> {
        descriptor::reads(contract)
    }

    fn writes(&self, contract: &Contract) -> Vec<String> {
        descriptor::writes(contract)
    }
}

/// Runs until `stop`.
///
/// # Errors
/// A [`Fault`] that no retry can mend.
pub async fn run(
    config: NormaliserConfig,
    status: WorkerStatus,
    stop: CancellationToken,
) -> Result<(), Fault> {
    let NormaliserConfig { raw, folder, instance, pace } = config;
    let lanes = SharedLaneConfig {
        worker: ACCESS.name,
        kafka: raw.kafka,
        registry: raw.registry,
        group: raw.group,
        instance,
        memory: raw.memory.bytes(),
        count: raw.lanes,
        pace,
        limits: raw.limits,
    };
    fleet::transform(lanes, folder, Arc::new(NormaliserContractUse), &status, &stop, |contracts| {
        NormaliserProcessor::new(contracts).map_err(|error| Fault::user("preparing the facts", error))
    })
    .await
}
