//! A worker as a process: tokio, admin pages and signals around its code.

use std::future::Future;
use std::time::Duration;

use sluice_core::{Domain, Fault, NextOffset, Retry};
use tokio_util::sync::CancellationToken;

use crate::config::AdminSection;
use crate::descriptor::WorkerDescriptor;
use crate::status::WorkerStatus;
use crate::{admin, shutdown};

/// Number of tokio's threads. Lanes and publishers have threads of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokioThreads {
    /// For a worker that is all requests: two threads would hand each page over several times, which costs
    /// more than reading it. More throughput needs another replica.
    One,
    /// For every other worker.
    Two,
}

/// Starts tokio, the admin pages and the signal handlers, then runs `worker` to its end. After a stop signal
/// the worker has `drain` to end.
///
/// # Errors
/// The worker's [`Fault`], or that of the start. A stop signal while the worker waits for a neighbour is no
/// error.
pub fn run<W: Future<Output = Result<(), Fault>>>(
    descriptor: &WorkerDescriptor,
    section: &AdminSection,
    drain: Duration,
    threads: TokioThreads,
    worker: impl FnOnce(WorkerStatus, CancellationToken) -> W,
) -> Result<(), Fault> {
    // The runtime.
    let mut builder = match threads {
        TokioThreads::One => tokio::runtime::Builder::new_current_thread(),
        TokioThreads::Two => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads == TokioThreads::Two {
        builder.worker_threads(2);
    }
    let runtime = builder.enable_all().build().map_err(|error| Fault::bug("starting tokio", error))?;

    let status = WorkerStatus::new(descriptor.access.name, descriptor.neighbours);
    let ended = runtime.block_on(async {
        // Signals come first: one that arrives while the worker starts must drain it, not kill it.
        let stop =
            shutdown::signal_token().map_err(|error| Fault::bug("installing signal handlers", error))?;
        admin::serve(section, status.clone()).await?;
        let (signalled, draining) = (stop.clone(), status.clone());
        tokio::spawn(async move {
            signalled.cancelled().await;
            draining.draining();
        });

        // The worker, or the end of its time to drain.
        let ended = tokio::select! {
            ended = worker(status.clone(), stop.clone()) => ended,
            fault = drain_deadline(&status, drain, &stop) => Err(fault),
        };
        match ended {
            // The stop signal came while a neighbour was away: nothing was lost, and nothing is left to do.
            Err(fault) if stop.is_cancelled() && fault.retry == Retry::Later => {
                tracing::warn!(%fault, "stopped while waiting");
            }
            ended => ended?,
        }
        tracing::info!("ended");
        Ok(())
    });

    // A lane that hangs in a call must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Waits for the stop signal and then for `drain`. Logs the positions that are left, and returns the fault of
/// a worker that did not end in time.
async fn drain_deadline(status: &WorkerStatus, drain: Duration, stop: &CancellationToken) -> Fault {
    stop.cancelled().await;
    tokio::time::sleep(drain).await;

    let left = status.positions();
    for (at, next) in &left {
        let next_offset = next.map(NextOffset::raw);
        tracing::warn!(%at, next_offset, "left: records from this offset on are not committed and are read again");
    }
    let why = format!(
        "not done within {drain:?}; {} partitions are left at their last commit, and nothing is lost",
        left.len()
    );
    Fault::new(Domain::External, Retry::Never, "draining", why)
}
