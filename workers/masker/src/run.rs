//! The masker as a process: lanes, registry, admin pages.

use sluice_core::Fault;
use sluice_runtime::fleet::{self, Lanes};
use sluice_runtime::status::Status;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::process::Masker;

/// Runs until `stop`.
///
/// # Errors
/// A [`Fault`] that no retry can mend.
pub async fn run(config: Config, status: Status, stop: CancellationToken) -> Result<(), Fault> {
    let Config { raw, contracts, keys, instance, pace } = config;
    let build = || Masker::new(&contracts, &keys).map_err(|error| Fault::user("preparing the masks", error));
    let topics = build()?.topics();
    let lanes = Lanes {
        worker: "masker",
        kafka: raw.kafka,
        registry: raw.registry,
        group: raw.group,
        instance,
        topics,
        memory: raw.memory.bytes(),
        count: raw.lanes,
        pace,
        limits: raw.limits,
    };
    fleet::transform(lanes, &status, &stop, build).await
}
