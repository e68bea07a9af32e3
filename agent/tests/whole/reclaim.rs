//! What pods leave behind comes back although nobody says so.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::{Guest, Stage, create, eventually};

/// Within which every leak is repaired.
const REPAIRED: Duration = Duration::from_secs(30);

/// Runs `change`, and returns how long it takes from then until the pool has no record of these addresses.
async fn until_free(
    stage: &Stage,
    pool: &str,
    addresses: &[IpAddr],
    change: impl Future<Output = ()>,
) -> Duration {
    change.await;
    let began = Instant::now();
    eventually(&format!("{addresses:?} of {pool} are free"), async || {
        let records = stage.records(pool).await;
        addresses.iter().all(|address| !records.contains_key(address)).then_some(())
    })
    .await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_went_without_a_del_is_noticed() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let agent = stage.agent("a").await;
    let (gone, stays) = (stage.pod("gone", "a", json!({})).await, stage.pod("stays", "a", json!({})).await);
    let lost = agent.address(&gone, "c1", "eth0").await;
    let kept = agent.address(&stays, "c2", "eth0").await;
    stage.endpoint_says("gone", |_| Some(())).await;
    // At once, as --force does: the sandbox may still be there for a moment.
    let took = until_free(&stage, &pool, &[lost], stage.remove(&gone)).await;
    assert!(took > Duration::from_secs(8) && took < REPAIRED, "its DEL was waited for: {took:?}");
    assert!(stage.records(&pool).await.contains_key(&kept), "whoever lives keeps his");
    stage.no_endpoint_soon("gone").await;
    let line = agent.says("address freed").await;
    assert!(line.contains("gone") && line.contains(&lost.to_string()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_went_before_its_pod_is_freed_the_moment_the_pod_ends() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let address = agent.address(&pod, "c1", "eth0").await;
    agent.del(&pod, "c1", "eth0").await;
    assert!(stage.records(&pool).await.contains_key(&address), "the pod lives, and will get another sandbox");
    let took = until_free(&stage, &pool, &[address], stage.delete(&pod)).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_has_finished_gives_its_address_back() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let agent = stage.agent("a").await;
    let mut addresses = Vec::new();
    for (name, phase) in [("done", "Succeeded"), ("broken", "Failed")] {
        let pod = stage.pod(name, "a", json!({"spec": {"restartPolicy": "Never"}})).await;
        addresses.push(agent.address(&pod, name, "eth0").await);
        stage.phase(&pod, phase).await;
    }
    let took = until_free(&stage, &pool, &addresses, async {}).await;
    assert!(took < REPAIRED, "{took:?}");
    assert!(stage.pods().get_opt("done").await.unwrap().is_some(), "the pods are still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_network_namespace_still_has_is_not_freed_however_late_its_del_is() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let agent = stage.agent("a").await;
    let folder = tempfile::tempdir().unwrap();
    let mut addresses = Vec::new();
    let grace = json!({"spec": {"terminationGracePeriodSeconds": 1}});
    let (stuck, gone) = (stage.pod("stuck", "a", grace).await, stage.pod("gone", "a", json!({})).await);
    for pod in [&stuck, &gone] {
        let namespace = folder.path().join(&pod.name);
        std::fs::write(&namespace, "").unwrap();
        let mut request = pod.request(&pod.name, "eth0");
        request["netNamespace"] = json!(namespace);
        let (status, reply) = agent.call("POST", "/v1/ipam/ip", Some(&request)).await;
        assert_eq!(status, 200, "{reply}");
        addresses
            .push(reply["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap());
    }
    stage.delete(&stuck).await;
    stage.remove(&gone).await;
    tokio::time::sleep(REPAIRED).await;
    let records = stage.records(&pool).await;
    assert!(addresses.iter().all(|address| records.contains_key(address)), "{records:?}");
    // The runtime took them away, and its DELs were lost.
    let namespaces = async { std::fs::remove_dir_all(folder.path()).unwrap() };
    let took = until_free(&stage, &pool, &addresses, namespaces).await;
    assert!(took < REPAIRED, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_does_not_end_in_its_grace_period_loses_its_address() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("stuck", "a", json!({"spec": {"terminationGracePeriodSeconds": 1}})).await;
    let address = agent.address(&pod, "c1", "eth0").await;
    // No kubelet is there to end it.
    let took = until_free(&stage, &pool, &[address], stage.delete(&pod)).await;
    assert!(took > Duration::from_secs(8) && took < REPAIRED, "{took:?}");
    assert!(stage.pods().get_opt("stuck").await.unwrap().is_some(), "it is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_pod_of_a_name_keeps_its_own_and_not_the_former_ones_address() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let agent = stage.agent("a").await;
    let former = stage.pod("web", "a", json!({})).await;
    let old = agent.address(&former, "c1", "eth0").await;
    stage.remove(&former).await;
    let next = stage.pod("web", "a", json!({})).await;
    let new = agent.address(&next, "c2", "eth0").await;
    assert_ne!(old, new);
    let took = until_free(&stage, &pool, &[old], async {}).await;
    assert!(took < REPAIRED, "{took:?}");
    assert!(stage.records(&pool).await.contains_key(&new));
    let uid = stage.endpoint_says("web", |status| Some(status.current.uid.clone())).await;
    assert_eq!(uid, next.uid, "the endpoint is the next pod's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_while_the_agent_was_down_is_found_at_its_start() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let shared = stage.pool("shared", 4, 2, (10, 20), json!({})).await;
    let agent = stage.agent("a").await;
    let named = json!({"ipam.spidernet.io/ippool": json!({"ipv4": [shared]}).to_string()});
    let (one, two) = (stage.pod("one", "a", json!({})).await, stage.annotated("two", "a", named).await);
    let (first, second) = (agent.address(&one, "c1", "eth0").await, agent.address(&two, "c2", "eth0").await);
    agent.signal("KILL");
    stage.remove(&one).await;
    stage.remove(&two).await;
    drop(agent);
    let _agent = stage.agent("a").await;
    let took = until_free(&stage, &pool, &[first], async {}).await;
    let more = until_free(&stage, &shared, &[second], async {}).await;
    assert!(took + more < REPAIRED, "{took:?} {more:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_nobody_are_freed_and_those_of_other_nodes_left_to_them() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let shared = stage.pool("shared", 4, 2, (10, 20), json!({})).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let own = agent.address(&pod, "c1", "eth0").await;
    let record = |name: &str, uid: &str, letter: &str| {
        let node = if letter.is_empty() { String::new() } else { stage.node(letter) };
        json!({"pod": format!("{}/{name}", stage.name), "podUid": uid, "nic": "eth0", "node": node})
    };
    // Another name, and another UID under a name that is in use.
    let dirty = [(stage.v4(1, 15), record("nobody", "u1", "")), (stage.v4(1, 16), record("web", "u2", ""))];
    let mine = json!({own.to_string(): record("web", &pod.uid, "")});
    hold(&stage, &pool, &mine, &dirty).await;
    let foreign =
        [(stage.v4(2, 15), record("nobody", "u3", "a")), (stage.v4(2, 16), record("nobody", "u4", "b"))];
    hold(&stage, &shared, &json!({}), &foreign).await;
    until_free(&stage, &pool, &[dirty[0].0, dirty[1].0], async {}).await;
    until_free(&stage, &shared, &[foreign[0].0], async {}).await;
    assert!(stage.records(&pool).await.contains_key(&own));
    assert!(stage.records(&shared).await.contains_key(&foreign[1].0), "node b has its own agent");
}

/// Writes the records of a pool past its agent.
async fn hold(stage: &Stage, pool: &str, base: &Value, more: &[(IpAddr, Value)]) {
    let mut map = base.as_object().unwrap().clone();
    map.extend(more.iter().map(|(address, record)| (address.to_string(), record.clone())));
    let status = json!({"status": {"allocatedIPs": json!(map).to_string(), "allocatedIPCount": map.len()}});
    let api: Api<api::SpiderIPPool> = Api::all(stage.client.clone());
    api.patch_status(pool, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_deleted_gives_all_its_addresses_back_and_no_other() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let agent = stage.agent("a").await;
    let here = stage.pod("web", "a", json!({})).await;
    let kept = agent.address(&here, "c0", "eth0").await;
    let other = format!("{}-other", stage.name);
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(stage.client.clone());
    create(&namespaces, json!({"metadata": {"name": other}})).await;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(stage.client.clone(), &other);
    let mut addresses = Vec::new();
    // One of the same name as the one that stays.
    for name in ["web", "two"] {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {"nodeName": stage.node("a"), "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "busybox"}]},
        });
        let uid = create(&pods, pod).await.metadata.uid.unwrap();
        let guest = Guest { namespace: other.clone(), name: name.into(), uid };
        addresses.push(agent.address(&guest, &format!("c-{name}"), "eth0").await);
    }
    let deleted = async { drop(namespaces.delete(&other, &DeleteParams::default()).await.unwrap()) };
    until_free(&stage, &pool, &addresses, deleted).await;
    assert!(stage.records(&pool).await.contains_key(&kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_does_not_say_frees_nothing() {
    let mut stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let user = stage.name.clone();
    // All that an agent needs, but not the right to ask for the owners of fixed addresses.
    let rights = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": user}, "rules": [
            {"apiGroups": [""], "resources": ["pods", "nodes", "namespaces"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["spiderpool.spidernet.io"], "resources": ["*"], "verbs": ["*"]},
        ]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]},
    ]});
    let cluster = testbed::shared();
    cluster.kubectl_with(&["apply", "-f", "-"], &rights.to_string()).unwrap();
    stage.as_user(&cluster.kubeconfig_for(&user, None).unwrap());
    let agent = stage.agent("a").await;
    let pod = stage.pod("web-0", "a", json!({})).await;
    let address = agent.address(&pod, "c1", "eth0").await;
    stage.remove(&pod).await;
    let line = agent.says("did not say whether it is used").await;
    assert!(line.contains("forbidden"), "{line}");
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(stage.records(&pool).await.contains_key(&address), "unknown is not gone");
    let args = ["delete", "clusterrole", &user];
    cluster.kubectl(&args).unwrap();
    cluster.kubectl(&["delete", "clusterrolebinding", &user]).unwrap();
}
