//! The socket's HTTP, byte for byte as upstream's client sends it, and what it should not send.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::{Agent, Guest, PATIENCE, Stage, create};

/// What upstream's generated client puts around a body: no length is known to it, so it comes in chunks.
fn chunked(method: &str, path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: unixsocket\r\nUser-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\n\
         Accept: application/json\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    );
    format!("{head}{:x}\r\n{body}\n\r\n0\r\n\r\n", body.len() + 1).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_as_upstreams_client_sends_them_are_understood() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    // Its optional fields are null or left out.
    let mut body = pod.request("c1", "eth0");
    body["defaultIPv4IPPool"] = Value::Null;
    body.as_object_mut().expect("an object").remove("cleanGateway");
    let (status, reply) =
        agent.raw(&chunked("POST", "/v1/ipam/ip", &body.to_string())).await.expect("an answer");
    assert_eq!((status, reply["ips"][0]["nic"].as_str()), (200, Some("eth0")), "{reply}");
    // go-swagger's client reads an empty 200 as one.
    let healthy = agent.raw(b"GET /v1/ipam/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(healthy, Some((200, Value::Null)));
    stage.remove(&pod).await;
    let del = chunked("DELETE", "/v1/ipam/ip", &pod.request("c1", "eth0").to_string());
    assert_eq!(agent.raw(&del).await, Some((200, Value::Null)));
    stage.is_empty_soon(&pool).await;
    let again = agent.raw(&del).await;
    assert_eq!(again, Some((200, Value::Null)), "what is gone is gone");
    assert_eq!(agent.call("POST", "/v1/ipam/ips", Some(&json!({}))).await.0, 200, "upstream's placeholder");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinators_configuration_is_that_of_the_object_named_default() {
    let stage = Stage::open().await;
    let agent = stage.agent("a").await;
    let api: Api<api::SpiderCoordinator> = Api::all(stage.client.clone());
    let body = json!({"podName": "web", "podNamespace": "default"}).to_string();
    let get = chunked("GET", "/v1/coordinator/config", &body);
    if api.get_opt("default").await.expect("an answer").is_none() {
        let (status, sentence) = agent.raw(&get).await.expect("an answer");
        assert_eq!(status, 500);
        assert!(sentence.as_str().is_some_and(|text| text.contains("\"default\"")), "{sentence}");
    }
    let other = testbed::unique("another");
    create(&api, json!({"metadata": {"name": other}, "spec": {"podCIDRType": "none", "mode": "overlay"}}))
        .await;
    create(
        &api,
        json!({"metadata": {"name": "default"}, "spec": {
            "podCIDRType": "none", "mode": "underlay", "hijackCIDR": ["169.254.0.0/16"],
            "policyRoutes": [{"dst": "10.0.0.0/8", "gw": "10.0.0.1"}],
        }}),
    )
    .await;
    let (status, sentence) = agent.raw(&get).await.expect("an answer");
    assert_eq!(status, 500, "nobody has synced it: {sentence}");
    let synced =
        json!({"status": {"phase": "Synced", "serviceCIDR": ["10.96.0.0/12"], "overlayPodCIDR": []}});
    api.patch_status("default", &PatchParams::default(), &Patch::Merge(&synced)).await.expect("a status");
    let (status, config) = agent.raw(&get).await.expect("an answer");
    assert_eq!(
        (status, config),
        (
            200,
            json!({
                "mode": "underlay", "overlayPodCIDR": [], "serviceCIDR": ["10.96.0.0/12"], "tunePodRoutes": true,
                "hijackCIDR": ["169.254.0.0/16"], "policyRoutes": [{"dst": "10.0.0.0/8", "gw": "10.0.0.1"}],
                "hostRuleTable": 500, "podRPFilter": 0, "txQueueLen": 0, "vethMTU": 0,
            })
        )
    );
    names_of_the_default_nic(&stage, &agent).await;
    for name in ["default", other.as_str()] {
        api.delete(name, &kube::api::DeleteParams::default()).await.expect("a deleted object");
    }
}

/// The pod's annotation counts before the `SpiderCoordinator`, whoever asks in whichever way.
async fn names_of_the_default_nic(stage: &Stage, agent: &Agent) {
    let key = "ipam.spidernet.io/default-route-nic";
    let plain = stage.pod("plain", "a", json!({})).await;
    let annotated = stage.annotated("annotated", "a", json!({key: "net1"})).await;
    // Nobody's watch shows this agent a pod of another node, nor a pod that was not there when it looked.
    let elsewhere = stage.annotated("elsewhere", "b", json!({key: "net2"})).await;
    let said = async |pod: &Guest, uid: &str| {
        let Guest { namespace, name, .. } = pod;
        let query = format!("podNamespace={namespace}&podName={name}&podUID={uid}");
        let (status, by_query) = agent.call("GET", &format!("/v1/coordinator/config?{query}"), None).await;
        assert_eq!(status, 200, "{by_query}");
        if uid.is_empty() {
            let body = json!({"podNamespace": namespace, "podName": name}).to_string();
            let by_body = agent.raw(&chunked("GET", "/v1/coordinator/config", &body)).await;
            assert_eq!(by_body, Some((200, by_query.clone())), "as upstream's plugin asks");
        }
        (by_query["podDefaultRouteNIC"].clone(), by_query["podDefaultRouteNICSource"].clone())
    };
    let of_pod = |nic: &str| (json!(nic), json!("annotation"));
    assert_eq!(said(&annotated, "").await, of_pod("net1"));
    assert_eq!(said(&annotated, &annotated.uid).await, of_pod("net1"));
    assert_eq!(said(&elsewhere, "").await, of_pod("net2"));
    let nobody = (Value::Null, Value::Null);
    assert_eq!(said(&plain, "").await, nobody);

    let api: Api<api::SpiderCoordinator> = Api::all(stage.client.clone());
    let spec = json!({"spec": {"podDefaultRouteNIC": "eth0"}});
    api.patch("default", &PatchParams::default(), &Patch::Merge(&spec)).await.expect("a spec");
    let of_cluster = (json!("eth0"), json!("spiderCoordinator"));
    assert_eq!(said(&plain, "").await, of_cluster);
    assert_eq!(said(&annotated, "").await, of_pod("net1"));
    assert_eq!(said(&annotated, "the-former-pod").await, of_cluster, "that pod is gone");
    assert_eq!(said(&Guest { name: "nobody".to_owned(), ..plain }, "").await, of_cluster);

    for (at, wrong) in ["", "a/b", "two words", "sixteen-letters-"].into_iter().enumerate() {
        let name = format!("wrong-{at}");
        stage.annotated(&name, "a", json!({key: wrong})).await;
        let path = format!("/v1/coordinator/config?podNamespace={}&podName={name}", stage.name);
        let (status, sentence) = agent.call("GET", &path, None).await;
        let sentence = sentence.as_str().unwrap_or_default().to_owned();
        assert!(status == 500 && sentence.contains(key) && sentence.contains(&name), "{wrong:?}: {sentence}");
    }
    for (body, status) in [("null", 400), ("5", 400), ("{", 400), ("{}", 200), ("", 200)] {
        let answer = agent.raw(&chunked("GET", "/v1/coordinator/config", body)).await.expect("an answer");
        assert_eq!(answer.0, status, "{body:?}: {}", answer.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_endpoint_can_be_asked_for() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    agent.add(&pod, "c1", "eth0").await;
    let of = |name: &str| format!("/v1/workloadendpoint?podNamespace={}&podName={name}", stage.name);
    let (status, endpoint) = agent.call("GET", &of("web"), None).await;
    assert_eq!(
        (status, endpoint),
        (
            200,
            json!({
                "podNamespace": stage.name, "podName": "web", "podUID": pod.uid, "node": stage.node("a"),
                "interfaces": [{
                    "interface": "eth0", "ipv4": format!("{}/24", stage.v4(1, 1)), "ipv4Pool": pool, "vlan": 0,
                    "ipv4Gateway": stage.v4(1, 254),
                }],
            })
        )
    );
    assert_eq!(agent.call("GET", &of("nobody"), None).await.0, 404);
    assert_eq!(agent.call("GET", "/v1/workloadendpoint?podName=web", None).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_whether_the_sandbox_still_holds_its_addresses() {
    let stage = Stage::open().await;
    stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let address = agent.address(&pod, "c1", "eth0").await;
    let check = |container: &str, nic: &str, address: &str| {
        let mut request = pod.request(container, nic);
        request["addresses"] = json!([address]);
        request
    };
    let ask = async |request: Value| agent.call("POST", "/v1/ipam/check", Some(&request)).await;
    assert_eq!(ask(check("c1", "eth0", &address.to_string())).await, (200, Value::Null));
    for wrong in [
        check("c2", "eth0", &address.to_string()),
        check("c1", "net1", &address.to_string()),
        check("c1", "eth0", &stage.v4(1, 9).to_string()),
        check("c1", "eth0", "nonsense"),
    ] {
        let (status, sentence) = ask(wrong).await;
        assert!(status == 500 && sentence.is_string(), "{status} {sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_with_a_sentence_and_the_agent_goes_on() {
    let stage = Stage::open().await;
    stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let send = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let huge = format!("{{\"containerID\": \"{}\"}}", "x".repeat(2 * 1024 * 1024));
    for (method, path, body, expected) in [
        ("POST", "/v1/ipam/ip", "", 400),
        ("POST", "/v1/ipam/ip", "{", 400),
        ("POST", "/v1/ipam/ip", "[]", 400),
        ("POST", "/v1/ipam/ip", r#"{"containerID": 5}"#, 400),
        ("POST", "/v1/ipam/ip", "\u{0}\u{1}", 400),
        ("DELETE", "/v1/ipam/ip", "nonsense", 400),
        ("DELETE", "/v1/ipam/ips", "{}", 400),
        ("POST", "/v1/ipam/gc", r#"{"attachments": [{}]}"#, 400),
        ("POST", "/v1/ipam/nothing", "{}", 404),
        ("PUT", "/v1/ipam/ip", "{}", 405),
        ("POST", "/v1/ipam/ip", &huge, 400),
    ] {
        let Some((status, sentence)) = agent.raw(send(method, path, body).as_bytes()).await else {
            // A body that is too large is not read to its end, so the client may meet a closed line before the answer.
            assert!(body.len() > 1_000_000, "no answer to {method} {path} {body}");
            continue;
        };
        assert_eq!(status, expected, "{method} {path}: {sentence}");
        assert!(sentence.as_str().is_some_and(|text| text.len() > 10), "{method} {path}: {sentence}");
    }
    // Deeply nested: no recursion without bound.
    let deep = "[".repeat(100_000);
    let answer = agent.raw(send("POST", "/v1/ipam/ip", &deep).as_bytes()).await;
    assert_eq!(answer.map(|(status, _)| status), Some(400));
    // Empty fields.
    let pod = stage.pod("web", "a", json!({})).await;
    for field in ["containerID", "ifName", "podNamespace", "podName"] {
        let mut request = pod.request("c1", "eth0");
        request[field] = json!("");
        let (status, sentence) = agent.call("POST", "/v1/ipam/ip", Some(&request)).await;
        assert!(
            status == 500 && sentence.as_str().is_some_and(|text| text.contains(field)),
            "{status} {sentence}"
        );
    }
    agent.add(&pod, "c1", "eth0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_says_no_uid_is_served_by_name_and_sandbox() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let mut pod = stage.pod("web", "a", json!({})).await;
    let uid = std::mem::take(&mut pod.uid);
    let address = agent.address(&pod, "c1", "eth0").await;
    assert_eq!(stage.records(&pool).await[&address].pod_uid, uid);
    stage.remove(&pod).await;
    agent.del(&pod, "another", "eth0").await;
    assert_eq!(stage.records(&pool).await.len(), 1, "another sandbox's DEL");
    agent.del(&pod, "c1", "eth0").await;
    assert_eq!(stage.records(&pool).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probes_and_the_metrics_are_served_on_tcp_and_the_probes_on_the_socket_too() {
    let stage = Stage::open().await;
    stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    for path in ["/v1/runtime/startup", "/v1/runtime/readiness", "/v1/runtime/liveness"] {
        assert!(agent.get(path).await.contains("200 OK"), "{path}");
        assert_eq!(agent.call("GET", path, None).await.0, 200, "{path}");
    }
    let pod = stage.pod("web", "a", json!({})).await;
    agent.add(&pod, "c1", "eth0").await;
    agent.refused(&crate::stage::Guest { name: "nobody".into(), ..pod.clone() }, "c2", "eth0").await;
    agent.del(&pod, "c1", "eth0").await;
    for (name, at_least) in [
        ("spiderpool_ipam_allocation_counts_total", 2.0),
        ("spiderpool_ipam_allocation_failure_counts_total", 1.0),
        ("spiderpool_ipam_allocation_err_refused_counts_total", 1.0),
        ("spiderpool_ipam_release_counts_total", 1.0),
        ("spiderpool_ipam_allocation_duration_seconds_count", 2.0),
    ] {
        let value = agent.metric(name).await;
        assert!((value - at_least).abs() < 0.5, "{name} is {value}");
    }
    assert!(agent.metric("spiderpool_ipam_requests_in_flight").await < 0.5);
    assert!(PATIENCE.as_secs() > 30, "the tests wait longer than the agent's reclaim");
}
