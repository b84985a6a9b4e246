//! The same again after a pause, for calls to neighbours that may be away.

use sluice_core::{Backoff, Fault, Retry};
use tokio_util::sync::CancellationToken;

use crate::status::WorkerStatus;

/// Calls until it succeeds, a fault says [`Retry::Never`], or `stop`. Each failure is shown as `neighbour`'s state.
///
/// # Errors
/// The last fault.
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
                status.neighbour(neighbour, Err(fault.to_string()));
                if fault.retry == Retry::Never {
                    return Err(fault);
                }
                tokio::select! {
                    () = tokio::time::sleep(backoff.wait(attempt, rand::random())) => {}
                    () = stop.cancelled() => return Err(fault),
                }
                attempt = attempt.saturating_add(1);
            }
        }
    }
}
