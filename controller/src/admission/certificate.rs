//! The certificate that the webhook shows: read at the start, and again when it changes, because whoever issues it
//! (cert-manager, the chart) renews it in the mounted Secret.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The names of the files in a Secret of type `kubernetes.io/tls`.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// How often the files are read. Kubelet takes up to a minute to bring a changed Secret; this adds little.
const INTERVAL: Duration = Duration::from_secs(2);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; --webhook-certs names the folder of {CERTIFICATE} and {KEY}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} holds no {what} in PEM: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for in it.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key cannot be used, or not together.
    #[error("{CERTIFICATE} and {KEY} in {dir} cannot be used together: {source}")]
    Unusable {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// TLS itself cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] rustls::Error),
}

/// The text of both files.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    async fn read(dir: &Path) -> Result<Self, CertificateError> {
        let file = async |name: &str| {
            let path = dir.join(name);
            let content = tokio::fs::read(&path).await;
            content.map_err(|source| CertificateError::Unreadable { path, source })
        };
        Ok(Self { certificate: file(CERTIFICATE).await?, key: file(KEY).await? })
    }

    fn parse(&self, dir: &Path) -> Result<CertifiedKey, CertificateError> {
        let wrong = |name: &str, what| {
            let path = dir.join(name);
            move |source| CertificateError::Pem { path, what, source }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(wrong(CERTIFICATE, "certificate"))?;
        if chain.is_empty() {
            return Err(wrong(CERTIFICATE, "certificate")(rustls::pki_types::pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(wrong(KEY, "private key"))?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|source| CertificateError::Unusable { dir: dir.to_owned(), source })
    }
}

/// What one reading found.
#[derive(Clone, PartialEq, Eq)]
enum Found {
    Files(Files),
    /// They could not be read.
    Nothing,
}

/// The certificate of now, which handshakes ask for.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Follows the files of one folder.
pub(super) struct Certificate {
    dir: PathBuf,
    current: Arc<Current>,
    /// What was last judged, good or not.
    judged: Found,
    /// What the last reading found, if it was something else.
    pending: Option<Found>,
}

impl Certificate {
    /// Reads the certificate for the first time.
    pub(super) async fn open(dir: &Path) -> Result<Self, CertificateError> {
        let files = Files::read(dir).await?;
        let current = Arc::new(Current(RwLock::new(Arc::new(files.parse(dir)?))));
        Ok(Self { dir: dir.to_owned(), current, judged: Found::Files(files), pending: None })
    }

    /// Returns how to speak TLS with the certificate that is in force when a client comes.
    pub(super) fn server_config(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::clone(&self.current) as Arc<_>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files again and again until `shutdown`. What cannot be used is said once, and the old one stays.
    pub(super) async fn follow(mut self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let read = Files::read(&self.dir).await;
        let found = read.as_ref().map_or(Found::Nothing, |files| Found::Files(files.clone()));
        if found == self.judged {
            self.pending = None;
            return;
        }
        // Twice the same: two files that are renewed one after the other do not belong together in between.
        if self.pending.as_ref() != Some(&found) {
            self.pending = Some(found);
            return;
        }
        self.pending = None;
        self.judged = found;
        let dir = self.dir.display().to_string();
        match read.and_then(|files| files.parse(&self.dir)) {
            Ok(certified) => {
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                info!(dir, "the webhook's certificate was read again");
            }
            Err(error) => warn!(dir, "the webhook's certificate that was read last stays in force: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
