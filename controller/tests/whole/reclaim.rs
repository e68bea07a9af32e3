//! Addresses whose node cannot give them back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use api::{SpiderEndpoint, SpiderIPPool, labels};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::stage::{Stage, client, eventually};

/// Two passes of the controller, and what they may take on a busy machine.
const TWO_PASSES: Duration = Duration::from_secs(25);

/// How soon what is left behind must be free: what docs/reclaim.md promises.
const REPAIRED: Duration = Duration::from_secs(30);

/// Waits until it is so, which must be soon.
async fn repaired(what: &str, look: impl AsyncFn() -> Option<()>) {
    let began = Instant::now();
    eventually(what, look).await;
    assert!(began.elapsed() < REPAIRED, "{what}: after {:?}", began.elapsed());
}

/// Makes a pod on a node, and returns its UID.
pub(crate) async fn pod(stage: &Stage, name: &str, node: &str) -> String {
    let api: Api<Pod> = Api::namespaced(stage.client.clone(), "default");
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 300,
            "containers": [{"name": "c", "image": "busybox"}], "tolerations": [{"operator": "Exists"}],
        },
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let made = eventually("a pod can be made", async || api.create(&PostParams::default(), &pod).await.ok());
    made.await.uid().unwrap()
}

/// Writes the condition `Ready` of a node, as its kubelet does.
async fn report(client: Client, node: &str, ready: &str) {
    let now = jiff::Timestamp::now().to_string();
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": ready, "reason": "r", "message": "m",
        "lastHeartbeatTime": now, "lastTransitionTime": now}]}});
    let nodes: Api<Node> = Api::all(client);
    nodes.patch_status(node, &PatchParams::default(), &Patch::Merge(&ready)).await.unwrap();
}

/// Reports a node as ready again and again: after a minute of silence it would not be.
async fn beat(client: Client, node: String) {
    loop {
        report(client.clone(), &node, "True").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Deletes a pod at once, as `--force` does.
pub(crate) async fn forget(stage: &Stage, name: &str) {
    let api: Api<Pod> = Api::namespaced(stage.client.clone(), "default");
    let _ = api.delete(name, &DeleteParams::default().grace_period(0)).await;
}

/// A record of a pod in namespace `default`.
pub(crate) fn record(pod: &str, uid: &str, node: &str) -> Value {
    json!({"pod": format!("default/{pod}"), "podUid": uid, "nic": "eth0", "node": node})
}

/// Writes the records of a pool, as an agent does.
pub(crate) async fn hold(stage: &Stage, pool: &str, records: &[(IpAddr, Value)]) {
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    let map: BTreeMap<String, &Value> = records.iter().map(|(ip, it)| (ip.to_string(), it)).collect();
    let text = serde_json::to_string(&map).unwrap();
    let status = json!({"status": {"allocatedIPs": text, "allocatedIPCount": map.len()}});
    api.patch_status(pool, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

/// Makes a pool of several nodes, as people do.
async fn shared_pool(stage: &Stage, name: &str) -> String {
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    let name = format!("{}-{name}", stage.name);
    let pool = json!({
        "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool",
        "metadata": {"name": name, "labels": {labels::PROVIDER: stage.name}},
        "spec": {"subnet": "198.18.0.0/24", "ips": ["198.18.0.1-198.18.0.99"]},
    });
    api.create(&PostParams::default(), &serde_json::from_value(pool).unwrap()).await.unwrap();
    name
}

/// Returns who holds what in a pool; nobody when the pool is gone.
async fn held(stage: &Stage, pool: &str) -> Vec<String> {
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    let status = api.get_opt(pool).await.unwrap().and_then(|pool| pool.status).unwrap_or_default();
    let records = api::allocations(status.allocated_ips.as_deref()).unwrap();
    assert_eq!(status.allocated_ip_count, i64::try_from(records.len()).ok(), "the count goes along");
    records.into_keys().map(|address| address.to_string()).collect()
}

fn at(last: u8) -> IpAddr {
    IpAddr::from([198, 18, 0, last])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_gives_back_what_its_pods_left() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let node = stage.node_name("a");
    let (lost, live) = (stage.v4(0, 11), stage.v4(0, 12));
    let name = format!("{}-live", stage.name);
    let uid = pod(&stage, &name, &node).await;
    let gone = format!("{}-gone", stage.name);
    let pool = stage.pool("a", 0, "v4").await.unwrap().name_any();
    hold(&stage, &pool, &[(lost, record(&gone, "u-gone", "")), (live, record(&name, &uid, ""))]).await;
    let endpoints: Api<SpiderEndpoint> = Api::namespaced(stage.client.clone(), "default");
    let endpoint = json!({
        "metadata": {"name": gone, "finalizers": [labels::FINALIZER]},
        "status": {"ownerControllerType": "Pod", "ownerControllerName": gone, "current": {
            "uid": "u-gone", "node": node, "ips": [{"interface": "eth0", "ipv4": format!("{lost}/20"), "ipv4Pool": pool}],
        }},
    });
    endpoints.create(&PostParams::default(), &serde_json::from_value(endpoint).unwrap()).await.unwrap();
    tokio::time::sleep(TWO_PASSES).await;
    assert_eq!(held(&stage, &pool).await.len(), 2, "its node is there: that is its agent's to do");

    stage.delete_node("a").await;
    repaired("the address of the pod that is gone is free", async || {
        (held(&stage, &pool).await == [live.to_string()]).then_some(())
    })
    .await;
    eventually("its endpoint is gone", async || {
        endpoints.get_opt(&gone).await.unwrap().is_none().then_some(())
    })
    .await;
    let selector = format!("--field-selector=reason=AddressesReclaimed,regarding.name={pool}");
    let args = ["get", "events.events.k8s.io", "-A", &selector, "-o", "jsonpath={.items[*].note}"];
    let said = eventually("an Event says so", async || {
        let said = testbed::shared().kubectl(&args).unwrap();
        said.contains("freed").then_some(said)
    })
    .await;
    assert!(said.contains(&format!("{lost} freed: pod default/{gone} is gone")), "{said}");

    // Its kubelet may well run on: only the pod's end frees it, and then the pool goes as well.
    forget(&stage, &name).await;
    eventually("the pool of the node is gone", async || (stage.pools().await.len() == 4).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_no_agent_looks_after_are_freed_when_their_pod_is_gone() {
    // Pools of other tests, of which one is large, would take their share of each pass.
    let (stage, _plane) = Stage::on_a_plane_of_its_own().await;
    stage.with_two_nodes().await;
    let (a, b) = (stage.node_name("a"), stage.node_name("b"));
    report(stage.client.clone(), &b, "Unknown").await;
    tokio::spawn(beat(stage.client.clone(), a.clone()));
    let (name, gone) = (format!("{}-live", stage.name), format!("{}-gone", stage.name));
    let uid = pod(&stage, &name, &a).await;
    let pool = shared_pool(&stage, "shared").await;
    let still = shared_pool(&stage, "still").await;
    let records = [
        // No node, as upstream writes it: alive, gone, and another pod's name.
        (at(1), json!({"pod": format!("default/{name}"), "podUid": uid})),
        (at(2), json!({"pod": format!("default/{gone}"), "podUid": "u1"})),
        (at(3), json!({"pod": format!("default/{name}"), "podUid": "u2"})),
        // A node that is there, one that is gone, and one that does not report.
        (at(4), record(&gone, "u3", &a)),
        (at(5), record(&gone, "u4", "no-such-node")),
        (at(6), record(&gone, "u5", &b)),
        // Nobody's.
        (at(7), json!({"pod": "", "podUid": ""})),
    ];
    hold(&stage, &pool, &records).await;
    hold(&stage, &still, &records[..1]).await;
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    let version = api.get(&still).await.unwrap().resource_version();

    let controller = stage.play().await;
    controller.says("leading").await;
    repaired("what is nobody's is free", async || {
        let kept = [1, 4, 7].map(|last| at(last).to_string());
        (held(&stage, &pool).await == kept).then_some(())
    })
    .await;
    tokio::time::sleep(TWO_PASSES).await;
    assert_eq!(held(&stage, &pool).await.len(), 3);
    assert_eq!(
        api.get(&still).await.unwrap().resource_version(),
        version,
        "nothing to free, nothing written"
    );
    forget(&stage, &name).await;
    repaired("the last one goes with its pod", async || {
        (held(&stage, &pool).await == [4, 7].map(|last| at(last).to_string())).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_address_waits_in_a_shared_pool_for_as_long_as_its_set_wants_it() {
    let stage = Stage::empty().await;
    let set = format!("{}-web", stage.name);
    let object = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": set, "namespace": "default"},
        "spec": {"replicas": 1, "serviceName": set, "selector": {"matchLabels": {"app": set}}, "template": {
            "metadata": {"labels": {"app": set}}, "spec": {"containers": [{"name": "c", "image": "busybox"}],
            // No node fits, so that nothing but the record is there.
            "nodeSelector": {"no": "node"}}}}});
    testbed::shared().kubectl_with(&["create", "-f", "-"], &object.to_string()).unwrap();
    let pool = shared_pool(&stage, "fixed").await;
    let of = |ordinal: u8| record(&format!("{set}-{ordinal}"), "old", "no-such-node");
    hold(&stage, &pool, &[(at(1), of(0)), (at(2), of(1))]).await;
    let controller = stage.play().await;
    controller.says("leading").await;
    repaired("the one that is not wanted is free", async || {
        (held(&stage, &pool).await == [at(1).to_string()]).then_some(())
    })
    .await;
    testbed::shared().kubectl(&["delete", "statefulset", &set, "--wait=false"]).unwrap();
    forget(&stage, &format!("{set}-0")).await;
    repaired("the other goes with its set", async || held(&stage, &pool).await.is_empty().then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_frees_nothing() {
    // A cluster of its own: in the shared one others' controllers would free it.
    let plane = testbed::ControlPlane::start().unwrap();
    plane.apply_crds().unwrap();
    let mut stage = Stage::empty().await;
    stage.client = client(plane.kubeconfig()).await;
    stage.namespace().await;
    let pool = shared_pool(&stage, "unread").await;
    hold(&stage, &pool, &[(at(1), record("nobody", "u1", "no-such-node"))]).await;
    // All rights but that to pods.
    let rbac = include_str!("../../rbac.yaml")
        .replace("kube-system", &stage.name)
        .replace("name: spiderpool-cloud-controller", &format!("name: {}", stage.name));
    plane
        .kubectl_with(&["apply", "-f", "-"], &rbac.replace("resources: [pods]", "resources: [none]"))
        .unwrap();
    let account = format!("system:serviceaccount:{0}:{0}", stage.name);
    stage.as_user(&plane.kubeconfig_for(&account, None).unwrap());
    let controller = stage.controller();
    let line = controller.says("cannot read pod default/nobody").await;
    assert!(line.contains("forbidden"), "{line}");
    tokio::time::sleep(TWO_PASSES).await;
    assert_eq!(held(&stage, &pool).await, [at(1).to_string()]);
    assert!(controller.counter("spiderpool_ip_gc_failure_counts_total").await > 1.5);

    // With the right it is free.
    plane.kubectl_with(&["apply", "-f", "-"], &rbac).unwrap();
    repaired("it is free", async || held(&stage, &pool).await.is_empty().then_some(())).await;
    assert!((controller.counter("spiderpool_ip_gc_counts_total").await - 1.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_more_records_than_one_look_asks_about_is_looked_at_to_its_end() {
    let stage = Stage::empty().await;
    let pool = shared_pool(&stage, "large").await;
    let many = |n: u16| {
        IpAddr::from([198, 18, u8::try_from(100 + n / 250).unwrap(), u8::try_from(n % 250).unwrap()])
    };
    // Nobody can be asked about these, but they are looked at.
    let odd = (0..600).map(|n| (many(n), json!({"pod": "odd", "podUid": n.to_string()})));
    let last = many(700);
    let records: Vec<_> = odd.chain([(last, record("nobody", "u1", "no-such-node"))]).collect();
    hold(&stage, &pool, &records).await;
    let controller = stage.play().await;
    controller.says("leading").await;
    repaired("the last one is free", async || {
        let held = held(&stage, &pool).await;
        (!held.contains(&last.to_string())).then_some(())
    })
    .await;
    assert_eq!(held(&stage, &pool).await.len(), 600);
}
