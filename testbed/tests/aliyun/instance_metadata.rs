//! The metadata service and STS.

use std::time::Duration;

use serde_json::Value;
use testbed::aliyun::{Delays, Fault, Mode, Role, Simulator, When};

use super::client::{Ask, http, seed};

const TTL: &str = "X-aliyun-ecs-metadata-token-ttl-seconds";
const TOKEN: &str = "X-aliyun-ecs-metadata-token";

async fn get(sim: &Simulator, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = http().get(format!("{}/latest/{path}", sim.endpoints().metadata));
    if let Some(token) = token {
        request = request.header(TOKEN, token);
    }
    let reply = request.send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn put(sim: &Simulator, ttl: Option<&str>, forwarded: Option<&str>) -> (u16, String) {
    let mut request = http().put(format!("{}/latest/api/token", sim.endpoints().metadata));
    if let Some(ttl) = ttl {
        request = request.header(TTL, ttl);
    }
    if let Some(forwarded) = forwarded {
        request = request.header("X-Forwarded-For", forwarded);
    }
    let reply = request.send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

#[tokio::test]
async fn the_tree_tells_of_the_served_instance() {
    let sim = seed().await;
    let mac = sim.edit(|cloud| cloud.world().nic("eni-bp1master1").unwrap().mac.clone());
    let cases = [
        ("instance-id".to_owned(), "i-bp1master"),
        ("region-id".to_owned(), "cn-hangzhou"),
        ("zone-id".to_owned(), "cn-hangzhou-i"),
        ("vpc-id".to_owned(), "vpc-bp1seed"),
        ("private-ipv4".to_owned(), "172.31.199.183"),
        ("instance/instance-type".to_owned(), "ecs.g7.xlarge"),
        (format!("network/interfaces/macs/{mac}/network-interface-id"), "eni-bp1master1"),
        (format!("network/interfaces/macs/{mac}/gateway"), "192.168.0.253"),
        (format!("network/interfaces/macs/{mac}/netmask"), "255.255.255.0"),
        (format!("network/interfaces/macs/{mac}/ipv6-gateway"), "2001:db8:31:c0c0:ffff:ffff:ffff:fff7"),
        (
            format!("network/interfaces/macs/{mac}/private-ipv4s"),
            r#"["192.168.0.154","192.168.0.156","192.168.0.157","192.168.0.158","192.168.0.159","192.168.0.160"]"#,
        ),
        (
            format!("network/interfaces/macs/{mac}/ipv6s"),
            "[2001:db8:31:c0c0::156, 2001:db8:31:c0c0::157, 2001:db8:31:c0c0::158]",
        ),
    ];
    for (path, expected) in cases {
        assert_eq!(get(&sim, &format!("meta-data/{path}"), None).await, (200, expected.to_owned()), "{path}");
    }
    let (_, macs) = get(&sim, "meta-data/network/interfaces/macs/", None).await;
    assert_eq!(macs.lines().count(), 2);
    assert!(macs.lines().all(|line| line.ends_with('/')), "{macs}");
}

#[tokio::test]
async fn what_is_absent_is_a_404_page() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.clock.stop();
        let ipv6: Vec<_> =
            cloud.world().nic("eni-bp1master1").unwrap().ipv6.iter().map(|it| (*it).into()).collect();
        cloud.unassign("eni-bp1master1", &ipv6)
    })
    .unwrap();
    let mac = sim.edit(|cloud| cloud.world().nic("eni-bp1master1").unwrap().mac.clone());
    for path in
        [format!("network/interfaces/macs/{mac}/ipv6s"), "ram/security-credentials/".into(), "nothing".into()]
    {
        let (status, body) = get(&sim, &format!("meta-data/{path}"), None).await;
        assert_eq!(status, 404, "{path}");
        assert!(body.starts_with("<html>"));
    }
}

#[tokio::test]
async fn strict_mode_wants_a_live_token() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.metadata.mode = Mode::Strict);
    assert_eq!(get(&sim, "meta-data/instance-id", None).await.0, 401);
    assert_eq!(get(&sim, "meta-data/instance-id", Some("made-up")).await.0, 401);
    let (status, token) = put(&sim, Some("60"), None).await;
    assert_eq!(status, 200);
    assert_eq!(get(&sim, "meta-data/instance-id", Some(&token)).await.0, 200);
    sim.edit(|cloud| cloud.clock.advance(Duration::from_secs(61)));
    assert_eq!(get(&sim, "meta-data/instance-id", Some(&token)).await.0, 401);
}

#[tokio::test]
async fn a_token_is_given_for_one_second_to_six_hours_and_to_no_proxy() {
    let sim = seed().await;
    for (ttl, status) in
        [(None, 400), (Some("0"), 400), (Some("21601"), 400), (Some("21600"), 200), (Some("1"), 200)]
    {
        assert_eq!(put(&sim, ttl, None).await.0, status, "{ttl:?}");
    }
    assert_eq!(put(&sim, Some("60"), Some("10.0.0.1")).await.0, 403);
    sim.edit(|cloud| cloud.metadata.mode = Mode::Tokenless);
    assert_eq!(put(&sim, Some("60"), None).await.0, 404);
}

#[tokio::test]
async fn the_metadata_service_lags_on_its_own() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.clock.stop();
        cloud.delays = Delays { metadata: Duration::from_secs(5), ..Delays::default() };
        cloud.assign("eni-bp1master1", &["192.168.0.200".parse().unwrap()])
    })
    .unwrap();
    let mac = sim.edit(|cloud| cloud.world().nic("eni-bp1master1").unwrap().mac.clone());
    let path = format!("meta-data/network/interfaces/macs/{mac}/private-ipv4s");
    assert!(!get(&sim, &path, None).await.1.contains("192.168.0.200"));
    assert_eq!(super::client::listed(&sim, "eni-bp1master1").await.len(), 6, "the listing does not lag");
    sim.edit(|cloud| cloud.clock.advance(Duration::from_secs(5)));
    assert!(get(&sim, &path, None).await.1.contains("192.168.0.200"));
}

#[tokio::test]
async fn a_role_credential_signs_until_it_expires_and_is_renewed_before() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.metadata.role = Some(Role::new("cni", Duration::from_hours(1))));
    let fetch = async || -> Value {
        serde_json::from_str(&get(&sim, "meta-data/ram/security-credentials/cni", None).await.1).unwrap()
    };
    assert_eq!(get(&sim, "meta-data/ram/security-credentials/", None).await.1, "cni");
    let first = fetch().await;
    assert_eq!(first["Code"], "Success");
    assert_eq!(fetch().await["AccessKeyId"], first["AccessKeyId"], "the same for a while");
    let ask = |credential: &Value| Ask {
        key: credential["AccessKeyId"].as_str().unwrap().to_owned(),
        secret: credential["AccessKeySecret"].as_str().unwrap().to_owned(),
        token: credential["SecurityToken"].as_str().map(str::to_owned),
        ..Ask::ecs(&sim, "DescribeInstances", &[])
    };
    assert_eq!(ask(&first).answer().await.status, 200);
    sim.edit(|cloud| cloud.clock.advance(Duration::from_mins(31)));
    let second = fetch().await;
    assert_ne!(second["AccessKeyId"], first["AccessKeyId"]);
    assert_eq!(ask(&first).answer().await.status, 200, "both work meanwhile");
    sim.edit(|cloud| cloud.clock.advance(Duration::from_mins(30)));
    assert_eq!(ask(&first).answer().await.code(), "InvalidSecurityToken.Expired");
    sim.edit(|cloud| cloud.metadata.role = Some(Role::new("cni", Duration::from_hours(1)).failing("Failed")));
    let failed = fetch().await;
    assert_eq!((failed["Code"].as_str(), failed.get("AccessKeyId")), (Some("Failed"), None));
}

#[tokio::test]
async fn the_metadata_service_breaks_on_command() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.faults.add("Metadata", When::Next(1), Fault::Throttled));
    assert_eq!(get(&sim, "meta-data/instance-id", None).await.0, 429);
    assert_eq!(get(&sim, "meta-data/instance-id", None).await.0, 200);
}

const ROLE: &str = "acs:ram::1234567890123456:role/cni";
const PROVIDER: &str = "acs:ram::1234567890123456:oidc-provider/ack-rrsa-c1";

async fn assume(sim: &Simulator, role: &str, token: &str, format: &str) -> (u16, String) {
    let encode = |text: &str| text.replace(':', "%3A").replace('/', "%2F");
    let reply = http()
        .post(format!("{}/?Action=AssumeRoleWithOIDC&Version=2015-04-01{format}", sim.endpoints().sts))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "RoleArn={}&OIDCProviderArn={}&OIDCToken={token}&RoleSessionName=spiderpool&DurationSeconds=900",
            encode(role),
            encode(PROVIDER)
        ))
        .send()
        .await
        .unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

#[tokio::test]
async fn a_service_accounts_token_is_changed_for_a_credential_that_signs() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.sts.trust(ROLE, PROVIDER);
        cloud.sts.accept_token("token-one");
    });
    let (status, body) = assume(&sim, ROLE, "token-one", "&Format=JSON").await;
    assert_eq!(status, 200, "{body}");
    let credential = serde_json::from_str::<Value>(&body).unwrap()["Credentials"].clone();
    let answer = Ask {
        key: credential["AccessKeyId"].as_str().unwrap().to_owned(),
        secret: credential["AccessKeySecret"].as_str().unwrap().to_owned(),
        token: credential["SecurityToken"].as_str().map(str::to_owned),
        ..Ask::ecs(&sim, "DescribeInstances", &[])
    };
    assert_eq!(answer.answer().await.status, 200);
    assert!(!format!("{:?}", sim.log()).contains("token-one"), "the token is not logged");
    assert!(assume(&sim, ROLE, "token-one", "").await.1.starts_with("<?xml"), "without Format it is XML");
}

#[tokio::test]
async fn a_bad_or_rotated_token_and_an_unknown_role_are_refused() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.sts.trust(ROLE, PROVIDER);
        cloud.sts.accept_token("token-one");
        cloud.sts.expire_token("token-one");
    });
    for (role, token, code) in [
        (ROLE, "token-one", "AuthenticationFail.OIDCToken.Expired"),
        (ROLE, "token-two", "AuthenticationFail.OIDCToken.Invalid"),
        ("acs:ram::1:role/none", "token-one", "EntityNotExist.Role"),
    ] {
        let (status, body) = assume(&sim, role, token, "&Format=JSON").await;
        assert!(status >= 400 && body.contains(code), "{status} {body}");
    }
}
