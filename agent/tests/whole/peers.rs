//! Agents beside and after each other: restarts, two on one machine, DELs left on the disk, a stop, and the rights.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::space::Space;
use crate::stage::{Stage, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_started_anew_knows_all_and_makes_endpoints_that_are_missing() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let v6 = stage.node_pool("a6", "a", 6, 1, (1, 20)).await;
    let mut agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let addresses = agent.addresses(&pod, "c1", "eth0").await;
    stage.endpoint_says("web", |_| Some(())).await;
    agent.signal("TERM");
    assert_eq!(agent.ended().await, 0);
    assert!(!agent.socket.exists(), "it takes its socket with it");
    let api: kube::Api<api::SpiderEndpoint> = kube::Api::namespaced(stage.client.clone(), &stage.name);
    api.delete("web", &kube::api::DeleteParams::default()).await.expect("a deleted endpoint");
    // A pod that went while nobody looked.
    let agent = stage.agent("a").await;
    let ip = stage.endpoint_says("web", |status| status.current.ips.first().cloned()).await;
    assert_eq!((ip.ipv4_pool.as_ref(), ip.ipv6_pool.as_ref()), (Some(&pool), Some(&v6)));
    assert_eq!(ip.ipv4, Some(format!("{}/24", addresses[0])));
    assert_eq!(agent.addresses(&pod, "c2", "eth0").await, addresses);
    stage.remove(&pod).await;
    agent.del(&pod, "c2", "eth0").await;
    stage.is_empty_soon(&pool).await;
    stage.is_empty_soon(&v6).await;
    stage.no_endpoint_soon("web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_went_while_no_agent_was_there_leaves_nothing() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let shared = stage.pool("shared", 4, 2, (1, 20), json!({})).await;
    let agent = stage.agent("a").await;
    let (one, two) = (stage.pod("one", "a", json!({})).await, stage.pod("two", "a", json!({})).await);
    agent.add(&one, "c1", "eth0").await;
    let mut request = two.request("c2", "eth0");
    request["defaultIPv4IPPool"] = json!([shared]);
    assert_eq!(agent.call("POST", "/v1/ipam/ip", Some(&request)).await.0, 200);
    drop(agent);
    stage.remove(&one).await;
    stage.remove(&two).await;
    let _agent = stage.agent("a").await;
    stage.is_empty_soon(&pool).await;
    stage.is_empty_soon(&shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dels_that_were_left_on_the_disk_are_carried_out() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let mut agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    agent.add(&pod, "c1", "eth0").await;
    agent.signal("TERM");
    agent.ended().await;
    stage.delete(&pod).await;
    std::fs::create_dir_all(&agent.queue).expect("a folder");
    let queued = json!({"request": pod.request("c1", "eth0"), "queuedAt": 1});
    std::fs::write(agent.queue.join("c1_eth0.json"), queued.to_string()).expect("a file");
    std::fs::write(agent.queue.join("c9_eth0.json"), "{half").expect("a file");
    std::fs::write(agent.queue.join("c8_eth0.json.tmp"), "{").expect("a file");
    let agent = stage.agent("a").await;
    stage.is_empty_soon(&pool).await;
    eventually("the file is gone", async || (!agent.queue.join("c1_eth0.json").exists()).then_some(())).await;
    agent.says("c9_eth0.json").await;
    assert!(agent.metric("spiderpool_ipam_queued_del_counts_total").await > 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_on_one_machine_share_a_pool_and_nothing_else() {
    let stage = Stage::open().await;
    let pool = stage.pool("shared", 4, 1, (1, 60), json!({"default": false})).await;
    let (a, b) = (stage.agent("a").await, stage.agent("b").await);
    let ask = async |letter: &str, n: usize| {
        let agent = if letter == "a" { &a } else { &b };
        let pod = stage.pod(&format!("{letter}{n}"), letter, json!({})).await;
        let mut request = pod.request("c", "eth0");
        request["defaultIPv4IPPool"] = json!([pool]);
        let (status, reply) = agent.call("POST", "/v1/ipam/ip", Some(&request)).await;
        assert_eq!(status, 200, "{reply}");
        (pod, reply["ips"][0]["address"].to_string())
    };
    let asked = join_all(
        ["a", "b"]
            .into_iter()
            .flat_map(|letter| (0..15).map(move |n| (letter, n)))
            .map(|(letter, n)| ask(letter, n)),
    );
    let asked = asked.await;
    let different: std::collections::BTreeSet<_> = asked.iter().map(|(_, address)| address).collect();
    assert_eq!(different.len(), 30);
    let records = stage.records(&pool).await;
    assert_eq!(records.len(), 30);
    assert!(records.values().all(|record| record.node == stage.node("a") || record.node == stage.node("b")));
    let gone = join_all(asked.iter().map(async |(pod, _)| {
        stage.remove(pod).await;
        let agent = if pod.name.starts_with('a') { &a } else { &b };
        agent.del(pod, "c", "eth0").await;
    }));
    gone.await;
    stage.is_empty_soon(&pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_the_requests_under_way() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 1)).await;
    let mut agent = stage.launch("a", "addressRestSeconds: 3\n");
    agent.serves().await;
    let first = stage.pod("first", "a", json!({})).await;
    agent.add(&first, "c1", "eth0").await;
    stage.remove(&first).await;
    agent.del(&first, "c1", "eth0").await;
    let second = stage.pod("second", "a", json!({})).await;
    // It waits for the address to have rested; the stop comes meanwhile.
    let (reply, ()) = tokio::join!(agent.add(&second, "c2", "eth0"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        agent.signal("TERM");
    });
    assert_eq!(reply["ips"][0]["address"], format!("{}/24", stage.v4(1, 1)));
    assert_eq!(agent.ended().await, 0);
    assert_eq!(stage.records(&pool).await.len(), 1);
    assert!(stage.endpoint("second").await.is_some(), "written before the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_never_saw_the_api_server_ends_when_it_is_told_to() {
    let mut stage = Stage::open().await;
    let nowhere = stage.dir.path().join("nowhere");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    });
    std::fs::write(&nowhere, kubeconfig.to_string()).expect("a kubeconfig");
    stage.as_user(&nowhere);
    let node = Space::new();
    let mut agent = stage.launch_on("a", &node.path());
    agent.says("looking after the node's network").await;
    agent.says("watch interrupted").await;
    agent.signal("TERM");
    assert_eq!(agent.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_an_older_installation_makes_way() {
    let stage = Stage::open().await;
    stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let api: kube::Api<api::SpiderEndpoint> = kube::Api::namespaced(stage.client.clone(), &stage.name);
    let old = |name: &str| {
        json!({
            "metadata": {"name": name, "finalizers": ["spiderpool.spidernet.io"]},
            "status": {
                "ownerControllerType": "Pod", "ownerControllerName": name,
                "current": {"uid": "old", "node": "elsewhere", "ips": [{"interface": "eth0", "ipv4": "10.9.9.9/24"}]},
            },
        })
    };
    crate::stage::create(&api, old("web")).await;
    crate::stage::create(&api, old("ended")).await;
    api.delete("ended", &kube::api::DeleteParams::default()).await.expect("a deletion that hangs");
    let agent = stage.agent("a").await;
    for name in ["web", "ended"] {
        let pod = stage.pod(name, "a", json!({})).await;
        agent.add(&pod, "c1", "eth0").await;
        stage.endpoint_says(name, |status| (status.current.uid == pod.uid).then_some(())).await;
        let endpoint = stage.endpoint(name).await.expect("an endpoint");
        assert_eq!(endpoint.metadata.finalizers, None, "nobody would take it off");
        let owners = endpoint.metadata.owner_references.unwrap_or_default();
        assert_eq!(owners.first().map(|owner| owner.uid.as_str()), Some(pod.uid.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_rbac_yaml_are_enough_and_none_is_missing() {
    let mut stage = Stage::open().await;
    stage.with_shipped_rights();
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let node = Space::new();
    let agent = stage.launch_on("a", &node.path());
    agent.serves().await;
    agent.says("looking after the node's network").await;

    // Every verb that it ever needs: create, change and delete endpoints, ask for owners, machines and the coordinator.
    let owners = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "8f", "controller": true,
    }]}});
    let plain = stage.pod("plain", "a", json!({})).await;
    let of_job = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "90", "controller": true,
    }]}});
    agent.add(&plain, "c1", "eth0").await;
    agent.add(&plain, "c1", "net1").await;
    stage.endpoint_says("plain", |status| (status.current.ips.len() == 2).then_some(())).await;
    let machine = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "vm", "uid": "91", "controller": true,
    }]}});
    for (name, more) in [("of-rs", owners), ("of-job", of_job), ("of-vm", machine), ("db-0", json!({}))] {
        let pod = stage.pod(name, "a", more).await;
        let (status, reply) = agent.call("POST", "/v1/ipam/ip", Some(&pod.request("c", "eth0"))).await;
        // The garbage collector takes pods whose owner is not there.
        if status == 200 {
            let _ = stage.pods().delete(name, &kube::api::DeleteParams::default().grace_period(0)).await;
            agent.del(&pod, "c", "eth0").await;
        } else {
            assert!(reply.is_string(), "{reply}");
        }
    }
    agent.call("GET", "/v1/coordinator/config", None).await;
    stage.remove(&plain).await;
    agent.del(&plain, "c1", "eth0").await;
    agent.del(&plain, "c1", "net1").await;
    stage.is_empty_soon(&pool).await;
    stage.no_endpoint_soon("plain").await;
    let log = agent.log();
    let refused: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    assert_eq!(refused, [] as [&str; 0]);
}
