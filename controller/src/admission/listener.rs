//! Connections that have shaken hands: TLS under axum, in which a client that says nothing stops nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

/// How long a handshake may take: the API server gives the whole question 5 s (controller/webhook.yaml).
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How many handshakes may be under way: some kilobytes each. Further clients wait in the kernel's queue.
const MOST_HANDSHAKES: usize = 512;

/// A connection, and who is at its other end.
type Connection = (TlsStream<TcpStream>, SocketAddr);

/// A listening socket that speaks TLS.
pub(super) struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    shaking: JoinSet<Option<Connection>>,
}

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self { tcp, acceptor: TlsAcceptor::from(config), shaking: JoinSet::new() }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        loop {
            tokio::select! {
                // A handshake that failed or took too long has said so.
                Some(shaken) = self.shaking.join_next() => {
                    if let Ok(Some(connection)) = shaken {
                        return connection;
                    }
                }
                (stream, from) = Listener::accept(&mut self.tcp), if self.shaking.len() < MOST_HANDSHAKES => {
                    self.shaking.spawn(shake(self.acceptor.clone(), stream, from));
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn shake(acceptor: TlsAcceptor, stream: TcpStream, from: SocketAddr) -> Option<Connection> {
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some((stream, from)),
        Ok(Err(error)) => debug!(%from, "no TLS with a client of the webhook: {error}"),
        Err(_) => debug!(%from, "a client of the webhook did not finish its handshake in {HANDSHAKE:?}"),
    }
    None
}
