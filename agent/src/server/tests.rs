//! Clients that are slow, half open, or gone.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

struct Running {
    dir: tempfile::TempDir,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    /// Whether the slow request is under way, and whether it was dropped before its end.
    begun: Arc<AtomicBool>,
    dropped: Arc<AtomicBool>,
}

/// Tells whether it was dropped before it was disarmed.
struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let (begun, dropped) = (Arc::new(AtomicBool::default()), Arc::new(AtomicBool::default()));
    let slow = {
        let (begun, dropped) = (Arc::clone(&begun), Arc::clone(&dropped));
        move || async move {
            let guard = Guard(dropped);
            begun.store(true, Ordering::SeqCst);
            sleep(Duration::from_secs(2)).await;
            std::mem::forget(guard);
            "done"
        }
    };
    let router = Router::new().route("/slow", post(slow)).route("/", get(async || "here"));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, router, shutdown.clone()));
    Running { dir, shutdown, task, begun, dropped }
}

impl Running {
    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("s")).await.unwrap()
    }

    async fn begun(&self) {
        while !self.begun.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

const SLOW: &[u8] = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_request_whose_client_closes_is_dropped_at_once() {
    let server = start();
    let mut client = server.connect().await;
    client.write_all(SLOW).await.unwrap();
    server.begun().await;
    drop(client);
    let start = Instant::now();
    while !server.dropped.load(Ordering::SeqCst) {
        assert!(start.elapsed() < Duration::from_secs(1), "it goes on");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_end() {
    let server = start();
    let mut client = server.connect().await;
    client.write_all(SLOW).await.unwrap();
    server.begun().await;
    server.shutdown.cancel();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    server.task.await.unwrap();
    assert!(UnixStream::connect(server.dir.path().join("s")).await.is_err(), "nobody listens any more");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_half_a_head_is_closed_and_holds_no_stop() {
    let server = start();
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let (start, mut rest) = (Instant::now(), Vec::new());
    let _ = client.read_to_end(&mut rest).await;
    assert!(start.elapsed() <= HEAD + Duration::from_secs(1), "{:?}", start.elapsed());
    // Another one is half open when the stop comes.
    let mut client = server.connect().await;
    client.write_all(b"GET").await.unwrap();
    sleep(Duration::from_millis(1)).await;
    let start = Instant::now();
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert!(start.elapsed() <= DRAIN + Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_closed() {
    let server = start();
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (start, mut answer) = (Instant::now(), String::new());
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("here"), "{answer}");
    assert!(start.elapsed() <= HEAD + Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_is_no_http_gets_an_answer_and_an_end() {
    let server = start();
    let mut client = server.connect().await;
    client.write_all(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{:?}", String::from_utf8_lossy(&answer));
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("here"), "the next one is served: {answer}");
}
