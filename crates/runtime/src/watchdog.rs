//! Fails readiness when nothing moves though there is something to read.
//!
//! A worker can answer every probe and do no work: a lane that hangs in a call, a partition whose fetcher gave up, a
//! store that never comes back. Twice within the patience each partition that has not moved for that long is looked
//! at from outside, by a reader of its own: if a record lies at its position, the worker is not ready and says why at
//! `/status`. It is ready again as soon as the partition moves. Nothing is restarted by itself: an orchestrator that
//! wants to may watch `sluice_stuck_partitions`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::KafkaSection;
use crate::status::WorkerStatus;

/// Watches until `stop`. `patience` must be longer than the longest time between two commits.
pub async fn watch(kafka: KafkaSection, status: WorkerStatus, patience: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(patience / 2) => {}
            () = stop.cancelled() => return,
        }
        let still = status.standing(patience);
        if still.is_empty() {
            continue;
        }
        let section = kafka.clone();
        let looked = tokio::task::spawn_blocking(move || {
            sluice_kafka::waiting(&section, &still).map(|waiting| (still, waiting))
        });
        match looked.await {
            Ok(Ok((still, waiting))) => {
                for (at, next) in still {
                    status.stuck(&at, next, waiting.contains(&at));
                }
            }
            Ok(Err(fault)) => tracing::warn!(%fault, "the watchdog cannot look"),
            Err(error) => tracing::warn!(%error, "the watchdog cannot look"),
        }
    }
}
