//! What goes wrong: pods that are not there, pools that fail, clients and agents that die. Nothing leaks, nothing is doubled.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::proxy::Proxy;
use crate::stage::{Guest, Stage, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_not_there_or_not_ours_gets_nothing() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let says = async |guest: &Guest, words: &str| {
        let sentence = agent.refused(guest, "c1", "eth0").await;
        assert!(sentence.contains(words), "{sentence}");
    };
    says(&Guest { name: "nobody".into(), ..pod.clone() }, "there is no pod").await;
    says(&Guest { uid: "0f1e".into(), ..pod.clone() }, "another pod with UID").await;
    let elsewhere = stage.pod("elsewhere", "b", json!({})).await;
    says(&elsewhere, "is bound to node").await;
    assert_eq!(stage.records(&pool).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_ends_or_has_ended_gets_nothing_and_loses_what_it_has() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let (ending, job) = (stage.pod("ending", "a", json!({})).await, stage.pod("job", "a", json!({})).await);
    agent.add(&job, "c2", "eth0").await;
    stage.delete(&ending).await;
    eventually("the agent knows that it ends", async || {
        let (status, sentence) = agent.call("POST", "/v1/ipam/ip", Some(&ending.request("c1", "eth0"))).await;
        (status == 500 && sentence.as_str().is_some_and(|text| text.contains("it is being deleted")))
            .then_some(())
    })
    .await;
    stage.phase(&job, "Succeeded").await;
    let sentence = eventually("the agent knows that it has ended", async || {
        let (status, sentence) = agent.call("POST", "/v1/ipam/ip", Some(&job.request("c3", "eth0"))).await;
        (status == 500).then_some(sentence)
    })
    .await;
    assert!(sentence.as_str().is_some_and(|text| text.contains("has ended")), "{sentence}");
    // Its DEL never comes.
    stage.is_empty_soon(&pool).await;
    stage.no_endpoint_soon("job").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_that_cannot_be_read_is_named() {
    let stage = Stage::open().await;
    stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    for (at, (key, value)) in [
        ("ippools", "[{"),
        ("ippools", r#"[{"interface": "eth0", "ipv4": "not-a-list"}]"#),
        ("ippool", "nonsense"),
        ("ippool", "[]"),
        ("routes", r#"[{"dst": "everywhere", "gw": "10.0.0.1"}]"#),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("ipam.spidernet.io/{key}");
        let pod = stage.annotated(&format!("p{at}"), "a", json!({key.clone(): value})).await;
        let sentence = agent.refused(&pod, "c1", "eth0").await;
        assert!(sentence.contains(&key), "{value}: {sentence}");
    }
    assert_eq!(stage.records(&stage.pool_name("a4")).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_says_so_and_serves_again_when_an_address_has_rested() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 2)).await;
    let agent = stage.agent("a").await;
    let pods = [
        stage.pod("p0", "a", json!({})).await,
        stage.pod("p1", "a", json!({})).await,
        stage.pod("p2", "a", json!({})).await,
    ];
    agent.add(&pods[0], "c0", "eth0").await;
    agent.add(&pods[1], "c1", "eth0").await;
    let sentence = agent.refused(&pods[2], "c2", "eth0").await;
    assert!(sentence.contains(&pool) && sentence.contains('2'), "{sentence}");
    stage.remove(&pods[0]).await;
    agent.del(&pods[0], "c0", "eth0").await;
    let start = Instant::now();
    assert_eq!(agent.address(&pods[2], "c2", "eth0").await, stage.v4(1, 1));
    assert!(start.elapsed() < Duration::from_secs(10), "it waits for the rest, not for a retry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_deleted_in_use_takes_nobody_with_it() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    agent.add(&pod, "c1", "eth0").await;
    // Without a finalizer it is gone at once.
    let api: Api<api::SpiderIPPool> = Api::all(stage.client.clone());
    api.delete(&pool, &DeleteParams::default()).await.expect("a deleted pool");
    let late = stage.pod("late", "a", json!({})).await;
    let sentence = eventually("nothing is given out of it", async || {
        let (status, sentence) = agent.call("POST", "/v1/ipam/ip", Some(&late.request("c2", "eth0"))).await;
        (status == 500).then_some(sentence)
    })
    .await;
    assert!(sentence.is_string(), "{sentence}");
    stage.remove(&pod).await;
    agent.del(&pod, "c1", "eth0").await;
    stage.no_endpoint_soon("web").await;
    // Another one under its name serves.
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    eventually("the new pool serves", async || {
        let (status, _) = agent.call("POST", "/v1/ipam/ip", Some(&late.request("c2", "eth0"))).await;
        (status == 200).then_some(())
    })
    .await;
    assert_eq!(stage.records(&pool).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_disabled_serves_nobody_new_and_those_it_served_still() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let address = agent.address(&pod, "c1", "eth0").await;
    stage.patch_pool(&pool, json!({"spec": {"disable": true}})).await;
    let new = stage.pod("new", "a", json!({})).await;
    eventually("nobody new is served", async || {
        let (status, sentence) = agent.call("POST", "/v1/ipam/ip", Some(&new.request("c2", "eth0"))).await;
        (status == 500 && sentence.as_str().is_some_and(|text| text.contains("disable"))).then_some(())
    })
    .await;
    // Its node was restarted, say: all sandboxes are made anew.
    assert_eq!(agent.address(&pod, "c3", "eth0").await, address);
    assert_eq!(stage.records(&pool).await[&address].container, "c3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_nothing() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 1)).await;
    // An address that rests for long holds the request up.
    let agent = stage.launch("a", "addressRestSeconds: 5\n");
    agent.serves().await;
    let first = stage.pod("first", "a", json!({})).await;
    agent.add(&first, "c1", "eth0").await;
    stage.remove(&first).await;
    agent.del(&first, "c1", "eth0").await;
    let second = stage.pod("second", "a", json!({})).await;
    let body = second.request("c2", "eth0").to_string();
    let request =
        format!("POST /v1/ipam/ip HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = UnixStream::connect(&agent.socket).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("a request");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(agent.metric("spiderpool_ipam_requests_in_flight").await > 0.5);
    drop(stream);
    agent.says("ADD cancelled").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(stage.records(&pool).await.len(), 0);
    assert!(agent.metric("spiderpool_ipam_requests_in_flight").await < 0.5);
    assert!(agent.metric("spiderpool_ipam_allocation_cancelled_counts_total").await > 0.5);
    // Clients that go away at any time, among others that stay.
    let stay = async |n: usize| {
        let pod = stage.pod(&format!("stay-{n}"), "a", json!({})).await;
        (agent.call("POST", "/v1/ipam/ip", Some(&pod.request("c", "eth0"))).await.0, pod)
    };
    let go = async |n: u64| {
        let pod = stage.pod(&format!("go-{n}"), "a", json!({})).await;
        let body = pod.request("c", "eth0").to_string();
        let head = format!("POST /v1/ipam/ip HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut stream = UnixStream::connect(&agent.socket).await.expect("a connection");
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("a request");
        tokio::time::sleep(Duration::from_millis(n)).await;
    };
    stage
        .patch_pool(&pool, json!({"spec": {"ips": [format!("{}-{}", stage.v4(1, 1), stage.v4(1, 40))]}}))
        .await;
    let (stayed, ()) = tokio::join!(futures::future::join_all((0..8).map(stay)), async {
        drop(futures::future::join_all((0..24).map(go)).await);
    });
    let stayed: Vec<_> = stayed.into_iter().map(|(status, pod)| (status, pod.uid)).collect();
    assert!(stayed.iter().all(|(status, _)| *status == 200), "{stayed:?}");
    eventually("only those that stayed hold an address, or who was answered before it left", async || {
        let records = stage.records(&pool).await;
        let gone: Vec<_> = records.values().filter(|record| record.pod.contains("/go-")).collect();
        // The log says who was answered; a pod is alive, so what it was told it keeps until its DEL.
        let log = agent.log();
        let answered = |pod: &str| log.lines().any(|line| line.contains("ADD done") && line.contains(pod));
        gone.iter().all(|record| answered(&record.pod)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_in_the_middle_loses_nothing_and_doubles_nothing() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 60)).await;
    let mut agent = stage.agent("a").await;
    let mut pods = Vec::new();
    for n in 0..20 {
        pods.push(stage.pod(&format!("p{n}"), "a", json!({})).await);
    }
    let ask = async |agent: &crate::stage::Agent, pod: Guest| {
        let body = pod.request("c", "eth0").to_string();
        let head = format!(
            "POST /v1/ipam/ip HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = agent.raw(format!("{head}{body}").as_bytes()).await;
        answer
            .filter(|(status, _)| *status == 200)
            .map(|(_, reply)| (pod.uid, reply["ips"][0]["address"].clone()))
    };
    let asked = futures::future::join_all(pods.iter().map(|pod| ask(&agent, pod.clone())));
    let killed = async {
        tokio::time::sleep(Duration::from_millis(15)).await;
        agent.signal("KILL");
    };
    let (before, ()) = tokio::join!(asked, killed);
    assert_eq!(agent.ended().await, -1);
    // The socket of the dead one is still there.
    let agent = stage.agent("a").await;
    let after = futures::future::join_all(pods.iter().map(|pod| ask(&agent, pod.clone()))).await;
    let after: std::collections::BTreeMap<_, _> =
        after.into_iter().map(|answer| answer.expect("an address")).collect();
    for (uid, address) in before.into_iter().flatten() {
        assert_eq!(after[&uid], address, "an answer that was given stands");
    }
    let different: std::collections::BTreeSet<_> = after.values().map(ToString::to_string).collect();
    assert_eq!(different.len(), pods.len(), "each has its own");
    assert_eq!(stage.records(&pool).await.len(), pods.len());
    for pod in &pods {
        stage.endpoint_says(&pod.name, |status| (status.current.uid == pod.uid).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_away_requests_wait_and_then_go_through() {
    let mut stage = Stage::open().await;
    let text = std::fs::read_to_string(stage.kubeconfig()).expect("a kubeconfig");
    let server = testbed::shared().server();
    let proxy = Proxy::start(&server.parse().expect("a URL")).await;
    let path = stage.dir.path().join("kubeconfig");
    let url = proxy.url().to_string();
    std::fs::write(&path, text.replace(server, url.trim_end_matches('/'))).expect("a kubeconfig");
    stage.as_user(&path);
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let (pod, unseen) = (stage.pod("web", "a", json!({})).await, stage.pod("unseen", "a", json!({})).await);
    agent.add(&pod, "c1", "eth0").await;
    proxy.cut();
    let start = Instant::now();
    let ((), address) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            proxy.resume();
        },
        agent.address(&unseen, "c2", "eth0")
    );
    assert_eq!(address, stage.v4(1, 2));
    assert!(start.elapsed() >= Duration::from_secs(3) && start.elapsed() < Duration::from_secs(15));
    assert!(agent.get("/v1/runtime/liveness").await.contains("200 OK"));
    stage.remove(&pod).await;
    agent.del(&pod, "c1", "eth0").await;
    eventually("it is free", async || (stage.records(&pool).await.len() == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_del_while_the_api_server_is_away_waits_and_frees_or_fails_and_frees_the_next_time() {
    let mut stage = Stage::open().await;
    let text = std::fs::read_to_string(stage.kubeconfig()).expect("a kubeconfig");
    let server = testbed::shared().server();
    let proxy = Proxy::start(&server.parse().expect("a URL")).await;
    let path = stage.dir.path().join("kubeconfig");
    let url = proxy.url().to_string();
    std::fs::write(&path, text.replace(server, url.trim_end_matches('/'))).expect("a kubeconfig");
    stage.as_user(&path);
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pods = [stage.pod("soon", "a", json!({})).await, stage.pod("late", "a", json!({})).await];
    for pod in &pods {
        agent.add(pod, "c1", "eth0").await;
        stage.delete(pod).await;
        eventually("the agent knows that it ends", async || {
            let (_, sentence) = agent.call("POST", "/v1/ipam/ip", Some(&pod.request("c1", "eth0"))).await;
            sentence.as_str().is_some_and(|text| text.contains("it is being deleted")).then_some(())
        })
        .await;
    }
    proxy.cut();
    let start = Instant::now();
    let ((), ()) = tokio::join!(agent.del(&pods[0], "c1", "eth0"), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(stage.records(&pool).await.len(), 2, "nothing came through");
        proxy.resume();
    });
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(stage.records(&pool).await.len(), 1, "answered when it is free");

    // The plugin has more patience than the agent: it is told, and keeps the DEL.
    proxy.cut();
    let (status, sentence) = agent.call("DELETE", "/v1/ipam/ip", Some(&pods[1].request("c1", "eth0"))).await;
    assert!(status == 500 && start.elapsed() < Duration::from_secs(30), "{sentence}");
    assert!(sentence.as_str().is_some_and(|text| text.contains("is not free yet")), "{sentence}");
    proxy.resume();
    agent.del(&pods[1], "c1", "eth0").await;
    stage.is_empty_soon(&pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_rights_says_what_it_waits_for() {
    let mut stage = Stage::open().await;
    let user = testbed::unique("nobody");
    let kubeconfig = testbed::shared().kubeconfig_for(&user, None).expect("a kubeconfig");
    stage.as_user(&kubeconfig);
    let agent = stage.launch("a", "");
    agent.says("serving plugins").await;
    let (status, sentence) = agent.call("GET", "/v1/ipam/healthy", None).await;
    assert_eq!(status, 500);
    assert!(sentence.as_str().is_some_and(|text| text.contains("rbac.yaml")), "{sentence}");
    assert!(agent.get("/v1/runtime/readiness").await.contains(" 500 "));
    assert!(agent.get("/v1/runtime/liveness").await.contains("200 OK"), "killing it would not help");
    agent.says("forbidden").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_gone_without_a_word_leaves_nothing_and_its_successor_gets_its_own() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let first = stage.pod("web", "a", json!({})).await;
    let old = agent.address(&first, "c1", "eth0").await;
    stage.remove(&first).await;
    let second = stage.pod("web", "a", json!({})).await;
    let new = eventually("the successor gets an address", async || {
        let (status, reply) = agent.call("POST", "/v1/ipam/ip", Some(&second.request("c2", "eth0"))).await;
        (status == 200).then(|| reply["ips"][0]["address"].clone())
    })
    .await;
    assert_ne!(new, format!("{old}/24"), "the old sandbox may still be there");
    stage.endpoint_says("web", |status| (status.current.uid == second.uid).then_some(())).await;
    eventually("the old record goes", async || {
        let records = stage.records(&pool).await;
        records.values().all(|record| record.pod_uid == second.uid).then_some(())
    })
    .await;
    assert_eq!(stage.records(&pool).await.len(), 1);
    // The late DEL of the first pod takes nothing from the second.
    agent.del(&first, "c1", "eth0").await;
    assert_eq!(stage.records(&pool).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_made_anew_keeps_the_pods_address_whichever_comes_first() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let address = agent.address(&pod, "c1", "eth0").await;
    // Kubelet: DEL of the old sandbox, ADD of the new one.
    agent.del(&pod, "c1", "eth0").await;
    assert_eq!(stage.records(&pool).await.len(), 1, "kept: the pod is alive");
    assert_eq!(agent.address(&pod, "c2", "eth0").await, address);
    assert_eq!(stage.records(&pool).await[&address].container, "c2");
    // Or the other way round, and the DEL once more.
    assert_eq!(agent.address(&pod, "c3", "eth0").await, address);
    agent.del(&pod, "c2", "eth0").await;
    stage.delete(&pod).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    agent.del(&pod, "c2", "eth0").await;
    assert_eq!(stage.records(&pool).await.len(), 1, "the old sandbox's DEL frees nothing of the new one");
    agent.del(&pod, "c3", "eth0").await;
    assert_eq!(stage.records(&pool).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_sandbox_went_before_it_ends_leaves_nothing() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    agent.add(&pod, "c1", "eth0").await;
    agent.del(&pod, "c1", "eth0").await;
    assert_eq!(stage.records(&pool).await.len(), 1);
    // No further DEL comes: kubelet has no sandbox of it.
    stage.delete(&pod).await;
    stage.is_empty_soon(&pool).await;
    stage.no_endpoint_soon("web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_conflict_is_given_back_and_the_next_try_gets_another() {
    let stage = Stage::open().await;
    stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let first = agent.address(&pod, "c1", "eth0").await;
    let mut release = pod.request("c1", "eth0");
    release["isReleaseConflictIPs"] = json!(true);
    let (status, sentence) = agent.call("DELETE", "/v1/ipam/ips", Some(&release)).await;
    assert_eq!(status, 200, "{sentence}");
    assert_ne!(agent.address(&pod, "c2", "eth0").await, first);

    let owner = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "vm", "uid": "8f", "controller": true,
    }]}});
    let machine = stage.pod("virt-launcher-vm", "a", owner).await;
    agent.add(&machine, "c3", "eth0").await;
    let mut release = machine.request("c3", "eth0");
    release["isReleaseConflictIPs"] = json!(true);
    let (status, sentence) = agent.call("DELETE", "/v1/ipam/ips", Some(&release)).await;
    assert_eq!(status, 522, "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_forbidden_an_address_in_conflict_stays_its_pods() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let forbidden = [("SPIDERPOOL_ENABLED_RELEASE_CONFLICT_IPS", "false")];
    let agent = stage.launch_with("a", "addressRestSeconds: 1\n", &forbidden);
    agent.serves().await;
    let pod = stage.pod("web", "a", json!({})).await;
    let address = agent.address(&pod, "c1", "eth0").await;
    let mut release = pod.request("c1", "eth0");
    release["isReleaseConflictIPs"] = json!(true);
    let (status, sentence) = agent.call("DELETE", "/v1/ipam/ips", Some(&release)).await;
    assert_eq!(status, 521, "{sentence}");
    let says = sentence.as_str().is_some_and(|text| text.contains("SPIDERPOOL_ENABLED_RELEASE_CONFLICT_IPS"));
    assert!(says, "{sentence}");
    assert!(stage.records(&pool).await.contains_key(&address));
    assert_eq!(agent.address(&pod, "c2", "eth0").await, address);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_runtime_does_not_list_is_freed_unless_its_pod_is_alive() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let (alive, listed, gone) = (
        stage.pod("alive", "a", json!({})).await,
        stage.pod("listed", "a", json!({})).await,
        stage.pod("gone", "a", json!({})).await,
    );
    for (pod, container) in [(&alive, "c1"), (&listed, "c2"), (&gone, "c3")] {
        agent.add(pod, container, "eth0").await;
    }
    stage.remove(&listed).await;
    stage.remove(&gone).await;
    eventually("the agent knows", async || {
        let listed = json!({"attachments": [{"containerID": "c2", "ifName": "eth0"}]});
        assert_eq!(agent.call("POST", "/v1/ipam/gc", Some(&listed)).await.0, 200);
        let records = stage.records(&pool).await;
        let names: Vec<_> = records.values().map(|record| record.container.as_str()).collect();
        (names == ["c1", "c2"]).then_some(())
    })
    .await;
}
