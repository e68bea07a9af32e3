//! HTTP on connections that have shaken hands: a bounded number, none of which may idle for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::listener::TlsListener;

/// How many connections there may be: an API server opens one for each question that waits, and keeps few of them.
const MOST: usize = 512;

/// How long a connection may be without a question. Longer than a client of Go keeps one that it does not use (90 s):
/// whoever closes first, the other may be writing just then, and a question that is lost so is a write refused.
const IDLE: Duration = Duration::from_mins(2);

/// What questions that are under way get when the webhook stops.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// Answers until `shutdown`, and then finishes what is under way, for at most [`DRAIN`].
pub(super) async fn serve(mut listener: TlsListener, router: Router, shutdown: CancellationToken) {
    let (clients, room) = (TaskTracker::new(), Arc::new(Semaphore::new(MOST)));
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await.0, place)
        };
        let (stream, place) = tokio::select! {
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        let (service, stop) = (TowerToHyperService::new(router.clone()), shutdown.clone());
        clients.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let served = tokio::select! {
                served = connection.as_mut() => served,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                debug!("a connection to the webhook ended: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    clients.close();
    if timeout(DRAIN, clients.wait()).await.is_err() {
        warn!(clients = clients.len(), "the webhook stopped while questions were under way");
    }
}
