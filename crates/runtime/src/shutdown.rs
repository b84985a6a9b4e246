//! SIGTERM and SIGINT as a token that lanes, watchers and servers wait for.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that the first SIGTERM or SIGINT cancels. Must be called inside a tokio runtime.
///
/// # Errors
/// Fails if the process may not install signal handlers.
pub fn signal_token() -> std::io::Result<CancellationToken> {
    // Both handlers are installed before the function returns, so that no early signal kills the process.
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    // The first signal starts draining. Later ones change nothing: `limits.drain_seconds` bounds the wait.
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: the worker drains and stops"),
            _ = interrupt.recv() => tracing::info!("SIGINT: the worker drains and stops"),
        }
        stop.cancel();
    });
    Ok(token)
}
