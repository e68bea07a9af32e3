//! Which pools serve which NIC: the rules, their order, several NICs, both families.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::{Guest, Stage, eventually};

/// The annotation `ippools` or `ippool`.
fn named(key: &str, value: &Value) -> Value {
    let key = format!("ipam.spidernet.io/{key}");
    json!({key: value.to_string()})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_an_address_of_each_family_and_gives_both_back() {
    let stage = Stage::open().await;
    let (v4, v6) =
        (stage.node_pool("a4", "a", 4, 1, (10, 20)).await, stage.node_pool("a6", "a", 6, 1, (10, 20)).await);
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let reply = agent.add(&pod, "c1", "eth0").await;
    assert_eq!(reply["ips"][0]["address"], format!("{}/24", stage.v4(1, 10)));
    assert_eq!(reply["ips"][1]["address"], format!("{}/64", stage.v6(1, 10)));
    assert_eq!(reply["ips"][1]["version"], 6);
    let routes: Vec<_> =
        reply["routes"].as_array().expect("routes").iter().map(|route| &route["dst"]).collect();
    assert_eq!(routes, ["0.0.0.0/0", "::/0"]);
    let ip = stage.endpoint_says("web", |status| status.current.ips.first().cloned()).await;
    assert_eq!((ip.ipv4_pool, ip.ipv6_pool), (Some(v4.clone()), Some(v6.clone())));
    assert_eq!(ip.ipv6_gateway, Some(stage.v6(1, 254).to_string()));
    stage.remove(&pod).await;
    agent.del(&pod, "c1", "eth0").await;
    stage.is_empty_soon(&v4).await;
    stage.is_empty_soon(&v6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_family_without_address_takes_none_of_the_other() {
    let stage = Stage::open().await;
    let v4 = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    stage.node_pool("a6", "a", 6, 1, (10, 10)).await;
    let agent = stage.agent("a").await;
    let first = stage.pod("one", "a", json!({})).await;
    agent.add(&first, "c1", "eth0").await;
    let second = stage.pod("two", "a", json!({})).await;
    let sentence = agent.refused(&second, "c2", "eth0").await;
    assert!(sentence.contains("IPv6") && sentence.contains(&stage.pool_name("a6")), "{sentence}");
    eventually("what was taken of the other family is given back", async || {
        (stage.records(&v4).await.len() == 1).then_some(())
    })
    .await;
    assert!(agent.metric("spiderpool_ipam_allocation_err_ip_used_out_counts").await > 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_own_pools_come_before_the_namespaces_and_those_before_the_plugins_and_the_default_ones() {
    let stage = Stage::open().await;
    stage.node_pool("default", "a", 4, 1, (1, 20)).await;
    for (at, short) in (2..).zip(["pod", "ns", "cni", "spare"]) {
        stage.pool(short, 4, at, (1, 20), json!({})).await;
    }
    let agent = stage.agent("a").await;
    let (own, spare) = (stage.pool_name("pod"), stage.pool_name("spare"));
    let net = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[2],
        IpAddr::V6(_) => 0,
    };
    let from = async |pod: &Guest, cni: bool| {
        let mut request = pod.request("c1", "eth0");
        if cni {
            request["defaultIPv4IPPool"] = json!([stage.pool_name("cni")]);
        }
        let (status, reply) = agent.call("POST", "/v1/ipam/ip", Some(&request)).await;
        assert_eq!(status, 200, "{reply}");
        let address =
            reply["ips"][0]["address"].as_str().and_then(|text| text.split('/').next()?.parse().ok());
        net(address.expect("an address"))
    };
    let plain = stage.pod("p1", "a", json!({})).await;
    assert_eq!(from(&plain, false).await, 1, "the default pool");
    let plain = stage.pod("p2", "a", json!({})).await;
    assert_eq!(from(&plain, true).await, 4, "the CNI configuration's");
    let api: Api<Namespace> = Api::all(stage.client.clone());
    let key = "ipam.spidernet.io/default-ipv4-ippool";
    let patch = json!({"metadata": {"annotations": {key: json!([stage.pool_name("ns")]).to_string()}}});
    api.patch(&stage.name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("a namespace");
    let mut at = 3;
    eventually("the agent knows the namespace's pools", async || {
        let pod = stage.pod(&testbed::unique("p3"), "a", json!({})).await;
        (from(&pod, true).await == 3).then_some(())
    })
    .await;
    at += 1;
    let pod = stage.annotated(&format!("p{at}"), "a", named("ippool", &json!({"ipv4": [own]}))).await;
    assert_eq!(from(&pod, true).await, 2, "the pod's");
    // The order is the user's: primary before backup, whatever is more specific or has more room.
    let order = named("ippool", &json!({"ipv4": [spare, own]}));
    let pod = stage.annotated("p6", "a", order).await;
    assert_eq!(from(&pod, true).await, 5, "the first of the pod's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_address_left_is_passed_over_and_a_missing_one_too() {
    let stage = Stage::open().await;
    let (small, large) = (
        stage.pool("small", 4, 1, (1, 1), json!({})).await,
        stage.pool("large", 4, 2, (1, 20), json!({})).await,
    );
    let agent = stage.agent("a").await;
    let pools = named("ippool", &json!({"ipv4": ["no-such-pool", small, large]}));
    let first = stage.annotated("one", "a", pools.clone()).await;
    assert_eq!(agent.address(&first, "c1", "eth0").await, stage.v4(1, 1));
    let second = stage.annotated("two", "a", pools).await;
    assert_eq!(agent.address(&second, "c2", "eth0").await, stage.v4(2, 1));
    assert_eq!(
        stage.records(&large).await[&stage.v4(2, 1)].node,
        stage.node("a"),
        "a shared pool names the node"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_free_addresses_rest_is_passed_over_while_another_has_one() {
    let stage = Stage::open().await;
    let (small, large) = (
        stage.pool("small", 4, 1, (1, 1), json!({})).await,
        stage.pool("large", 4, 2, (1, 1), json!({})).await,
    );
    let agent = stage.launch("a", "addressRestSeconds: 4\n");
    agent.serves().await;
    let pools = named("ippool", &json!({"ipv4": [small, large]}));
    let first = stage.annotated("one", "a", pools.clone()).await;
    agent.address(&first, "c1", "eth0").await;
    stage.remove(&first).await;
    agent.del(&first, "c1", "eth0").await;
    let second = stage.annotated("two", "a", pools.clone()).await;
    let start = std::time::Instant::now();
    assert_eq!(agent.address(&second, "c2", "eth0").await, stage.v4(2, 1));
    assert!(start.elapsed().as_secs() < 3, "at once");
    let third = stage.annotated("three", "a", pools).await;
    assert_eq!(agent.address(&third, "c3", "eth0").await, stage.v4(1, 1), "when it has rested");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_named_nic_gets_an_address_of_its_own_pools() {
    let stage = Stage::open().await;
    let (one, two) = (
        stage.pool("one", 4, 1, (1, 20), json!({})).await,
        stage.pool("two", 4, 2, (1, 20), json!({})).await,
    );
    let agent = stage.agent("a").await;
    let items = json!([
        {"interface": "eth0", "ipv4": [one]},
        {"interface": "net1", "ipv4": [two], "cleangateway": true},
    ]);
    let pod = stage.annotated("web", "a", named("ippools", &items)).await;
    assert_eq!(agent.address(&pod, "c1", "eth0").await, stage.v4(1, 1));
    let reply = agent.add(&pod, "c1", "net1").await;
    assert_eq!(reply["ips"][0]["address"], format!("{}/24", stage.v4(2, 1)));
    assert_eq!(reply["ips"][0]["gateway"], stage.v4(2, 254).to_string(), "for the probe");
    assert_eq!(reply["routes"], Value::Null, "a clean gateway: no default route");
    let nics = stage
        .endpoint_says("web", |status| (status.current.ips.len() == 2).then(|| status.current.ips.clone()));
    let nics = nics.await;
    assert_eq!((nics[0].interface.as_str(), nics[1].interface.as_str()), ("eth0", "net1"));
    assert_eq!(nics[1].clean_gateway, Some(true));
    let sentence = agent.refused(&pod, "c1", "net2").await;
    assert!(sentence.contains("net2") && sentence.contains("eth0, net1"), "{sentence}");

    // One NIC goes, the other stays: kubelet's DEL of a pod with two NICs comes as two.
    stage.remove(&pod).await;
    agent.del(&pod, "c1", "eth0").await;
    stage.is_empty_soon(&one).await;
    agent.del(&pod, "c1", "net1").await;
    stage.is_empty_soon(&two).await;
    stage.no_endpoint_soon("web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unnamed_nics_are_counted_in_the_order_of_the_pods_networks() {
    let stage = Stage::open().await;
    let (one, two) = (
        stage.pool("one", 4, 1, (1, 20), json!({})).await,
        stage.pool("two", 4, 2, (1, 20), json!({})).await,
    );
    let agent = stage.agent("a").await;
    let items = json!([{"ipv4": [one]}, {"ipv4": [two]}]).to_string();
    let annotations =
        json!({"ipam.spidernet.io/ippools": items, "k8s.v1.cni.cncf.io/networks": "kube-system/second"});
    let pod = stage.annotated("web", "a", annotations).await;
    // The order of the ADDs does not matter.
    assert_eq!(agent.address(&pod, "c1", "net1").await, stage.v4(2, 1));
    assert_eq!(agent.address(&pod, "c1", "eth0").await, stage.v4(1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nics_of_a_pod_share_a_pool_and_get_two_addresses() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    assert_eq!(agent.address(&pod, "c1", "eth0").await, stage.v4(1, 1));
    assert_eq!(agent.address(&pod, "c1", "net1").await, stage.v4(1, 2));
    assert_eq!(agent.address(&pod, "c1", "eth0").await, stage.v4(1, 1), "again the same");
    stage.remove(&pod).await;
    agent.del(&pod, "c1", "net1").await;
    let left = stage.records(&pool).await;
    assert_eq!(left.keys().copied().collect::<Vec<_>>(), [stage.v4(1, 1)], "only that of net1 is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_come_from_the_pool_and_from_the_pod_and_each_leaves_through_one_nic() {
    let stage = Stage::open().await;
    let (near, far) = (stage.v4(1, 200).to_string(), stage.v4(2, 200).to_string());
    let routes = json!({"routes": [{"dst": "10.200.0.0/16", "gw": near}]});
    let one = stage.pool("one", 4, 1, (1, 20), routes).await;
    let two = stage.pool("two", 4, 2, (1, 20), json!({})).await;
    let agent = stage.agent("a").await;
    let items =
        json!([{"interface": "eth0", "ipv4": [one]}, {"interface": "net1", "ipv4": [two]}]).to_string();
    let own = json!([{"dst": "10.201.0.0/16", "gw": near}, {"dst": "10.202.0.0/16", "gw": far}]).to_string();
    let annotations = json!({"ipam.spidernet.io/ippools": items, "ipam.spidernet.io/routes": own});
    let pod = stage.annotated("web", "a", annotations).await;
    let places = |reply: &Value| {
        let routes = reply["routes"].as_array().expect("routes").clone();
        routes
            .into_iter()
            .map(|route| route["dst"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(places(&agent.add(&pod, "c1", "eth0").await), ["0.0.0.0/0", "10.200.0.0/16", "10.201.0.0/16"]);
    assert_eq!(places(&agent.add(&pod, "c1", "net1").await), ["0.0.0.0/0", "10.202.0.0/16"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_asked_for_by_the_settings_or_by_the_pool() {
    let stage = Stage::open().await;
    let annotations = json!({"annotations": {
        "ipam.spidernet.io/ip-conflict-detection": "false", "ipam.spidernet.io/gateway-detection": "true",
    }});
    let silent = stage.pool("silent", 4, 1, (1, 20), json!({})).await;
    let other = stage.pool("other", 4, 2, (1, 20), annotations).await;
    let agent = stage.launch("a", "enableIPConflictDetection: true\n");
    agent.serves().await;
    for (pool, name, conflict, gateway) in [(silent, "one", true, false), (other, "two", false, true)] {
        let pod = stage.annotated(name, "a", named("ippool", &json!({"ipv4": [pool]}))).await;
        let ip = agent.add(&pod, "c1", "eth0").await["ips"][0].clone();
        assert_eq!(
            (&ip["enableIPConflictDetection"], &ip["enableGatewayDetection"]),
            (&json!(conflict), &json!(gateway))
        );
    }
}
