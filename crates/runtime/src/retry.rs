//! Repeats calls to neighbours that may be away, with a pause between them.

use sluice_core::{Backoff, Fault, Retry};
use tokio_util::sync::CancellationToken;

use crate::status::WorkerStatus;

/// Repeats `call` until it succeeds, a fault has [`Retry::Never`], or `stop` is cancelled. `/status` shows
/// each failure as the state of `neighbour`. The pauses grow as in [`Backoff::default`], with jitter.
///
/// # Errors
/// The last [`Fault`].
pub async fn until_answered<T, F: Future<Output = Result<T, Fault>>>(
    neighbour: &str,
    status: &WorkerStatus,
    stop: &CancellationToken,
    mut call: impl FnMut() -> F,
) -> Result<T, Fault> {
    let backoff = Backoff::default();
    let mut attempt = 0;

    loop {
        match call().await {
            Ok(value) => {
                status.neighbour(neighbour, Ok(()));
                return Ok(value);
            }
            Err(fault) => {
                // The status logs a failure only if the neighbour's state changes.
                status.neighbour(neighbour, Err(fault.to_string()));

                // No repetition can help, for example against a wrong password.
                if fault.retry == Retry::Never {
                    return Err(fault);
                }

                // Jitter keeps many workers from calling at the same moment after an outage.
                tokio::select! {
                    () = tokio::time::sleep(backoff.wait(attempt, rand::random())) => {}
                    () = stop.cancelled() => return Err(fault),
                }
                attempt = attempt.saturating_add(1);
            }
        }
    }
}
