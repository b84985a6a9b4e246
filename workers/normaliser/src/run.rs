//! The normaliser as a process: lanes, registry, admin pages.

use std::sync::Arc;

use sluice_contract::Contract;
use sluice_core::Fault;
use sluice_runtime::contracts::Serving;
use sluice_runtime::fleet::{self, Lanes};
use sluice_runtime::status::Status;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::process::Normaliser;

/// Takes facts for every contract that asks for them.
struct Serves;

impl Serving for Serves {
    fn reads(&self, contract: &Contract) -> Vec<String> {
        contract.facts.iter().map(|_| contract.masked_topic.clone()).collect()
    }

    fn writes(&self, contract: &Contract) -> Vec<String> {
        contract.facts.iter().map(|facts| facts.topic.clone()).collect()
    }
}

/// Runs until `stop`.
///
/// # Errors
/// A [`Fault`] that no retry can mend.
pub async fn run(config: Config, status: Status, stop: CancellationToken) -> Result<(), Fault> {
    let Config { raw, folder, instance, pace } = config;
    let lanes = Lanes {
        worker: "normaliser",
        kafka: raw.kafka,
        registry: raw.registry,
        group: raw.group,
        instance,
        memory: raw.memory.bytes(),
        count: raw.lanes,
        pace,
        limits: raw.limits,
    };
    fleet::transform(lanes, folder, Arc::new(Serves), &status, &stop, |contracts| {
        Normaliser::new(contracts).map_err(|error| Fault::user("preparing the facts", error))
    })
    .await
}
