//! What the controller does when all goes well.

use std::time::{Duration, Instant};

use api::{CniType, OVERLAY_POD_CIDR_KNOWN, SERVICE_CIDR_KNOWN, labels};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::coordinator::Found;
use crate::reclaim;
use crate::stage::{RESYNC, Stage, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn every_nic_and_family_gets_its_pool() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let pools = stage.pools().await;
    assert_eq!(pools.len(), 8, "{:?}", pools.keys());
    let pool = stage.pool("a", 1, "v4").await.unwrap();
    assert!(
        pool.name_any().starts_with(&format!("{}-eth1-v4-", stage.node_name("a"))),
        "{}",
        pool.name_any()
    );
    assert_eq!(pool.spec.ips, [format!("{}-{}", stage.v4(1, 11), stage.v4(1, 15))]);
    assert_eq!(pool.spec.subnet, format!("{}/24", stage.v4(1, 0)));
    assert_eq!(pool.spec.gateway, Some(stage.v4(1, 253).to_string()));
    assert_eq!((pool.spec.ip_version, pool.spec.default), (Some(4), Some(true)));
    assert_eq!(pool.spec.node_name, [stage.node_name("a")]);
    assert_eq!(pool.spec.multus_name, [format!("{}/ipvlan-eth1", stage.name)]);
    assert_eq!(pool.labels()[labels::NODE], stage.node_name("a"));
    assert_eq!(pool.labels()[labels::NIC], stage.nic_id("a", 1));
    assert_eq!(pool.annotations()[labels::INSTANCE], stage.instance_id("a"));
    eventually("the totals are counted", async || {
        let status = stage.pool("a", 1, "v4").await.unwrap().status?;
        (status.total_ip_count == Some(5) && status.allocated_ip_count == Some(0)).then_some(())
    })
    .await;
    let six = stage.pool("b", 0, "v6").await.unwrap();
    assert_eq!(six.spec.ips, [format!("{}-{}", stage.v6(0, 17), stage.v6(0, 18))]);
    let multus = stage.multus("eth1").await.unwrap();
    assert_eq!(multus.spec.cni_type, Some(CniType::Ipvlan));
    assert_eq!(multus.spec.ipvlan.unwrap().master, ["eth1"]);
    for kind in ["Discovered", "SufficientIPs"] {
        stage.until("b", kind, "True").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_means_no_write() {
    let stage = Stage::two_nodes().await;
    let controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    stage.listings(2).await;
    let writes = controller.counter("spiderpool_cloud_writes_total").await;
    assert!(writes >= 8.0, "the counter counts: {writes}");
    let versions = |pools: std::collections::BTreeMap<String, api::SpiderIPPool>| {
        pools.into_values().map(|pool| pool.resource_version()).collect::<Vec<_>>()
    };
    let before = versions(stage.pools().await);
    stage.listings(5).await;
    assert!((controller.counter("spiderpool_cloud_writes_total").await - writes).abs() < 0.5);
    assert_eq!(versions(stage.pools().await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_follow_addresses_that_come_go_and_move() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;

    let (fresh, moved, lost) = (stage.v4(1, 77), stage.v4(1, 13), stage.v4(1, 15));
    let asked = Instant::now();
    stage.sim.edit(|cloud| cloud.assign(&stage.nic_id("a", 1), &[fresh])).unwrap();
    eventually("the new address is in", async || {
        stage.says("a", 1).await.0.contains(&fresh.to_string()).then_some(())
    })
    .await;
    assert!(asked.elapsed() < 3 * RESYNC, "{:?}", asked.elapsed());

    stage.sim.edit(|cloud| cloud.unassign(&stage.nic_id("a", 1), &[lost])).unwrap();
    stage.sim.edit(|cloud| cloud.move_ips(&stage.nic_id("a", 1), &stage.nic_id("b", 1), &[moved])).unwrap();
    eventually("the moved address is denied first", async || {
        stage.says("a", 1).await.1.contains(&moved.to_string()).then_some(())
    })
    .await;
    eventually("it arrives", async || {
        let (there, _) = stage.says("b", 1).await;
        let (here, _) = stage.says("a", 1).await;
        let both = here.iter().any(|r| r.contains(&moved.to_string())) && there.contains(&moved.to_string());
        assert!(!both, "an address is in two pools");
        there.contains(&moved.to_string()).then_some(())
    })
    .await;
    let (ips, excluded) = stage.says("a", 1).await;
    let rest =
        [format!("{}-{}", stage.v4(1, 11), stage.v4(1, 12)), stage.v4(1, 14).to_string(), fresh.to_string()];
    assert_eq!((ips, excluded), (rest.to_vec(), Vec::new()));
    stage.synced(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_follow_nics_that_are_attached_and_detached() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let (nic, own, ip) =
        (format!("eni-{}x", stage.name.replace('-', "")), stage.v4(1, 200), stage.v4(1, 201));
    let std::net::IpAddr::V4(own) = own else { unreachable!() };
    stage
        .sim
        .edit(|cloud| {
            let spec = testbed::aliyun::NicSpec::secondary(&*nic, "vsw-1").device_index(Some(2));
            cloud.attach(&stage.instance_id("a"), spec.primary_ip(own).ips([ip]))
        })
        .unwrap();
    eventually("the new NIC has its pool", async || {
        let pools = stage.pools().await;
        pools.into_values().find(|pool| pool.annotations()[labels::NIC_ID] == nic)
    })
    .await;
    assert!(stage.multus("eth2").await.is_some());
    stage.sim.edit(|cloud| cloud.detach_nic(&nic)).unwrap();
    eventually("its pool is gone", async || (stage.pools().await.len() == 8).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_follow_nodes_that_join_leave_and_come_back() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    stage.listings(1).await;

    stage.instance("c", 2);
    stage.node("c", Some("c")).await;
    stage.synced(&["c"]).await;
    assert_eq!(stage.pools().await.len(), 12);

    stage.delete_node("b").await;
    eventually("its pools are gone", async || (stage.pools().await.len() == 8).then_some(())).await;
    let nodes: Api<api::SpiderNode> = Api::all(stage.client.clone());
    eventually("its SpiderNode is collected", async || {
        nodes.get_opt(&stage.node_name("b")).await.unwrap().is_none().then_some(())
    })
    .await;

    // The same name, another instance.
    stage.instance("d", 3);
    stage.node("b", Some("d")).await;
    stage.synced(&["b"]).await;
    let pool = stage.pool("d", 1, "v4").await.unwrap();
    assert_eq!(pool.spec.node_name, [stage.node_name("b")]);
    assert_eq!(pool.spec.ips, [format!("{}-{}", stage.v4(1, 41), stage.v4(1, 45))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_pod_holds_is_never_removed() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let (held, pool) = (stage.v4(0, 12), stage.pool("a", 0, "v4").await.unwrap().name_any());
    let name = format!("{}-holder", stage.name);
    let uid = reclaim::pod(&stage, &name, &stage.node_name("a")).await;
    reclaim::hold(&stage, &pool, &[(held, reclaim::record(&name, &uid, ""))]).await;
    stage.sim.edit(|cloud| cloud.unassign(&stage.nic_id("a", 0), &[held])).unwrap();
    stage.listings(4).await;
    let range = format!("{}-{}", stage.v4(0, 11), stage.v4(0, 15));
    assert_eq!(stage.says("a", 0).await, (vec![range.clone()], Vec::new()));
    let object = stage.pool("a", 0, "v4").await.unwrap();
    assert_eq!(object.annotations()[labels::DENIED], held.to_string(), "for agents, should we be away then");
    let message = stage.until("a", "Synced", "False").await;
    assert!(message.contains(&held.to_string()) && message.contains("pods hold them"), "{message}");

    // The node goes too: its pool waits for the pod.
    stage.delete_node("a").await;
    eventually("the other pools are gone", async || (stage.pools().await.len() == 5).then_some(())).await;
    stage.listings(2).await;
    assert_eq!(stage.says("a", 0).await.0, [range]);
    stage.allocate(&pool, &[]).await;
    eventually("the pool follows", async || (stage.pools().await.len() == 4).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_the_longest_name_gets_its_pools() {
    let stage = Stage::empty().await;
    let _controller = stage.play().await;
    stage.instance("a", 0);
    let name = format!("{}.{}", stage.name, vec!["n".repeat(60); 4].join("."));
    let name = &name[..name.len().min(253)].trim_end_matches('.');
    stage.node_named(name, Some(format!("alicloud://cn-hangzhou.{}", stage.instance_id("a"))), "a").await;
    eventually("it has four pools", async || (stage.pools().await.len() == 4).then_some(())).await;
    let pool = stage.pool("a", 0, "v4").await.unwrap();
    assert_eq!(pool.spec.node_name, [*name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_read_again_when_it_changes() {
    let stage = Stage::two_nodes().await;
    let controller = stage.play().await;
    stage.synced(&["a", "b"]).await;

    std::fs::write(stage.config_path(), "resync: 1s\nprovidres: []\n").unwrap();
    let line = controller.says("stays in force").await;
    assert!(line.contains("cloud.yaml:2:1") && line.contains("providers"), "{line}");
    assert_eq!(stage.pools().await.len(), 8);

    let (ip, node) = (stage.v4(1, 230), stage.node_name("rack"));
    let rack = format!(
        "{}  - name: {}-rack\n    type: static\n    multusName: {}/rack-{{interface}}\n    nodes:\n      {node}: \
         [{{interface: ens192, subnet: 192.0.2.0/24, gateway: 192.0.2.1, ips: [\"192.0.2.10-192.0.2.19\"]}}]\n",
        stage.config(""),
        stage.name,
        stage.name
    );
    std::fs::write(stage.config_path(), rack).unwrap();
    stage.node("rack", None).await;
    let message = stage.until("rack", "SufficientIPs", "True").await;
    assert_eq!(message, "ens192: 10 IPv4, 0 IPv6");
    stage.sim.edit(|cloud| cloud.assign(&stage.nic_id("a", 1), &[ip])).unwrap();
    eventually("the cloud is followed on", async || {
        stage.says("a", 1).await.0.contains(&ip.to_string()).then_some(())
    })
    .await;
    let pools: Api<api::SpiderIPPool> = Api::all(stage.client.clone());
    let rack = kube::api::ListParams::default().labels(&format!("{}={}-rack", labels::PROVIDER, stage.name));
    let pool = pools.list(&rack).await.unwrap().items.remove(0);
    assert_eq!(pool.spec.ips, ["192.0.2.10-192.0.2.19"]);
    pools.delete(&pool.name_any(), &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_change_in_a_generated_pool_is_repaired_or_kept() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let name = stage.pool("a", 0, "v4").await.unwrap().name_any();
    let api: Api<api::SpiderIPPool> = Api::all(stage.client.clone());
    let patch = json!({"spec": {
        "nodeName": ["elsewhere"],
        "disable": true,
        "excludeIPs": [stage.v4(0, 15).to_string()],
        "namespaceName": ["team-a"],
    }});
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let pool = eventually("the node is repaired", async || {
        let pool = api.get(&name).await.unwrap();
        (pool.spec.node_name == [stage.node_name("a")]).then_some(pool)
    })
    .await;
    assert_eq!(pool.spec.disable, Some(true), "what we do not own stays");
    assert_eq!(pool.spec.namespace_name, ["team-a"]);
    assert_eq!(pool.spec.exclude_ips, [stage.v4(0, 15).to_string()]);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("a deleted pool comes back", async || stage.pool("a", 0, "v4").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_the_node_itself_stay_out() {
    let stage = Stage::two_nodes().await;
    let api: Api<Node> = Api::all(stage.client.clone());
    let own = stage.v6(0, 1);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": own}]}});
    api.patch_status(&stage.node_name("a"), &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let _controller = stage.play().await;
    stage.synced(&["a"]).await;
    let pool = stage.pool("a", 0, "v6").await.unwrap();
    assert_eq!(pool.spec.ips, [stage.v6(0, 2).to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_adds_no_call_of_its_own() {
    let stage = Stage::empty().await;
    stage.configure("");
    let text =
        stage.config("").replace("resync: 1s", "resync: 60s").replace("joinWindow: 100ms", "joinWindow: 1s");
    std::fs::write(stage.config_path(), text).unwrap();
    let _controller = stage.play().await;
    eventually("the first listing", async || {
        (stage.sim.calls().of("DescribeNetworkInterfaces") > 0).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.sim.reset_calls();
    let letters = ["a", "b", "c", "d", "e", "f"];
    for (place, letter) in letters.iter().enumerate() {
        stage.instance(letter, u8::try_from(place).unwrap());
    }
    for letter in letters {
        stage.node(letter, Some(letter)).await;
    }
    stage.synced(&letters).await;
    let calls = stage.sim.calls();
    assert!(calls.total() <= 4, "six joins: {:?}", calls.by_action());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_rbac_yaml_are_enough() {
    let mut stage = Stage::two_nodes().await;
    stage.namespace().await;
    // Only the names are the stage's own: the rules are the shipped ones, and some are for kube-system wherever it runs.
    let discovery = "name: spiderpool-cloud-controller-discovery\n  namespace: ";
    let rbac = include_str!("../../rbac.yaml")
        .replace(&format!("{discovery}kube-system"), &format!("{discovery}THERE"))
        .replace("kube-system", &stage.name)
        .replace("THERE", "kube-system")
        .replace("name: spiderpool-cloud-controller", &format!("name: {}", stage.name));
    let cluster = testbed::shared();
    cluster.kubectl_with(&["apply", "-f", "-"], &rbac).unwrap();
    let account = format!("system:serviceaccount:{0}:{0}", stage.name);
    let (here, there) = (["get", "leases", "-n", &stage.name], ["list", "pods", "-n", "kube-system"]);
    cluster.wait_granted(&account, &[&["list", "spiderippools"], &here, &there]).unwrap();
    stage.as_user(&cluster.kubeconfig_for(&account, None).unwrap());
    let found = Found::create(&stage, json!({"podCIDRType": "auto"})).await;
    let controller = stage.controller();
    found.until(SERVICE_CIDR_KNOWN, "True", "ServiceCIDRObjects").await;
    // It was allowed to look everywhere, and there is nothing.
    found.until(OVERLAY_POD_CIDR_KNOWN, "False", "NotFound").await;
    found.delete_held_by_upstream().await;
    stage.synced(&["a", "b"]).await;
    stage.listings(1).await;

    // Every verb that it ever needs: create, change, remove, adopt a re-created node.
    stage.sim.edit(|cloud| cloud.unassign(&stage.nic_id("a", 1), &[stage.v4(1, 11)])).unwrap();
    stage.delete_node("b").await;
    stage.node("b", Some("b")).await;
    eventually("the pool is changed", async || {
        let (ips, excluded) = stage.says("a", 1).await;
        (ips == [format!("{}-{}", stage.v4(1, 12), stage.v4(1, 15))] && excluded.is_empty()).then_some(())
    })
    .await;
    stage.delete_node("a").await;
    eventually("its pools are gone", async || (stage.pools().await.len() == 4).then_some(())).await;
    stage.synced(&["b"]).await;
    let log = controller.log();
    assert!(!log.contains("forbidden") && !log.contains("not written"), "{log}");
}
