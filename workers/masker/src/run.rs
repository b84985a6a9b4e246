//! The masker as a process: lanes, registry, admin pages.

use std::sync::Arc;

use sluice_contract::{Contract, ContractSelection, KeyRing};
use sluice_core::Fault;
use sluice_runtime::contracts::ContractUse;
use sluice_runtime::fleet::{self, SharedLaneConfig};
use sluice_runtime::key_files::KeyFileWatcher;
use sluice_runtime::status::WorkerStatus;
use tokio_util::sync::CancellationToken;

use crate::config::MaskerConfig;
use crate::descriptor::{self, ACCESS};
use crate::process::MaskerProcessor;

/// Masks every selected contract that its keys are enough for.
struct MaskerContractUse {
    keys: KeyRing,
    selection: ContractSelection,
}

impl ContractUse for MaskerContractUse {
    fn reads(&self, contract: &Contract) -> Vec<String> {
        if self.selection.covers(contract) { descriptor::reads(contract) } else { vec![] }
    }

    fn writes(&self, contract: &Contract) -> Vec<String> {
        descriptor::writes(contract)
    }

    fn accept(&self, contract: &Contract) -> Result<(), String> {
        // The keys of other workers' contracts are not here.
        if !self.selection.covers(contract) {
            return Ok(());
        }
        let ready = contract
            .policy(&self.keys)
            .and_then(|_| contract.key_policy(&self.keys))
            .and_then(|_| contract.bare_key_mask(&self.keys))
            .and_then(|_| contract.header_masks(&self.keys));
        ready.map(drop).map_err(|error| error.to_string())
    }
}

/// Runs until `stop`.
///
/// # Errors
/// A [`Fault`] that no retry can mend.
pub async fn run(config: MaskerConfig, status: WorkerStatus, stop: CancellationToken) -> Result<(), Fault> {
    let MaskerConfig { raw, folder, keys, selection, instance, pace } = config;
    KeyFileWatcher::new(&raw.keys).start(status.clone(), stop.clone());
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
    let worker = Arc::new(MaskerContractUse { keys: keys.clone(), selection: selection.clone() });
    fleet::transform(lanes, folder, worker, &status, &stop, move |contracts| {
        MaskerProcessor::new(&contracts.select(&selection), &keys)
            .map_err(|error| Fault::user("preparing the masks", error))
    })
    .await
}
