//! The validating webhook of SpiderIPPools: what two objects make wrong together, which no schema can see.
//!
//! Every replica answers, whoever leads. [`judge`](mod@judge) decides, [`book`](mod@book) knows what other pools hold,
//! [`review`](mod@review) speaks with the API server over [`listener`](mod@listener) and [`certificate`](mod@certificate).

pub(crate) mod book;
mod certificate;
mod connections;
mod judge;
mod listener;
pub(crate) mod metrics;
mod review;

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub(crate) use book::Book;
use certificate::Certificate;
pub use certificate::CertificateError;
use listener::TlsListener;
use metrics::Metrics;

/// Where the webhook is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder of `tls.crt` and `tls.key`: a mounted Secret.
    pub certs: PathBuf,
}

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; choose another address by --webhook-listen")]
pub struct BindError {
    /// The address that was asked for.
    address: SocketAddr,
    /// Why.
    source: std::io::Error,
}

/// The webhook, bound to its address and with a certificate.
pub(crate) struct Server {
    listener: TlsListener,
    certificate: Certificate,
}

impl Server {
    /// Reads the certificate and binds the address.
    ///
    /// # Errors
    /// [`CertificateError`], [`BindError`].
    pub(crate) async fn open(webhook: &Webhook) -> anyhow::Result<Self> {
        let Webhook { listen, certs } = webhook;
        let certificate = Certificate::open(certs).await?;
        let failed = |source| BindError { address: *listen, source };
        let tcp = TcpListener::bind(listen).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        info!(%address, "webhook listening");
        Ok(Self { listener: TlsListener::new(tcp, certificate.server_config()?), certificate })
    }

    /// Answers until `shutdown`, and then finishes what is under way, for at most two seconds.
    pub(crate) async fn serve(self, book: Book, metrics: Metrics, shutdown: CancellationToken) {
        let Self { listener, certificate } = self;
        let serve = connections::serve(listener, review::router(book, metrics), shutdown.clone());
        tokio::join!(serve, certificate.follow(shutdown));
    }
}

#[cfg(test)]
mod tests;
