//! Pools that people write, while the agent serves from them: made, changed, shrunk, excluded from, deleted.

use std::time::{Duration, Instant};

use api::{SpiderIPPool, SpiderReservedIP, labels};
use futures::future::join_all;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::stage::{Agent, Guest, Stage, create, eventually};

/// The annotation of a pod that asks for one pool.
fn of(pool: &str, family: &str) -> Value {
    json!({"ipam.spidernet.io/ippool": json!({family: [pool]}).to_string()})
}

/// A new pod that asks for an IPv4 pool.
async fn guest(stage: &Stage, pool: &str) -> Guest {
    stage.annotated(&testbed::unique("pod"), "a", of(pool, "ipv4")).await
}

/// Asks once, and returns the address with its prefix, or else the sentence.
async fn ask(agent: &Agent, pod: &Guest) -> Result<String, String> {
    let (status, reply) = agent.call("POST", "/v1/ipam/ip", Some(&pod.request("c", "eth0"))).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if status == 200 { Ok(text(&reply["ips"][0]["address"])) } else { Err(text(&reply)) }
}

/// Waits until a pod is refused with these words.
async fn refused_soon(agent: &Agent, pod: &Guest, words: &str) {
    eventually(&format!("{} is refused: {words}", pod.name), async || {
        ask(agent, pod).await.err().filter(|sentence| sentence.contains(words)).map(drop)
    })
    .await;
}

/// Waits until a pod gets an address, and returns it.
async fn served_soon(agent: &Agent, pod: &Guest) -> String {
    eventually(&format!("{} gets an address", pod.name), async || ask(agent, pod).await.ok()).await
}

async fn leaves(stage: &Stage, agent: &Agent, pod: &Guest) {
    stage.remove(pod).await;
    agent.del(pod, "c", "eth0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_made_grows_shrinks_and_goes_is_followed() {
    let stage = Stage::open().await;
    let agent = stage.agent("a").await;
    let name = stage.pool_name("hand");
    let first = guest(&stage, &name).await;
    refused_soon(&agent, &first, &name).await;
    stage.pool("hand", 4, 1, (1, 1), json!({})).await;
    assert_eq!(served_soon(&agent, &first).await, format!("{}/24", stage.v4(1, 1)));
    let second = guest(&stage, &name).await;
    refused_soon(&agent, &second, &name).await;

    let range =
        |first, last| json!({"spec": {"ips": [format!("{}-{}", stage.v4(1, first), stage.v4(1, last))]}});
    stage.patch_pool(&name, range(1, 2)).await;
    assert_eq!(served_soon(&agent, &second).await, format!("{}/24", stage.v4(1, 2)));

    // Less than pods hold: who has an address keeps it, and nobody gets it after him.
    stage.patch_pool(&name, range(2, 3)).await;
    let third = guest(&stage, &name).await;
    assert_eq!(served_soon(&agent, &third).await, format!("{}/24", stage.v4(1, 3)));
    assert_eq!(ask(&agent, &first).await, Ok(format!("{}/24", stage.v4(1, 1))));
    leaves(&stage, &agent, &first).await;
    let fourth = guest(&stage, &name).await;
    // Longer than a freed address rests.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(ask(&agent, &fourth).await.is_err_and(|sentence| sentence.contains(&name)));
    assert_eq!(stage.records(&name).await.len(), 2);

    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    api.delete(&name, &DeleteParams::default()).await.expect("a deleted pool");
    leaves(&stage, &agent, &third).await;
    refused_soon(&agent, &fourth, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pools_made_and_deleted_at_once_serve_and_are_forgotten() {
    let stage = Stage::open().await;
    let agent = stage.agent("a").await;
    let shorts: Vec<String> = (1..=30).map(|n| format!("many-{n}")).collect();
    let pools =
        join_all((1..).zip(&shorts).map(|(n, short)| stage.pool(short, 4, n, (1, 3), json!({})))).await;
    let pods = join_all(pools.iter().map(async |pool| (guest(&stage, pool).await, pool))).await;
    join_all((1..).zip(&pods).map(async |(n, (pod, _))| {
        assert_eq!(served_soon(&agent, pod).await, format!("{}/24", stage.v4(n, 1)));
    }))
    .await;
    join_all(pods.iter().map(async |(pod, pool)| {
        leaves(&stage, &agent, pod).await;
        stage.is_empty_soon(pool).await;
    }))
    .await;
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    join_all(pools.iter().map(async |pool| {
        api.delete(pool, &DeleteParams::default()).await.expect("a deleted pool");
    }))
    .await;
    for pool in [&pools[0], &pools[29]] {
        refused_soon(&agent, &guest(&stage, pool).await, pool).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_and_routes_that_change_are_those_of_new_pods_only() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 200)).await;
    let agent = stage.agent("a").await;
    let old = stage.pod("old", "a", json!({})).await;
    let reply = agent.add(&old, "c", "eth0").await;
    let (before, after) = (stage.v4(1, 254).to_string(), stage.v4(1, 253).to_string());
    assert_eq!(
        (&reply["ips"][0]["gateway"], reply["routes"].as_array().map(Vec::len)),
        (&json!(before), Some(1))
    );
    let change = json!({"gateway": after, "routes": [{"dst": "10.200.0.0/16", "gw": after}]});
    stage.patch_pool(&pool, json!({"spec": change})).await;
    let reply = eventually("new pods get the new gateway", async || {
        let new = stage.pod(&testbed::unique("new"), "a", json!({})).await;
        let reply = agent.add(&new, "c", "eth0").await;
        (reply["ips"][0]["gateway"] == after).then_some(reply)
    })
    .await;
    let routes = json!([
        {"ifName": "eth0", "dst": "0.0.0.0/0", "gw": after},
        {"ifName": "eth0", "dst": "10.200.0.0/16", "gw": after},
    ]);
    assert_eq!(reply["routes"], routes);
    // Nobody changes what is in a running pod, and what is said of it stays true.
    let gateway = stage.endpoint_says("old", |status| status.current.ips[0].ipv4_gateway.clone()).await;
    assert_eq!(gateway, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_being_deleted_serves_nobody_new_and_takes_back() {
    let stage = Stage::open().await;
    let pool = stage.pool("held", 4, 1, (1, 20), json!({})).await;
    // As upstream holds its pools while they are used.
    let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
    stage.patch_pool(&pool, finalizers(json!([labels::FINALIZER]))).await;
    let agent = stage.agent("a").await;
    let old = guest(&stage, &pool).await;
    let address = served_soon(&agent, &old).await;
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    api.delete(&pool, &DeleteParams::default()).await.expect("a pool that is to go");
    refused_soon(&agent, &guest(&stage, &pool).await, &pool).await;
    assert_eq!(ask(&agent, &old).await, Ok(address), "its sandbox may be made anew");
    leaves(&stage, &agent, &old).await;
    stage.is_empty_soon(&pool).await;
    stage.patch_pool(&pool, finalizers(Value::Null)).await;
    eventually("it is gone", async || api.get_opt(&pool).await.expect("an answer").is_none().then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_more_addresses_than_fit_any_number_gives_them_out_at_once() {
    let stage = Stage::open().await;
    // The stage's own /32: 2^96 addresses.
    let subnet = stage.v6(0, 0).to_string();
    let subnet = subnet.trim_end_matches(':');
    let ips = json!([format!("{subnet}::1-{subnet}:ffff:ffff:ffff:ffff:ffff:ffff")]);
    let more = json!({"subnet": format!("{subnet}::/32"), "ips": ips, "gateway": null});
    let pool = stage.pool("vast", 6, 0, (1, 1), more).await;
    let agent = stage.agent("a").await;
    let start = Instant::now();
    for host in 1..=3 {
        let pod = stage.annotated(&format!("p{host}"), "a", of(&pool, "ipv6")).await;
        assert_eq!(served_soon(&agent, &pod).await, format!("{}/32", stage.v6(0, host)));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(stage.records(&pool).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_excluded_while_a_pod_holds_it_stays_that_pods_and_nobody_gets_it_after_him() {
    let stage = Stage::open().await;
    let pool = stage.pool("hand", 4, 1, (1, 2), json!({})).await;
    let agent = stage.agent("a").await;
    let first = guest(&stage, &pool).await;
    let address = served_soon(&agent, &first).await;
    assert_eq!(address, format!("{}/24", stage.v4(1, 1)));
    stage.patch_pool(&pool, json!({"spec": {"excludeIPs": [stage.v4(1, 1)]}})).await;
    assert_eq!(ask(&agent, &first).await, Ok(address), "it is still its own");
    leaves(&stage, &agent, &first).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = guest(&stage, &pool).await;
    assert_eq!(served_soon(&agent, &second).await, format!("{}/24", stage.v4(1, 2)));
    let third = guest(&stage, &pool).await;
    assert!(ask(&agent, &third).await.is_err());
    // Taken back, it serves.
    stage.patch_pool(&pool, json!({"spec": {"excludeIPs": []}})).await;
    assert_eq!(served_soon(&agent, &third).await, format!("{}/24", stage.v4(1, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_a_pool_excludes_or_that_are_reserved_for_all_are_given_to_nobody() {
    let stage = Stage::open().await;
    let more = json!({"excludeIPs": [stage.v4(1, 1), format!("{}-{}", stage.v4(1, 3), stage.v4(1, 4))]});
    let pool = stage.pool("hand", 4, 1, (1, 6), more).await;
    let reserved: Api<SpiderReservedIP> = Api::all(stage.client.clone());
    let name = stage.pool_name("reserved");
    create(&reserved, json!({"metadata": {"name": name}, "spec": {"ips": [stage.v4(1, 5)]}})).await;
    let agent = stage.agent("a").await;
    for host in [2, 6] {
        let pod = guest(&stage, &pool).await;
        assert_eq!(served_soon(&agent, &pod).await, format!("{}/24", stage.v4(1, host)));
    }
    let last = guest(&stage, &pool).await;
    assert!(ask(&agent, &last).await.is_err_and(|sentence| sentence.contains(&pool)));
    reserved.delete(&name, &DeleteParams::default()).await.expect("a deleted object");
    assert_eq!(served_soon(&agent, &last).await, format!("{}/24", stage.v4(1, 5)));
}
