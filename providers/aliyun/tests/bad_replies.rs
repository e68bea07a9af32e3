//! What the provider makes of replies that are wrong, late, cut or never end.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

#[path = "bad_replies/script.rs"]
mod script;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use model::{Claim, InstanceId, Inventory, NicUse, Node};
use providers::{Class, Error, Provider};
use providers_aliyun::{Aliyun, Outcome};
use serde_json::json;

use script::*;

const NICS: &str = "DescribeNetworkInterfaces";

/// Lists a cloud that answers NIC listings with `reply`, and returns the error and how often it was asked.
async fn failing(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Error, usize) {
    let cloud = Cloud::start(sound(move |asked| (asked.action == NICS).then(|| reply(asked)))).await;
    let error =
        Aliyun::with_environment(cloud.settings(), &key_and_token()).unwrap().list().await.unwrap_err();
    for secret in [KEY_ID, KEY_SECRET, TOKEN] {
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
    let host = cloud.address.trim_start_matches("http://");
    assert!(
        error.message.starts_with(&format!("{NICS} for VPC vpc-1 in cn-hangzhou at {host} failed: ")),
        "{error}"
    );
    (error, cloud.count(NICS))
}

fn nic_ids(inventory: &Inventory) -> Vec<&str> {
    inventory.instances.values().flatten().map(|nic| nic.id.as_str()).collect()
}

#[tokio::test]
async fn a_wrong_key_is_denied_at_once_and_says_which_key() {
    let message = format!("Specified access key {KEY_ID} is not found; {KEY_SECRET} {TOKEN}");
    let (error, calls) = failing(move |_| refuse(404, "InvalidAccessKeyId.NotFound", &message)).await;
    assert_eq!((error.class, calls), (Class::Denied, 1));
    for part in
        ["InvalidAccessKeyId.NotFound", "LTAI***EYID", "REQUEST-1", "the access key in the environment"]
    {
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_denied_and_the_advice_names_it() {
    let (error, calls) =
        failing(|_| refuse(400, "SignatureDoesNotMatch", "server string to sign is: …")).await;
    assert_eq!((error.class, calls), (Class::Denied, 1));
    assert!(error.message.contains("secret of the access key in the environment"), "{error}");
}

#[tokio::test]
async fn an_expired_token_that_cannot_be_renewed_is_denied() {
    let (error, calls) = failing(|_| refuse(400, "InvalidSecurityToken.Expired", "expired")).await;
    assert_eq!((error.class, calls), (Class::Denied, 1));
    assert!(error.message.contains("renew it"), "{error}");
}

#[tokio::test]
async fn a_wrong_clock_is_denied_with_the_difference() {
    let reply = |_: &Asked| {
        with_header(refuse(400, "InvalidTimeStamp.Expired", "x"), "date", "Wed, 01 Jan 2020 00:00:00 GMT")
    };
    let (error, _) = failing(reply).await;
    assert_eq!(error.class, Class::Denied);
    assert!(error.message.contains("set this machine's clock (it is "), "{error}");
    assert!(error.message.contains("s ahead of the cloud's"), "{error}");
}

#[tokio::test]
async fn a_missing_permission_names_the_ram_action() {
    let body = json!({
        "RequestId": "REQUEST-1", "Code": "Forbidden.RAM", "Message": "User not authorized",
        "AccessDeniedDetail": {"AuthAction": "ecs:X", "AuthPrincipalDisplayName": "u1", "EncodedDiagnosticMessage": "AQ=="},
    });
    let reply = move |_: &Asked| Reply::Full { status: 403, headers: Vec::new(), body: body.to_string() };
    let (error, calls) = failing(reply).await;
    assert_eq!((error.class, calls), (Class::Denied, 1));
    for part in ["allow the RAM action ecs:DescribeNetworkInterfaces", "AuthPrincipalDisplayName u1"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    assert!(!error.message.contains("AQ=="));
}

#[tokio::test]
async fn a_page_of_a_proxy_is_transient_and_called_that() {
    let (error, calls) = failing(|_| text(502, "<html>Bad gateway</html>")).await;
    assert_eq!((error.class, calls), (Class::Transient, 3));
    for part in ["HTTP 502", "text/html", "proxy"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    let (error, _) = failing(|_| text(200, "<html>Please log in</html>")).await;
    assert_eq!(error.class, Class::Transient);
}

#[tokio::test]
async fn a_cut_reply_is_transient() {
    let whole = r#"{"RequestId":"1","NetworkInterfaceSets":{"NetworkInterfaceSet":[]},"NextToken":""}"#;
    let (error, calls) = failing(move |_| text(200, &whole[..whole.len() - 20])).await;
    assert_eq!((error.class, calls), (Class::Transient, 3));
    assert!(error.message.contains("is cut off after"), "{error}");
    let (error, _) = failing(move |_| Reply::BrokenOff(whole.to_owned())).await;
    assert_eq!(error.class, Class::Transient);
    assert!(error.message.contains("broke off"), "{error}");
}

#[tokio::test]
async fn json_that_is_not_the_clouds_is_transient() {
    for body in
        ["{}", "[]", "null", "", r#"{"RequestId":""}"#, r#"{"RequestId":"1","NetworkInterfaceSets":7}"#]
    {
        let (error, _) = failing(move |_| text(200, body)).await;
        assert_eq!(error.class, Class::Transient, "{body}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (error, _) = failing(|_| with_header(text(302, "{}"), "location", "/elsewhere")).await;
    assert_eq!(error.class, Class::Transient);
    assert!(error.message.contains("302"), "{error}");
}

#[tokio::test]
async fn an_error_code_counts_whatever_the_http_status() {
    let (error, _) = failing(|_| refuse(200, "Forbidden.RAM", "no")).await;
    assert_eq!(error.class, Class::Denied);
    let (error, _) = failing(|_| refuse(500, "InvalidRegionId.NotFound", "no")).await;
    assert_eq!(error.class, Class::Invalid);
    assert!(error.message.contains("check `region`"), "{error}");
}

#[tokio::test]
async fn a_nic_without_an_id_makes_the_listing_worthless() {
    let (error, _) = failing(|_| nics(&[nic(1, "i-a"), json!({"InstanceId": "i-a"})], "")).await;
    assert_eq!(error.class, Class::Transient);
}

#[tokio::test]
async fn an_empty_page_with_a_token_goes_on() {
    let cloud = Cloud::start(sound(|asked| match (asked.action.as_str(), asked.has("NextToken=t1")) {
        (NICS, false) => Some(nics(&[], "t1")),
        _ => None,
    }))
    .await;
    assert_eq!(nic_ids(&cloud.provider().list().await.unwrap()), ["eni-1"]);
    assert_eq!(cloud.count(NICS), 2);
}

#[tokio::test]
async fn a_token_that_comes_again_ends_the_listing_as_a_failure() {
    let (error, calls) = failing(|_| nics(&[nic(1, "i-a")], "again")).await;
    assert_eq!((error.class, calls), (Class::Transient, 2));
    assert!(error.message.contains("never end"), "{error}");
}

#[tokio::test]
async fn new_tokens_without_end_are_noticed_when_no_page_brings_anything() {
    let (error, calls) = failing(|asked| nics(&[nic(1, "i-a")], &format!("token-{}", asked.earlier))).await;
    assert_eq!(error.class, Class::Transient);
    assert!(error.message.contains("never end") && calls < 30, "{calls}: {error}");
}

#[tokio::test]
async fn pages_without_end_meet_the_deadline() {
    let cloud = Cloud::start(sound(|asked| {
        let page = |n: usize| {
            let mut fresh = nic(1, "i-a");
            fresh["NetworkInterfaceId"] = json!(format!("eni-{n}"));
            nics(&[fresh], &format!("token-{n}"))
        };
        (asked.action == NICS).then(|| page(asked.earlier))
    }))
    .await;
    let mut settings = cloud.settings();
    settings.timeouts.reading = Duration::from_millis(700);
    let begun = Instant::now();
    let error = Aliyun::with_environment(settings, &key()).unwrap().list().await.unwrap_err();
    assert!(matches!(error.class, Class::Transient | Class::Throttled), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_failure_on_a_later_page_fails_the_whole() {
    let (error, _) = failing(|asked| {
        if asked.has("NextToken") { refuse(403, "Forbidden.RAM", "no") } else { nics(&[nic(1, "i-a")], "t1") }
    })
    .await;
    assert_eq!(error.class, Class::Denied);
}

#[tokio::test]
async fn a_server_fault_that_passes_is_not_reported() {
    let cloud = Cloud::start(sound(|asked| match (asked.action.as_str(), asked.earlier) {
        (NICS, 0) => Some(refuse(503, "ServiceUnavailable", "x")),
        (NICS, 1) => Some(text(502, "<html/>")),
        _ => None,
    }))
    .await;
    assert_eq!(cloud.provider().list().await.unwrap().nic_count(), 1);
    let nonces: std::collections::BTreeSet<String> = cloud
        .asked()
        .iter()
        .filter_map(|asked| asked.headers.get("x-acs-signature-nonce").cloned())
        .collect();
    assert_eq!(nonces.len(), cloud.asked().len(), "every attempt has a nonce of its own");
}

#[tokio::test]
async fn a_throttle_with_a_short_wait_is_waited_out() {
    let cloud = Cloud::start(sound(|asked| {
        (asked.action == NICS && asked.earlier == 0)
            .then(|| with_header(refuse(400, "Throttling.User", "x"), "x-acs-retry-after", "200"))
    }))
    .await;
    let begun = Instant::now();
    cloud.provider().list().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_throttled_action_rests_until_the_window_ends_and_others_go_on() {
    let cloud = Cloud::start(sound(|asked| {
        (asked.action == NICS)
            .then(|| with_header(refuse(429, "Throttling.User", "x"), "x-acs-retry-after", "30000"))
    }))
    .await;
    let provider = cloud.provider();
    for _ in 0..3 {
        let error = provider.list().await.unwrap_err();
        assert_eq!(error.class, Class::Throttled);
        assert!(error.retry_after.unwrap() > Duration::from_secs(28), "{error:?}");
    }
    assert_eq!(cloud.count(NICS), 1);
    let asked = [InstanceId::from("i-a")].into();
    provider.describe(&asked).await.unwrap_err();
    assert_eq!((cloud.count("DescribeInstances"), cloud.count(NICS)), (1, 1));
}

#[tokio::test]
async fn a_cloud_that_does_not_answer_is_given_up_in_time() {
    let cloud = Cloud::start(|_| Reply::Silence).await;
    let mut settings = cloud.settings();
    settings.timeouts.call = Duration::from_millis(200);
    settings.timeouts.reading = Duration::from_secs(2);
    let begun = Instant::now();
    let error = Aliyun::with_environment(settings, &key()).unwrap().list().await.unwrap_err();
    assert_eq!(error.class, Class::Transient);
    assert!(error.message.contains("no complete reply within 0.2 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_cloud_that_is_not_there_is_transient_and_says_so() {
    let cloud = Cloud::start(|_| Reply::Silence).await;
    let settings = cloud.settings();
    drop(cloud);
    let error = Aliyun::with_environment(settings, &key()).unwrap().list().await.unwrap_err();
    assert_eq!(error.class, Class::Transient);
    assert!(error.message.contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn requests_look_like_those_of_the_vendors_sdk() {
    let cloud = Cloud::start(sound(|_| None)).await;
    cloud.provider().list().await.unwrap();
    let asked = cloud.asked();
    let first = &asked[0];
    assert_eq!((first.method.as_str(), first.headers["content-length"].as_str()), ("POST", "0"));
    assert_eq!(first.target, "/?MaxResults=500&RegionId=cn-hangzhou&VpcId=vpc-1");
    assert_eq!(first.headers["host"], cloud.address.trim_start_matches("http://"));
    assert_eq!(first.headers["x-acs-version"], "2014-05-26");
    assert_eq!(asked[1].headers["x-acs-version"], "2016-04-28");
    assert!(!first.headers.contains_key("x-acs-security-token"));
}

#[tokio::test]
async fn vswitches_are_listed_once_and_again_only_for_one_that_is_not_known() {
    let cloud = Cloud::start(sound(|asked| {
        let mut moved = nic(1, "i-a");
        moved["VSwitchId"] = json!("vsw-new");
        (asked.action == NICS && asked.earlier >= 2).then(|| nics(&[moved], ""))
    }))
    .await;
    let provider = cloud.provider();
    for _ in 0..5 {
        provider.list().await.unwrap();
    }
    // The unknown one turns up within a minute of the first listing, so it has to wait.
    assert_eq!(cloud.count("DescribeVSwitches"), 1);
}

#[tokio::test]
async fn vswitches_are_read_by_the_page_until_all_are_there() {
    let cloud = Cloud::start(sound(|asked| {
        (asked.action == "DescribeVSwitches").then(|| {
            let (from, to) = if asked.has("PageNumber=1&") { (0, 50) } else { (50, 60) };
            let page: Vec<_> = (from..to)
                .map(|n| json!({"VSwitchId": format!("vsw-{n}"), "CidrBlock": "10.0.0.0/16"}))
                .collect();
            ok(json!({"TotalCount": 60, "VSwitches": {"VSwitch": page}}))
        })
    }))
    .await;
    let inventory = cloud.provider().list().await.unwrap();
    assert_eq!((cloud.count("DescribeVSwitches"), inventory.warnings.len()), (2, 0));
}

#[tokio::test]
async fn missing_vswitches_are_an_error_and_not_a_reading_without_them() {
    let cloud = Cloud::start(sound(|asked| {
        (asked.action == "DescribeVSwitches").then(|| ok(json!({"TotalCount": 60, "VSwitches": {}})))
    }))
    .await;
    let error = cloud.provider().list().await.unwrap_err();
    assert_eq!(error.class, Class::Transient);
    assert!(error.message.contains("0 of 60"), "{error}");
}

#[tokio::test]
async fn a_vpc_in_which_nothing_is_seen_is_called_a_mistake() {
    let cloud = Cloud::start(sound(|asked| match asked.action.as_str() {
        NICS => Some(nics(&[], "")),
        _ => Some(ok(json!({"TotalCount": 0}))),
    }))
    .await;
    let error = cloud.provider().list().await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(error.message.contains("vpc-1") && error.message.contains("`vpcID`"), "{error}");
}

#[tokio::test]
async fn a_nic_that_cannot_be_described_yet_is_unclear_and_not_absent() {
    let cloud = Cloud::start(sound(|asked| (asked.action == NICS).then(|| nics(&[], "")))).await;
    let asked = [InstanceId::from("i-a")].into();
    let inventory = cloud.provider().describe(&asked).await.unwrap();
    assert_eq!(nic_ids(&inventory), ["eni-1"]);
    assert!(matches!(inventory.instances[&InstanceId::from("i-a")][0].use_, NicUse::Unclear(_)));
    assert!(inventory.warnings.iter().any(|warning| warning.contains("eni-1")), "{:?}", inventory.warnings);
}

#[tokio::test]
async fn an_instance_without_nics_exists_and_an_unknown_one_does_not() {
    let cloud = Cloud::start(sound(|asked| {
        (asked.action == "DescribeInstances")
            .then(|| ok(json!({"Instances": {"Instance": [{"InstanceId": "i-b"}]}})))
    }))
    .await;
    let asked = [InstanceId::from("i-b"), InstanceId::from("i-gone")].into();
    let inventory = cloud.provider().describe(&asked).await.unwrap();
    assert_eq!(inventory.instances, [(InstanceId::from("i-b"), Vec::new())].into());
}

#[tokio::test]
async fn many_instances_share_calls() {
    let cloud = Cloud::start(sound(|asked| {
        (asked.action == "DescribeInstances").then(|| ok(json!({"Instances": {}})))
    }))
    .await;
    let asked = (0..250).map(|n| InstanceId::from(format!("i-{n}"))).collect();
    cloud.provider().describe(&asked).await.unwrap();
    assert_eq!((cloud.count("DescribeInstances"), cloud.count(NICS)), (3, 0));
}

#[tokio::test]
async fn the_observer_is_told_of_every_attempt() {
    let cloud = Cloud::start(sound(|asked| {
        (asked.action == NICS && asked.earlier == 0).then(|| refuse(503, "ServiceUnavailable", "x"))
    }))
    .await;
    let seen: Arc<Mutex<Vec<(String, Outcome)>>> = Arc::default();
    let log = Arc::clone(&seen);
    let provider = cloud.provider().with_observer(Arc::new(move |action, outcome, _| {
        log.lock().unwrap().push((action.to_owned(), outcome));
    }));
    provider.list().await.unwrap();
    let expected = [
        (NICS.to_owned(), Outcome::Failure(Class::Transient)),
        (NICS.to_owned(), Outcome::Success),
        ("DescribeVSwitches".to_owned(), Outcome::Success),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn region_and_vpc_come_from_the_metadata_service_once() {
    let cloud = Cloud::start(sound(|asked| match asked.action.as_str() {
        "/latest/meta-data/region-id" => Some(text(200, "cn-hangzhou\n")),
        "/latest/meta-data/vpc-id" => Some(text(200, "vpc-1")),
        _ => None,
    }))
    .await;
    let mut settings = cloud.settings();
    (settings.region, settings.vpc_id) = (None, None);
    let provider = Aliyun::with_environment(settings, &key()).unwrap();
    let node = Node {
        name: "a".to_owned(),
        uid: String::new(),
        provider_id: Some("cn-hangzhou.i-a".to_owned()),
        addresses: Vec::new(),
    };
    assert!(matches!(provider.claim(&node), Claim::Unreadable(_)));
    provider.list().await.unwrap();
    provider.list().await.unwrap();
    assert_eq!(provider.claim(&node), Claim::Instance(InstanceId::from("i-a")));
    assert_eq!(cloud.count("/latest/meta-data/region-id"), 1);
}

#[tokio::test]
async fn without_metadata_the_error_says_what_to_set() {
    let cloud = Cloud::start(sound(|_| None)).await;
    let mut settings = cloud.settings();
    settings.region = None;
    let error = Aliyun::with_environment(settings, &key()).unwrap().prepare().await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(error.message.contains("set `region`"), "{error}");
}

#[tokio::test]
async fn nothing_secret_is_in_the_debug_form() {
    let cloud = Cloud::start(sound(|_| None)).await;
    let provider = Aliyun::with_environment(cloud.settings(), &key_and_token()).unwrap();
    provider.list().await.unwrap();
    let text = format!("{provider:?} {:?} {:?}", key_and_token(), cloud.settings());
    for secret in [KEY_ID, KEY_SECRET, TOKEN] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn the_oidc_token_is_in_the_body_only_and_no_signature_is_sent() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "oidc.token/1\n").unwrap();
    let cloud = Cloud::start(sound(|asked| {
        let ends = jiff::Timestamp::now() + Duration::from_hours(1);
        (asked.action == "AssumeRoleWithOIDC").then(|| {
            ok(json!({"Credentials": {
                "AccessKeyId": "STS.EXAMPLE", "AccessKeySecret": KEY_SECRET, "SecurityToken": TOKEN,
                "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }}))
        })
    }))
    .await;
    let environment = [
        ("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/r"),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/p"),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", file.path().to_str().unwrap()),
        ("ALIBABA_CLOUD_ROLE_SESSION_NAME", "session-1"),
    ]
    .into_iter()
    .collect();
    let provider = Aliyun::with_environment(cloud.settings(), &environment).unwrap();
    provider.list().await.unwrap();
    let asked = cloud.asked();
    let exchange = &asked[0];
    assert!(exchange.has("Format=JSON") && exchange.has("Version=2015-04-01") && !exchange.has("token"));
    assert!(exchange.body.contains("OIDCToken=oidc.token%2F1&"), "{}", exchange.body);
    assert!(exchange.body.contains("RoleSessionName=session-1"), "{}", exchange.body);
    assert!(!exchange.headers.contains_key("authorization"));
    let call = &asked[1].headers;
    assert_eq!(
        (call["x-acs-security-token"].as_str(), call["x-acs-accesskey-id"].as_str()),
        (TOKEN, "STS.EXAMPLE")
    );
    assert!(call["authorization"].contains(";x-acs-security-token;"), "{}", call["authorization"]);
    assert!(!format!("{provider:?}").contains(TOKEN));
}

#[tokio::test]
async fn a_refused_metadata_token_is_replaced_once() {
    let cloud = Cloud::start(sound(|asked| match asked.action.as_str() {
        "/latest/api/token" => Some(text(200, &format!("token-{}", asked.earlier))),
        "/latest/meta-data/region-id" if asked.headers["x-aliyun-ecs-metadata-token"] == "token-1" => {
            Some(text(200, "cn-hangzhou"))
        }
        "/latest/meta-data/region-id" => Some(text(401, "<html/>")),
        _ => None,
    }))
    .await;
    let mut settings = cloud.settings();
    settings.region = None;
    Aliyun::with_environment(settings.clone(), &key()).unwrap().prepare().await.unwrap();
    assert_eq!(cloud.count("/latest/api/token"), 2);
    let put = cloud.asked().into_iter().find(|asked| asked.method == "PUT").unwrap();
    assert_eq!(put.headers["x-aliyun-ecs-metadata-token-ttl-seconds"], "21600");
    // From here on no token is the right one.
    let error = Aliyun::with_environment(settings, &key()).unwrap().prepare().await.unwrap_err();
    assert_eq!((error.class, cloud.count("/latest/api/token")), (Class::Denied, 4));
}

#[tokio::test]
async fn a_metadata_service_in_trouble_is_asked_again_and_never_without_protection() {
    let cloud =
        Cloud::start(sound(|asked| (asked.action == "/latest/api/token").then(|| text(500, "")))).await;
    let mut settings = cloud.settings();
    settings.region = None;
    let error = Aliyun::with_environment(settings, &key()).unwrap().prepare().await.unwrap_err();
    assert_eq!((error.class, cloud.count("/latest/api/token")), (Class::Transient, 3));
    assert_eq!(cloud.count("/latest/meta-data/region-id"), 0);
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused_without_a_call() {
    let cloud = Cloud::start(|_| Reply::Silence).await;
    let mut settings = cloud.settings();
    settings.region = Some("evil.example/".to_owned());
    let error = Aliyun::with_environment(settings, &key()).unwrap_err();
    assert!(error.class == Class::Invalid && error.message.contains("evil.example"), "{error}");
    assert_eq!(cloud.asked().len(), 0);
}
