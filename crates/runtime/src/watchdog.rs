//! Fails readiness when nothing moves although there is something to read.
//!
//! A worker can answer every probe and do no work. For example, a lane hangs in a call, a partition's fetcher
//! has given up, or a store never comes back. Twice within the patience, a reader of its own looks from
//! outside at each partition that has not moved for that long. If there is a record at its position, the
//! worker is not ready, and `/status` shows the partition as stuck. The worker is ready again as soon as the
//! partition moves. The watchdog restarts nothing; an orchestrator that wants to do so can watch
//! `sluice_stuck_partitions`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::KafkaSection;
use crate::status::WorkerStatus;

/// Watches the partitions in `status` until `stop`. `patience` must be longer than the longest time between
/// two commits.
pub async fn watch(kafka: KafkaSection, status: WorkerStatus, patience: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(patience / 2) => {}
            () = stop.cancelled() => return,
        }

        // Most of the time every partition moves, and Kafka is not asked.
        let still = status.standing(patience);
        if still.is_empty() {
            continue;
        }

        // The reader blocks, so it runs on a thread that may block.
        let section = kafka.clone();
        let looked = tokio::task::spawn_blocking(move || {
            sluice_kafka::waiting(&section, &still).map(|waiting| (still, waiting))
        });

        // A partition that has moved since `standing` is left alone: the status compares its position.
        match looked.await {
            Ok(Ok((still, waiting))) => {
                for (at, next) in still {
                    status.stuck(&at, next, waiting.contains(&at));
                }
            }
            // Without a look nothing is known, so readiness stays as it is.
            Ok(Err(fault)) => {
                tracing::warn!(%fault, "the watchdog cannot read the waiting records; it tries again");
            }
            Err(error) => {
                tracing::warn!(%error, "the watchdog cannot read the waiting records; it tries again");
            }
        }
    }
}
