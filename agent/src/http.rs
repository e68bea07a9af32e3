//! What is served on TCP: the probes and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::health::Health;

/// What the format's specification asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; choose another address by --listen")]
pub struct BindError {
    /// The address that was asked for.
    address: SocketAddr,
    /// Why.
    source: std::io::Error,
}

/// Binds `address`; port 0 takes a free one.
///
/// # Errors
/// When the address is taken, or not this machine's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let failed = |source| BindError { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "listening");
    Ok(listener)
}

/// Returns what is served on TCP.
pub fn router(health: Health, registry: Arc<Registry>) -> Router {
    probes(health).merge(Router::new().route("/metrics", get(metrics)).with_state(registry))
}

/// Returns upstream's probes, which it serves on the plugins' socket as well.
pub fn probes(health: Health) -> Router {
    Router::new()
        .route("/v1/runtime/startup", get(ready))
        .route("/v1/runtime/readiness", get(ready))
        .route("/v1/runtime/liveness", get(alive))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> Response {
    match health.unready() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response(),
    }
}

/// Whoever answers is alive: all tasks share the threads that would answer this.
async fn alive() -> &'static str {
    "ok\n"
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            let why = format!("cannot write the metrics as text: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}
