//! The HTTP endpoints: is the controller alive, is it ready, and what does it measure.

mod health;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use health::{Health, NotAlive};

/// Where the endpoints are unless `--listen` says otherwise: upstream's port of its controller.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 5720);

/// What connections that are still open get when the server stops: a scrape takes milliseconds.
const DRAIN: Duration = Duration::from_secs(2);

/// What the format's specification asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The endpoints, bound to their address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the endpoints cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; choose another address by --listen")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The listening socket failed.
    #[error("the endpoints on {address} ended: {source}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl Server {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken, or not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "listening");
        Ok(Self { listener, address })
    }

    /// Returns the address that was bound: with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, and then finishes the answers that are under way, for at most two seconds.
    ///
    /// # Errors
    /// When the listening socket fails.
    pub async fn serve(
        self,
        health: Health,
        registry: Arc<Registry>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let Self { listener, address } = self;
        let stop = shutdown.clone();
        let serve = axum::serve(listener, router(health, registry))
            .with_graceful_shutdown(async move { stop.cancelled().await });
        tokio::select! {
            served = serve => served.map_err(|source| Error::Serve { address, source }),
            // A client that sent half a request would hold a graceful shutdown for ever.
            () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    }
}

/// The routes. `/v1/runtime/…` are upstream's, for its manifests.
fn router(health: Health, registry: Arc<Registry>) -> Router {
    let probes = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/v1/runtime/liveness", get(alive))
        .route("/v1/runtime/readiness", get(ready))
        // The process answers: it has started. Reading a large cluster belongs to readiness.
        .route("/v1/runtime/startup", get(alive))
        .with_state(health);
    probes.merge(Router::new().route("/metrics", get(metrics)).with_state(registry))
}

async fn alive(State(health): State<Health>) -> Response {
    match health.alive(Instant::now()) {
        Ok(()) => "ok\n".into_response(),
        Err(error) => unavailable(&error.to_string()),
    }
}

async fn ready(State(health): State<Health>) -> Response {
    if health.is_ready() { "ok\n".into_response() } else { unavailable("the caches are not filled yet") }
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
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

#[cfg(test)]
mod tests;
