//! The normaliser as a process: lanes, registry, admin pages.

use std::sync::Arc;

use sluice_contract::{Contract, ContractSelection};
use sluice_core::Fault;
use sluice_runtime::contracts::ContractUse;
use sluice_runtime::fleet::{self, SharedLaneConfig};
use sluice_runtime::status::WorkerStatus;
use tokio_util::sync::CancellationToken;

use crate::config::NormaliserConfig;
use crate::descriptor::{self, ACCESS};
use crate::process::NormaliserProcessor;

/// Takes facts for every selected contract that asks for them.
struct NormaliserContractUse(ContractSelection);

impl ContractUse for NormaliserContractUse {
    fn reads(&self, contract: &Contract) -> Vec<String> {
        if self.0.covers(contract) { descriptor::reads(contract) } else { vec![] }
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
    let NormaliserConfig { raw, folder, selection, instance, pace } = config;
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
    let worker = Arc::new(NormaliserContractUse(selection.clone()));
    fleet::transform(lanes, folder, worker, &status, &stop, move |contracts| {
        NormaliserProcessor::new(&contracts.select(&selection))
            .map_err(|error| Fault::user("preparing the facts", error))
    })
    .await
}
