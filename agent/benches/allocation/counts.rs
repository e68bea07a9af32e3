//! What the API server counts, and what passes between it and agents.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::Stage;

/// What an agent asks for. (Of Nodes it watches its own, and Kubernetes' own parts write those that no kubelet reports.)
const KINDS: [&str; 7] = [
    "spiderippools",
    "spiderendpoints",
    "spiderreservedips",
    "pods",
    "namespaces",
    "replicasets",
    "statefulsets",
];

/// How many requests the API server has answered, by verb, kind and code.
pub(crate) async fn requests(stage: &Stage) -> BTreeMap<String, u64> {
    let request = axum::http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = stage.client.request_text(request).await.unwrap();
    let mut counts = BTreeMap::<String, u64>::new();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        let (Some(kind), Some(verb), Some(code)) = (label("resource"), label("verb"), label("code")) else {
            continue;
        };
        // Kubernetes' own parts, and this bench, write pods; an agent only reads them.
        let theirs = kind == "pods" && !["GET", "LIST"].contains(&verb);
        if !KINDS.contains(&kind) || verb == "WATCH" || theirs {
            continue;
        }
        let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = count as u64;
        *counts.entry(format!("{verb} {kind} {code}")).or_default() += count;
    }
    counts
}

/// What was counted between two looks.
pub(crate) fn difference(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let more = after.iter().map(|(name, now)| (name.clone(), now - before.get(name).copied().unwrap_or(0)));
    more.filter(|(_, more)| *more > 0).collect()
}

/// A way to the API server on which bytes are counted: TLS, HTTP and watches included.
pub(crate) struct Meter {
    pub(crate) kubeconfig: PathBuf,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Meter {
    pub(crate) async fn start(stage: &Stage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = stage.plane.server().to_owned();
        let here = format!("https://{}", listener.local_addr().unwrap());
        let text = std::fs::read_to_string(stage.plane.kubeconfig()).unwrap().replace(&server, &here);
        let kubeconfig = stage.file("metered.kubeconfig");
        std::fs::write(&kubeconfig, text).unwrap();
        let target = server.trim_start_matches("https://").to_owned();
        let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (to_server, to_client) = (Arc::clone(&sent), Arc::clone(&received));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let ((from_client, into_client), (from_server, into_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, into_server, Arc::clone(&to_server)));
                tokio::spawn(carry(from_server, into_client, Arc::clone(&to_client)));
            }
        });
        Self { kubeconfig, sent, received }
    }

    /// Bytes to the API server, and from it.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: Arc<AtomicU64>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(u64::try_from(read).unwrap(), Ordering::Relaxed);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
