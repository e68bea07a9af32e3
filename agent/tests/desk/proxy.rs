//! A TCP proxy in front of the API server that loses replies, or everything.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a TLS handshake brings back at most; a connection that brought more has answered requests.
const HANDSHAKE: usize = 6 * 1024;

pub(crate) struct Proxy {
    url: Uri,
    /// How many of a hundred replies are lost, and their connections with them: the request was carried out.
    loss: Arc<AtomicU32>,
    lost: Arc<AtomicU32>,
    cut: watch::Sender<bool>,
    _end: DropGuard,
}

impl Proxy {
    pub(crate) async fn start(server: &Uri) -> Self {
        let target = format!("{}:{}", server.host().expect("a host"), server.port_u16().expect("a port"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (loss, lost) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let cut = watch::Sender::new(false);
        let end = CancellationToken::new();
        let (rate, count, cuts) = (Arc::clone(&loss), Arc::clone(&lost), cut.subscribe());
        let accept = async move {
            while let Ok((client, _)) = listener.accept().await {
                let (rate, count) = (Arc::clone(&rate), Arc::clone(&count));
                tokio::spawn(carry(client, target.clone(), rate, count, cuts.clone()));
            }
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(accept));
        let url = format!("https://{address}").parse().expect("a URL");
        Self { url, loss, lost, cut, _end: end.drop_guard() }
    }

    pub(crate) fn url(&self) -> Uri {
        self.url.clone()
    }

    pub(crate) fn lose(&self, percent: u32) {
        self.loss.store(percent, Ordering::Relaxed);
    }

    /// How many replies were lost.
    pub(crate) fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub(crate) fn resume(&self) {
        self.cut.send_replace(false);
    }
}

async fn carry(
    client: TcpStream,
    target: String,
    loss: Arc<AtomicU32>,
    lost: Arc<AtomicU32>,
    mut cuts: watch::Receiver<bool>,
) {
    if *cuts.borrow_and_update() {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = AtomicBool::new(false);
    tokio::select! {
        _ = ask(from_client, to_server, &asked) => {}
        _ = answer(from_server, to_client, &asked, &loss, &lost) => {}
        _ = cuts.changed() => {}
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        asked.store(true, Ordering::Relaxed);
        to.write_all(&buffer[..read]).await?;
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    asked: &AtomicBool,
    loss: &AtomicU32,
    lost: &AtomicU32,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut brought = 0;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        // Once for a question: what comes unasked are events of a watch.
        let reply = asked.swap(false, Ordering::Relaxed) && brought > HANDSHAKE;
        if reply && fastrand::u32(0..100) < loss.load(Ordering::Relaxed) {
            lost.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        brought += read;
        to.write_all(&buffer[..read]).await?;
    }
}
