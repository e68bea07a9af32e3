//! A door between network namespaces: connections taken here are made again there.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::netns::Netns;

/// Passes TCP connections on until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Takes connections of `listener`, which may be of any namespace, and makes each again to `target` inside `inside`.
    pub(crate) fn start(listener: TcpListener, inside: &Netns, target: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Network { action: format!("pass connections on to {target}"), source };
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let inside = inside.clone();
        let thread = thread::spawn(move || {
            // The runtime has this thread only, so all its new sockets are made inside.
            if inside.enter().is_ok() {
                runtime.block_on(async {
                    tokio::select! {
                        _ = serve(listener, target) => {}
                        _ = stopped => {}
                    }
                });
            }
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn serve(listener: TcpListener, target: SocketAddr) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut client, _)) = accepted else { continue };
                connections.spawn(async move {
                    let mut server = TcpStream::connect(target).await?;
                    // Small requests and answers: waiting to fill a segment would cost 40 ms each.
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
