//! Serves HTTP on a socket of any kind, so that no client can hold anything for long: one connection loop for plugins and
//! probes alike.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// How many clients are served at once; more wait to be accepted. A node starts tens of pods at once, not hundreds.
const CONNECTIONS: usize = 512;

/// How long a client may take to send the head of its request, or to begin another one.
const HEAD: Duration = Duration::from_secs(10);

/// How long a connection may live before it is asked to end: only a client that does not read its answer gets there.
const LIFE: Duration = Duration::from_mins(5);

/// How long requests that are under way get when the agent stops.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How much of a head is read: those of plugins and probes are well below 1 KiB.
const BUFFER: usize = 16 * 1024;

/// Serves until `shutdown`; then takes no new connection and finishes the requests under way, within [`DRAIN`]. When a client
/// closes its connection, the future that serves its request is dropped.
pub async fn serve(mut listener: impl Listener, router: Router, shutdown: CancellationToken) {
    let (clients, room) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await.ok();
            (listener.accept().await.0, place)
        };
        let (io, place) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        clients.spawn(async move {
            connection(io, router, shutdown).await;
            drop(place);
        });
    }
    drop(listener);
    clients.close();
    if timeout(DRAIN, clients.wait()).await.is_err() {
        warn!(clients = clients.len(), "stopped although requests are under way: they took too long");
    }
}

async fn connection<Io>(io: Io, router: Router, shutdown: CancellationToken)
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => Ok(served),
        () = async { tokio::select! { () = shutdown.cancelled() => {}, () = sleep(LIFE) => {} } } => {
            connection.as_mut().graceful_shutdown();
            timeout(LIFE, connection).await
        }
    };
    match served {
        Ok(Ok(())) => {}
        // A client that goes away in the middle is no matter of ours.
        Ok(Err(error)) => debug!("a client's connection ended: {error}"),
        Err(_) => debug!("a client does not read its answer: closed"),
    }
}

#[cfg(test)]
mod tests;
