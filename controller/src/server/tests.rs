//! The endpoints over a real socket.

use std::io::{Read, Write};
use std::net::TcpStream;

use prometheus_client::metrics::gauge::Gauge;
use tokio::task::JoinHandle;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

async fn serve(health: Health) -> Running {
    let mut registry = Registry::default();
    let answer: Gauge = Gauge::default();
    registry.register("answer", "The answer", answer.clone());
    answer.set(42);
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let (address, shutdown) = (server.address(), CancellationToken::new());
    let task = tokio::spawn(server.serve(health, Arc::new(registry), shutdown.clone()));
    Running { address, shutdown, task }
}

async fn fetch(address: SocketAddr, path: &'static str) -> (u16, String) {
    // A client of its own thread: the server's has the test's.
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("a listening server");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    });
    let answer = client.await.expect("no panic");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status line"), answer)
}

#[tokio::test]
async fn port_zero_becomes_a_real_port() {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    assert_ne!(server.address().port(), 0);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_what_to_do() {
    let first = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let error = Server::bind(first.address()).await.expect_err("a taken port").to_string();
    assert!(error.contains(&first.address().to_string()) && error.contains("--listen"), "{error}");
}

#[tokio::test]
async fn both_liveness_paths_follow_the_main_loop() {
    let now = Instant::now();
    let healthy = serve(Health::new(LIMIT, now)).await;
    // A limit of zero: any silence at all is too long.
    let dead = serve(Health::new(Duration::ZERO, now)).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    for path in ["/healthz", "/v1/runtime/liveness", "/v1/runtime/startup"] {
        assert_eq!(fetch(healthy.address, path).await.0, 200, "{path}");
        let (status, answer) = fetch(dead.address, path).await;
        assert_eq!(status, 503, "{path}");
        assert!(answer.contains("silent for"), "{answer}");
    }
}

#[tokio::test]
async fn both_readiness_paths_wait_for_the_caches() {
    let health = Health::new(LIMIT, Instant::now());
    let running = serve(health.clone()).await;
    for path in ["/readyz", "/v1/runtime/readiness"] {
        assert_eq!(fetch(running.address, path).await.0, 503, "{path}");
    }
    health.ready();
    for path in ["/readyz", "/v1/runtime/readiness"] {
        assert_eq!(fetch(running.address, path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let running = serve(Health::new(LIMIT, Instant::now())).await;
    let (status, answer) = fetch(running.address, "/metrics").await;
    assert_eq!(status, 200);
    let answer = answer.to_lowercase();
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.contains("\nanswer 42\n") && answer.contains("# eof"), "{answer}");
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let running = serve(Health::new(LIMIT, Instant::now())).await;
    assert_eq!(fetch(running.address, "/nothing").await.0, 404);
}

#[tokio::test]
async fn a_client_that_sends_half_a_request_does_not_hold_the_shutdown() {
    let running = serve(Health::new(LIMIT, Instant::now())).await;
    let mut stream = TcpStream::connect(running.address).expect("a listening server");
    stream.write_all(b"GET /healthz HT").expect("half a request");
    // Answered, so the connection before it is accepted too.
    fetch(running.address, "/healthz").await;
    running.shutdown.cancel();
    let ended = tokio::time::timeout(DRAIN * 2, running.task).await.expect("an end in time");
    assert!(ended.expect("no panic").is_ok());
    assert!(TcpStream::connect(running.address).is_err(), "nobody listens any more");
}
