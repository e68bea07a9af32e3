//! A TCP proxy in front of the API server that can cut its connections or let them hang.

use std::io;

use axum::http::Uri;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Forward,
    /// Open connections are closed, new ones at once.
    Cut,
    /// Connections stay open and nothing comes through.
    Hang,
}

pub(crate) struct Proxy {
    url: Uri,
    mode: watch::Sender<Mode>,
    _end: DropGuard,
}

impl Proxy {
    pub(crate) async fn start(server: &Uri) -> Self {
        let target = format!("{}:{}", server.host().expect("a host"), server.port_u16().expect("a port"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (mode, modes) = watch::channel(Mode::Forward);
        let end = CancellationToken::new();
        let accept = async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target.clone(), modes.clone()));
            }
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(accept));
        let url = format!("https://{address}").parse().expect("a URL");
        Self { url, mode, _end: end.drop_guard() }
    }

    pub(crate) fn url(&self) -> Uri {
        self.url.clone()
    }

    pub(crate) fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    pub(crate) fn hang(&self) {
        self.mode.send_replace(Mode::Hang);
    }

    pub(crate) fn resume(&self) {
        self.mode.send_replace(Mode::Forward);
    }
}

async fn carry(client: TcpStream, target: String, mut modes: watch::Receiver<Mode>) {
    let mode = *modes.borrow_and_update();
    if mode == Mode::Forward {
        let Ok(server) = TcpStream::connect(target).await else { return };
        tokio::select! {
            _ = pump(&client, &server) => return,
            _ = pump(&server, &client) => return,
            _ = modes.changed() => {}
        }
    }
    // The peer sees nothing until the proxy does something else, or a closed connection at once.
    if *modes.borrow_and_update() == Mode::Hang {
        let _ = modes.changed().await;
    }
}

/// Copies until one side ends. By hand, because the controller has no other use for tokio's `io-util`.
async fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        from.readable().await?;
        let read = match from.try_read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(());
        }
        let mut written = 0;
        while written < read {
            to.writable().await?;
            written += match to.try_write(&buffer[written..read]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                wrote => wrote?,
            };
        }
    }
}
