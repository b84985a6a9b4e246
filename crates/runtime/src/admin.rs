//! The admin pages of a worker, all on one port: `/healthz`, `/readyz`, `/metrics`, `/status`.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use sluice_core::Fault;
use tokio::net::TcpListener;

use crate::config::AdminSection;
use crate::metrics;
use crate::status::WorkerStatus;

/// Starts the admin server and returns its address. Must be called inside a tokio runtime.
///
/// # Errors
/// A [`Fault`] of the user if the address cannot be bound.
pub async fn serve(section: &AdminSection, status: WorkerStatus) -> Result<SocketAddr, Fault> {
    // The address is bound before the worker starts: a port that is taken ends the worker at once. With port
    // 0 the kernel chooses the port, so the bound address is read back.
    let refused = |error| {
        Fault::user(format!("listening for the admin pages on {}", section.listen), error)
            .with_hint("set admin.listen to another port: host:port, and port 0 for a free one")
    };
    let listener = TcpListener::bind(&section.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;

    // `/healthz` answers as long as the process runs: a neighbour that is away is no reason for a restart.
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route(
            "/metrics",
            get(|| async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::render()) }),
        )
        .route("/status", get(|State(status): State<WorkerStatus>| async move { Json(status.page()) }))
        .with_state(status);

    // The server runs until the process ends. The lanes do not depend on it.
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the admin server has stopped; the worker goes on without its pages");
        }
    });

    // Scripts and tests that use port 0 read the address from this line.
    tracing::info!(%address, "admin pages");
    Ok(address)
}

/// Answers 200 if the worker is ready and 503 if it is not.
async fn readyz(State(status): State<WorkerStatus>) -> impl IntoResponse {
    if status.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready; /status shows the reason\n")
    }
}
