//! Who may call: signatures, keys, tokens, dates, nonces, products.

use std::time::Duration;

use serde_json::Value;
use testbed::aliyun::{Authorization, Signed, sign};

use super::client::{Ask, seed};

const LIST: &str = "DescribeNetworkInterfaces";

#[test]
fn every_published_vector_is_recomputed() {
    let text = include_str!("../data/aliyun-signature-vectors.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 6);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let query: Vec<(String, String)> = vector["query"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        let headers: Vec<(String, String)> = serde_json::from_value(vector["headers"].clone()).unwrap();
        let signed = Signed {
            method: text("method"),
            path: text("canonical_uri"),
            query: &query,
            headers: &headers,
            payload_hash: text("payload_hash"),
        };
        let given = Authorization::parse(vector["expect"]["authorization"].as_str().unwrap()).unwrap();
        let to_sign = signed.string_to_sign(&given.signed_headers);
        if let Some(expected) = vector["expect"]["string_to_sign"].as_str() {
            assert_eq!(to_sign, expected, "{}", text("name"));
        }
        assert_eq!(sign(&to_sign, text("access_key_secret")), given.signature, "{}", text("name"));
        signed.verify(&given, text("access_key_secret")).unwrap();
        assert_eq!(signed.verify(&given, "another").unwrap_err().code, "SignatureDoesNotMatch");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_with_the_servers_text_to_sign() {
    let sim = seed().await;
    let answer = Ask { secret: "wrong".into(), ..Ask::ecs(&sim, LIST, &[]) }.answer().await;
    assert_eq!((answer.status, answer.code()), (400, "SignatureDoesNotMatch"));
    assert!(answer.json["Message"].as_str().unwrap().contains("server string to sign is:ACS3-HMAC-SHA256"));
}

#[tokio::test]
async fn an_unknown_key_and_a_switched_off_one_are_refused() {
    let sim = seed().await;
    let answer = Ask { key: "LTAI-unknown".into(), ..Ask::ecs(&sim, LIST, &[]) }.answer().await;
    assert_eq!((answer.status, answer.code()), (404, "InvalidAccessKeyId.NotFound"));
    sim.edit(|cloud| {
        cloud.add_key("old", "s");
        cloud.keys.deactivate("old");
    });
    let answer = Ask { key: "old".into(), secret: "s".into(), ..Ask::ecs(&sim, LIST, &[]) }.answer().await;
    assert_eq!(answer.code(), "InvalidAccessKeyId.Inactive");
}

#[tokio::test]
async fn a_clock_that_is_sixteen_minutes_off_is_refused_and_one_that_is_fourteen_off_is_not() {
    let sim = seed().await;
    let ask = Ask::ecs(&sim, LIST, &[]);
    sim.edit(|cloud| cloud.clock.advance(Duration::from_mins(14)));
    assert_eq!(ask.answer().await.status, 200);
    sim.edit(|cloud| cloud.clock.advance(Duration::from_mins(2)));
    let late = Ask { nonce: "late".into(), ..ask.clone() };
    assert_eq!(late.answer().await.code(), "InvalidTimeStamp.Expired");
    let odd = Ask { date: "21 Nov 2026".into(), ..ask };
    assert_eq!(odd.answer().await.code(), "IllegalTimestamp");
}

#[tokio::test]
async fn a_nonce_serves_once() {
    let sim = seed().await;
    let ask = Ask::ecs(&sim, LIST, &[]);
    assert_eq!(ask.answer().await.status, 200);
    assert_eq!(ask.answer().await.code(), "SignatureNonceUsed");
}

#[tokio::test]
async fn a_temporary_key_needs_its_own_live_token() {
    let sim = seed().await;
    let (mine, other) = sim.edit(|cloud| {
        (cloud.add_sts_credential(Duration::from_hours(1)), cloud.add_sts_credential(Duration::from_hours(1)))
    });
    let ask = |token: Option<&str>| Ask {
        key: mine.id.clone(),
        secret: mine.secret.clone(),
        token: token.map(str::to_owned),
        ..Ask::ecs(&sim, LIST, &[])
    };
    assert_eq!(ask(Some(&mine.token)).answer().await.status, 200);
    assert_eq!(ask(None).answer().await.code(), "InvalidSecurityToken.MismatchWithAccessKey");
    assert_eq!(ask(Some(&other.token)).answer().await.code(), "InvalidSecurityToken.MismatchWithAccessKey");
    assert_eq!(ask(Some("rubbish")).answer().await.code(), "InvalidSecurityToken.Malformed");
    sim.edit(|cloud| cloud.clock.advance(Duration::from_hours(1)));
    assert_eq!(ask(Some(&mine.token)).answer().await.code(), "InvalidSecurityToken.Expired");
}

#[tokio::test]
async fn a_header_of_the_protocol_that_is_not_signed_is_refused() {
    let sim = seed().await;
    let unsigned = vec![("x-acs-trace".to_owned(), "1".to_owned())];
    let answer = Ask { unsigned, ..Ask::ecs(&sim, LIST, &[]) }.answer().await;
    assert_eq!(answer.code(), "IncompleteSignature");
}

#[tokio::test]
async fn a_body_that_differs_from_its_hash_is_refused() {
    let sim = seed().await;
    let answer = Ask { body: "A=b".into(), ..Ask::ecs(&sim, LIST, &[]) }.answer().await;
    assert_eq!(answer.code(), "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_call_without_authorization_is_refused() {
    let sim = seed().await;
    let reply = super::client::http()
        .post(&sim.endpoints().ecs)
        .header("x-acs-action", LIST)
        .header("x-acs-version", "2014-05-26")
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status().as_u16(), 400);
    assert!(reply.text().await.unwrap().contains("IncompleteSignature"));
}

#[tokio::test]
async fn a_vpc_call_on_the_ecs_port_is_refused_and_so_is_another_version() {
    let sim = seed().await;
    let misdirected = Ask { url: sim.endpoints().ecs.clone(), ..Ask::vpc(&sim, "DescribeVSwitches", &[]) };
    assert_eq!(misdirected.answer().await.code(), "InvalidAction.NotFound");
    let old = Ask { version: "2014-05-26".into(), ..Ask::vpc(&sim, "DescribeVSwitches", &[]) };
    assert_eq!(old.answer().await.code(), "InvalidAction.NotFound");
    assert_eq!(Ask::vpc(&sim, "DescribeVSwitches", &[]).answer().await.status, 200);
}

#[tokio::test]
async fn the_region_is_required_and_must_be_this_one() {
    let sim = seed().await;
    assert_eq!(Ask::ecs(&sim, LIST, &[]).without("RegionId").answer().await.code(), "MissingParameter");
    let elsewhere = Ask::ecs(&sim, LIST, &[]).without("RegionId");
    let mut query = elsewhere.query.clone();
    query.push(("RegionId".into(), "cn-beijing".into()));
    assert_eq!(Ask { query, ..elsewhere }.answer().await.code(), "InvalidRegionId.NotFound");
}

#[tokio::test]
async fn the_log_names_every_call_and_holds_no_secret() {
    let sim = seed().await;
    let temporary = sim.edit(|cloud| cloud.add_sts_credential(Duration::from_hours(1)));
    Ask {
        key: temporary.id.clone(),
        secret: temporary.secret.clone(),
        token: Some(temporary.token.clone()),
        ..Ask::ecs(&sim, LIST, &[("VpcId", "vpc-bp1seed")])
    }
    .answer()
    .await;
    let log = sim.log();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].parameters["VpcId"], "vpc-bp1seed");
    assert_eq!(sim.calls().of(LIST), 1);
    let shown = format!("{log:?} {temporary:?}");
    assert!(!shown.contains(&temporary.secret) && !shown.contains(&temporary.token), "{shown}");
    sim.reset_calls();
    assert_eq!(sim.calls().total(), 0);
}
