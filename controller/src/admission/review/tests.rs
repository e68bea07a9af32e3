//! The paths over a real socket, without TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::admission::book::entry;
use crate::shelf::Delta;

fn object(name: &str, ips: &Value) -> Value {
    json!({
        "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool",
        "metadata": {"name": name}, "spec": {"subnet": "10.0.0.0/8", "ips": ips},
    })
}

fn review(operation: &str, object: &Value, old: &Value) -> Value {
    let kind = json!({"group": "spiderpool.spidernet.io", "version": "v2beta1", "kind": "SpiderIPPool"});
    let resource =
        json!({"group": "spiderpool.spidernet.io", "version": "v2beta1", "resource": "spiderippools"});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "42", "kind": kind, "resource": resource, "operation": operation, "userInfo": {},
            "object": object, "oldObject": old,
        },
    })
}

/// A server that knows one pool, `a`, of 10.0.0.1.
async fn serve() -> SocketAddr {
    let book = Book::default();
    let a: SpiderIPPool = serde_json::from_value(object("a", &json!(["10.0.0.1"]))).unwrap();
    book.see(Delta::Begin);
    book.see(Delta::Here("a".into(), entry(&a, &model::Owner::Foreign)));
    book.see(Delta::End);
    serve_book(book).await
}

async fn serve_book(book: Book) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router(book, Metrics::default())).await });
    address
}

async fn exchange(address: SocketAddr, request: Vec<u8>) -> (u16, String) {
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        // A server that refuses what is too long does not read it all.
        let _ = stream.write_all(&request);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    let answer = client.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn post(address: SocketAddr, body: &[u8]) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "POST {VALIDATE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    exchange(address, [head.as_bytes(), body].concat()).await
}

async fn ask(address: SocketAddr, review: &Value) -> Value {
    let (status, body) = post(address, review.to_string().as_bytes()).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["response"].clone()
}

#[tokio::test]
async fn an_answer_bears_the_questions_uid_and_a_refusal_its_sentence() {
    let address = serve().await;
    let answer = ask(address, &review("CREATE", &object("b", &json!(["10.0.0.2"])), &Value::Null)).await;
    assert_eq!((&answer["uid"], &answer["allowed"]), (&json!("42"), &json!(true)));
    let answer = ask(address, &review("CREATE", &object("b", &json!(["10.0.0.1"])), &Value::Null)).await;
    assert_eq!((&answer["uid"], &answer["allowed"]), (&json!("42"), &json!(false)));
    assert_eq!((&answer["status"]["code"], &answer["status"]["reason"]), (&json!(422), &json!("Invalid")));
    assert!(answer["status"]["message"].as_str().unwrap().contains("SpiderIPPool a"), "{answer}");
}

#[tokio::test]
async fn a_controller_that_does_not_know_all_pools_says_so() {
    let address = serve_book(Book::default()).await;
    let answer = ask(address, &review("CREATE", &object("b", &json!(["10.0.0.2"])), &Value::Null)).await;
    assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(503)));
    assert!(
        answer["status"]["message"].as_str().unwrap().contains("not all SpiderIPPools are known yet"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_deletion_passes_without_an_object() {
    let answer =
        ask(serve().await, &review("DELETE", &Value::Null, &object("b", &json!(["10.0.0.1"])))).await;
    assert_eq!(answer["allowed"], json!(true));
}

#[tokio::test]
async fn an_object_of_another_shape_is_refused_unless_it_was_so_before() {
    let address = serve().await;
    let odd = object("b", &json!("10.0.0.2"));
    let answer = ask(address, &review("CREATE", &odd, &Value::Null)).await;
    assert!(answer["status"]["message"].as_str().unwrap().contains("no SpiderIPPool"), "{answer}");
    let mut edited = odd.clone();
    edited["metadata"]["finalizers"] = json!(["a"]);
    assert_eq!(ask(address, &review("UPDATE", &edited, &odd)).await["allowed"], json!(true));
}

#[tokio::test]
async fn a_body_that_is_no_question_is_refused_in_one_line() {
    let address = serve().await;
    let empty = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}).to_string();
    for body in ["", "{", "[]", &empty] {
        let (status, said) = post(address, body.as_bytes()).await;
        assert_eq!(status, 400, "{body}");
        assert!(said.contains("AdmissionReview") && said.lines().count() == 1, "{said}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut() {
    let (status, said) = post(serve().await, &vec![b' '; LONGEST + 1]).await;
    assert_eq!(status, 400, "{said}");
    assert!(said.contains("at most"), "{said}");
}

#[tokio::test]
async fn the_health_path_answers() {
    let request = format!("GET {HEALTH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange(serve().await, request.into_bytes()).await, (200, "ok\n".to_owned()));
}
