//! Addresses that outlive their pods, where they may.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::stage::{Guest, Stage, create, eventually};

/// A `StatefulSet`; the control plane's controller makes no pods of it as it is paused by its selector's pods being ours.
async fn set(stage: &Stage, name: &str, replicas: i32) -> StatefulSet {
    let api: Api<StatefulSet> = Api::namespaced(stage.client.clone(), &stage.name);
    let template = json!({
        "metadata": {"labels": {"app": name}},
        // Never scheduled: the test binds the pods that it makes itself.
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "busybox"}]},
    });
    let spec = json!({
        "replicas": replicas, "serviceName": name, "selector": {"matchLabels": {"app": name}}, "template": template,
        // The controller leaves pods alone that exist, whatever they are bound to.
        "podManagementPolicy": "Parallel", "updateStrategy": {"type": "OnDelete"},
    });
    create(&api, json!({"metadata": {"name": name}, "spec": spec})).await
}

/// Binds the pod that the controller made for an ordinal to a node, as the scheduler does.
async fn bound(stage: &Stage, name: &str, letter: &str, not: &str) -> Guest {
    eventually("the controller makes the pod", async || {
        let pod = stage.pods().get_opt(name).await.expect("an answer")?;
        (pod.uid().as_deref() != Some(not) && pod.metadata.deletion_timestamp.is_none()).then_some(())
    })
    .await;
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": stage.name},
        "target": {"kind": "Node", "name": stage.node(letter)},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{name}/binding", stage.name);
    let request = axum::http::Request::post(path)
        .header("content-type", "application/json")
        .body(binding.to_string().into_bytes())
        .expect("a request");
    let _: Value = stage.client.request(request).await.expect("a binding");
    let pod = stage.pods().get(name).await.expect("the pod");
    Guest { namespace: stage.name.clone(), name: name.to_owned(), uid: pod.uid().expect("a UID") }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_pod_of_a_stateful_set_gets_the_same_address_on_the_same_node() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    set(&stage, "db", 1).await;
    let filler = stage.pod("filler", "a", json!({})).await;
    agent.address(&filler, "f", "eth0").await;
    let first = bound(&stage, "db-0", "a", "").await;
    let address = agent.address(&first, "c1", "eth0").await;
    let owner = stage.endpoint_says("db-0", |status| Some(status.owner_controller_type.clone())).await;
    assert_eq!(owner, "StatefulSet");

    stage.remove(&first).await;
    agent.del(&first, "c1", "eth0").await;
    let second = bound(&stage, "db-0", "a", &first.uid).await;
    // A neighbour comes in between and does not get it.
    let neighbour = stage.pod("neighbour", "a", json!({})).await;
    assert_ne!(agent.address(&neighbour, "n", "eth0").await, address);
    assert_eq!(agent.address(&second, "c2", "eth0").await, address);
    assert_eq!(stage.records(&pool).await[&address].pod_uid, second.uid);
    stage.endpoint_says("db-0", |status| (status.current.uid == second.uid).then_some(())).await;

    // Scaled to nothing: it is free in the end.
    let api: Api<StatefulSet> = Api::namespaced(stage.client.clone(), &stage.name);
    let none = json!({"spec": {"replicas": 0}});
    api.patch("db", &PatchParams::default(), &Patch::Merge(&none)).await.expect("a scaled set");
    stage.remove(&second).await;
    agent.del(&second, "c2", "eth0").await;
    eventually("it is free", async || (!stage.records(&pool).await.contains_key(&address)).then_some(()))
        .await;
    stage.no_endpoint_soon("db-0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_sets_pod_that_moves_gets_an_address_of_its_new_node_and_the_old_one_is_free() {
    let stage = Stage::open().await;
    let (here, there) =
        (stage.node_pool("a4", "a", 4, 1, (1, 20)).await, stage.node_pool("b4", "b", 4, 2, (1, 20)).await);
    let (a, b) = (stage.agent("a").await, stage.agent("b").await);
    set(&stage, "db", 1).await;
    let first = bound(&stage, "db-0", "a", "").await;
    a.address(&first, "c1", "eth0").await;
    stage.endpoint_says("db-0", |_| Some(())).await;
    stage.remove(&first).await;
    a.del(&first, "c1", "eth0").await;
    let second = bound(&stage, "db-0", "b", &first.uid).await;
    assert_eq!(b.address(&second, "c2", "eth0").await, stage.v4(2, 1));
    stage.is_empty_soon(&here).await;
    assert_eq!(stage.records(&there).await.len(), 1);
    stage.endpoint_says("db-0", |status| (status.current.node == stage.node("b")).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_sets_pod_keeps_an_address_of_a_shared_pool_on_another_node() {
    let stage = Stage::open().await;
    let pool = stage.pool("shared", 4, 1, (1, 20), json!({})).await;
    let (a, b) = (stage.agent("a").await, stage.agent("b").await);
    set(&stage, "db", 1).await;
    let ask = |guest: &Guest, container: &str| {
        let mut request = guest.request(container, "eth0");
        request["defaultIPv4IPPool"] = json!([pool]);
        request
    };
    let filler = stage.pod("filler", "a", json!({})).await;
    a.call("POST", "/v1/ipam/ip", Some(&ask(&filler, "f"))).await;
    let first = bound(&stage, "db-0", "a", "").await;
    let (_, reply) = a.call("POST", "/v1/ipam/ip", Some(&ask(&first, "c1"))).await;
    assert_eq!(reply["ips"][0]["address"], format!("{}/24", stage.v4(1, 2)), "{reply}");
    stage.remove(&first).await;
    a.del(&first, "c1", "eth0").await;
    let second = bound(&stage, "db-0", "b", &first.uid).await;
    let (_, reply) = b.call("POST", "/v1/ipam/ip", Some(&ask(&second, "c2"))).await;
    assert_eq!(reply["ips"][0]["address"], format!("{}/24", stage.v4(1, 2)), "{reply}");
    let record = &stage.records(&pool).await[&stage.v4(1, 2)];
    assert_eq!((&record.pod_uid, &record.node), (&second.uid, &stage.node("b")));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_switch_off_a_stateful_sets_pod_is_as_any_other() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.launch("a", "enableStatefulSet: false\naddressRestSeconds: 1\n");
    agent.serves().await;
    set(&stage, "db", 1).await;
    let first = bound(&stage, "db-0", "a", "").await;
    agent.address(&first, "c1", "eth0").await;
    stage.remove(&first).await;
    agent.del(&first, "c1", "eth0").await;
    stage.is_empty_soon(&pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_that_runs_a_virtual_machine_next_gets_its_address() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let owner = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "vm", "uid": "8f", "controller": true,
    }]}});
    let first = stage.pod("virt-launcher-vm-aaaaa", "a", owner.clone()).await;
    let address = agent.address(&first, "c1", "eth0").await;
    let record = &stage.records(&pool).await[&address];
    assert_eq!(record.pod, format!("{}/vm", stage.name), "under the machine's name");
    // The pod that takes over is there before the first one ends: a migration.
    let second = stage.pod("virt-launcher-vm-bbbbb", "a", owner).await;
    assert_eq!(agent.address(&second, "c2", "eth0").await, address);
    stage.endpoint_says("vm", |status| (status.current.uid == second.uid).then_some(())).await;
    stage.remove(&first).await;
    agent.del(&first, "c1", "eth0").await;
    assert_eq!(stage.records(&pool).await[&address].pod_uid, second.uid, "the old one's DEL takes nothing");
}

/// The kinds of `KubeVirt` as far as anybody looks at them.
async fn virtual_machines(stage: &Stage) -> Api<DynamicObject> {
    let crds: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    let names = json!({
        "kind": "VirtualMachineInstance", "plural": "virtualmachineinstances", "singular": "virtualmachineinstance",
    });
    let version = json!({
        "name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    });
    let crd = json!({
        "metadata": {"name": "virtualmachineinstances.kubevirt.io"},
        "spec": {"group": "kubevirt.io", "names": names, "scope": "Namespaced", "versions": [version]},
    });
    create(&crds, crd).await;
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("kubevirt.io", "v1", "VirtualMachineInstance"));
    let api = Api::namespaced_with(stage.client.clone(), &stage.name, &resource);
    eventually("the kind is served", async || api.list(&ListParams::default()).await.ok().map(drop)).await;
    api
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_machine_that_is_started_again_keeps_its_address_for_as_long_as_it_is_there() {
    // The kind would make the shared cluster's garbage collector look at the machines of other tests, which are not there.
    let stage = Stage::on_a_plane_of_its_own().await;
    let machines = virtual_machines(&stage).await;
    let machine = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "vm"},
    });
    let machine: DynamicObject = create(&machines, machine).await;
    let owner = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "vm",
        "uid": machine.uid().expect("a UID"), "controller": true,
    }]}});
    let pool = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let agent = stage.agent("a").await;
    let first = stage.pod("virt-launcher-vm-aaaaa", "a", owner.clone()).await;
    let address = agent.address(&first, "c1", "eth0").await;
    stage.remove(&first).await;
    agent.del(&first, "c1", "eth0").await;
    assert!(stage.records(&pool).await.contains_key(&address), "the machine is still there");
    // A neighbour comes in between and does not get it; longer than a freed address rests, and than the reclaim waits.
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    let neighbour = stage.pod("neighbour", "a", json!({})).await;
    assert_ne!(agent.address(&neighbour, "n", "eth0").await, address);
    let second = stage.pod("virt-launcher-vm-bbbbb", "a", owner).await;
    assert_eq!(agent.address(&second, "c2", "eth0").await, address);
    assert_eq!(stage.records(&pool).await[&address].pod_uid, second.uid);
    stage.endpoint_says("vm", |status| (status.current.uid == second.uid).then_some(())).await;

    machines.delete("vm", &DeleteParams::default()).await.expect("a deleted machine");
    stage.remove(&second).await;
    agent.del(&second, "c2", "eth0").await;
    eventually("it is free", async || (!stage.records(&pool).await.contains_key(&address)).then_some(()))
        .await;
}
