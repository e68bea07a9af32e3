//! The webhook behind real TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connections::DRAIN;
use super::*;

fn certify(dir: &Path) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

/// Asks for the health path, trusting one certificate.
async fn health(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await?;
    let mut tls = TlsConnector::from(Arc::new(config)).connect(address.ip().into(), tcp).await?;
    let request = b"GET /webhook-health-check HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    tls.write_all(request).await?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn at(server: &Server) -> SocketAddr {
    axum::serve::Listener::local_addr(&server.listener).unwrap()
}

async fn open(dir: &Path) -> Server {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::open(&Webhook { listen, certs: dir.to_owned() }).await.unwrap()
}

#[tokio::test]
async fn clients_that_say_nothing_stop_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let server = open(dir.path()).await;
    let address = at(&server);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(Book::default(), Metrics::default(), shutdown.clone()));
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(2), health(address, &trusted)).await;
    assert!(answer.expect("an answer at once").unwrap().contains("200 OK"));
    shutdown.cancel();
    tokio::time::timeout(DRAIN * 2, task).await.expect("an end in time").unwrap();
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path());
    let server = open(dir.path()).await;
    let address = at(&server);
    tokio::spawn(server.serve(Book::default(), Metrics::default(), CancellationToken::new()));
    let mut silent = TcpStream::connect(address).await.unwrap();
    let closed =
        tokio::time::timeout(Duration::from_secs(20), silent.read_u8()).await.expect("an end in time");
    assert!(closed.is_err(), "closed without a byte");
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_gets_no_answer_and_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path());
    let server = open(dir.path()).await;
    let address = at(&server);
    tokio::spawn(server.serve(Book::default(), Metrics::default(), CancellationToken::new()));
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /webhook-health-check HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{answer:?}");
    assert!(health(address, &trusted).await.unwrap().contains("200 OK"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path());
    let first = open(dir.path()).await;
    let webhook = Webhook { listen: at(&first), certs: dir.path().to_owned() };
    let error = Server::open(&webhook).await.err().expect("a taken port").to_string();
    assert!(error.contains(&at(&first).to_string()) && error.contains("--webhook-listen"), "{error}");
}
