//! One port for whoever operates a worker: `/healthz`, `/readyz`, `/metrics`, `/status`.

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

/// Starts the admin server and says where it listens.
///
/// # Errors
/// A [`Fault`] of the user if the address cannot be bound.
pub async fn serve(section: &AdminSection, status: WorkerStatus) -> Result<SocketAddr, Fault> {
    let doing = || format!("listening for the admin pages on {}", section.listen);
    let listener = TcpListener::bind(&section.listen).await.map_err(|error| Fault::user(doing(), error))?;
    let address = listener.local_addr().map_err(|error| Fault::user(doing(), error))?;
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route(
            "/metrics",
            get(|| async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::render()) }),
        )
        .route("/status", get(|State(status): State<WorkerStatus>| async move { Json(status.page()) }))
        .with_state(status);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the admin server ended");
        }
    });
    tracing::info!(%address, "admin pages");
    Ok(address)
}

async fn readyz(State(status): State<WorkerStatus>) -> impl IntoResponse {
    if status.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready; see /status\n")
    }
}
