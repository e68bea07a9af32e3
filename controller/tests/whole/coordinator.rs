//! What the controller finds out for the coordinator: on a real API server, with the objects by which clusters tell.

use std::time::Duration;

use api::{OVERLAY_POD_CIDR_KNOWN, SERVICE_CIDR_KNOWN, SpiderCoordinator, SpiderCoordinatorStatus, labels};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::ControlPlane;

use crate::stage::{Stage, eventually};

/// The stage's SpiderCoordinator.
pub(crate) struct Found {
    api: Api<SpiderCoordinator>,
    name: String,
}

impl Found {
    pub(crate) async fn create(stage: &Stage, spec: Value) -> Self {
        let api: Api<SpiderCoordinator> = Api::all(stage.client.clone());
        let object = json!({
            "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderCoordinator",
            "metadata": {"name": stage.name}, "spec": spec,
        });
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        Self { api, name: stage.name.clone() }
    }

    async fn object(&self) -> SpiderCoordinator {
        self.api.get(&self.name).await.unwrap()
    }

    async fn patch(&self, patch: Value) {
        self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Waits until a condition describes the object as it is now and says this; agents can answer by then.
    pub(crate) async fn until(
        &self,
        kind: &str,
        value: &str,
        reason: &str,
    ) -> (SpiderCoordinatorStatus, String) {
        eventually(&format!("{kind} is {value}, {reason}"), async || {
            let object = self.object().await;
            let status = object.status?;
            let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
            let right = condition.status == value
                && condition.reason == reason
                && condition.observed_generation == object.metadata.generation;
            let message = condition.message.clone();
            right.then(|| {
                assert_eq!((status.phase.as_str(), &status.reason), ("Synced", &None));
                (status, message)
            })
        })
        .await
    }

    /// Asks for a look at once, as each change of the object does.
    async fn look(&self, spec: Value) {
        let before = self.object().await;
        let queue = before.spec.tx_queue_len.unwrap_or(0) + 1;
        self.patch(json!({"spec": {"txQueueLen": queue}})).await;
        self.patch(json!({"spec": spec})).await;
    }

    /// Deletes it although the finalizer of an upstream that is gone holds it.
    pub(crate) async fn delete_held_by_upstream(&self) {
        self.patch(json!({"metadata": {"finalizers": [labels::FINALIZER]}})).await;
        self.api.delete(&self.name, &DeleteParams::default()).await.unwrap();
        eventually("it is gone", async || {
            self.api.get_opt(&self.name).await.unwrap().is_none().then_some(())
        })
        .await;
    }
}

/// The `ServiceCIDR` objects of the cluster, which its API server made.
fn services(kubectl: impl Fn(&[&str]) -> String) -> Vec<String> {
    let list: Value = serde_json::from_str(&kubectl(&["get", "servicecidrs", "-o", "json"])).unwrap();
    let cidrs =
        list["items"].as_array().unwrap().iter().flat_map(|it| it["spec"]["cidrs"].as_array().unwrap());
    let mut cidrs: Vec<ipnet::IpNet> = cidrs.map(|it| it.as_str().unwrap().parse().unwrap()).collect();
    cidrs.sort();
    cidrs.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_of_a_real_control_plane_are_found_unless_people_say_otherwise() {
    let stage = Stage::empty().await;
    let there = services(|args| testbed::shared().kubectl(args).unwrap());
    assert!(!there.is_empty());
    let controller = stage.play().await;
    let log = controller.says("there is no SpiderCoordinator of this name").await;
    assert!(log.contains(&stage.name), "{log}");
    let found = Found::create(&stage, json!({"podCIDRType": "none"})).await;
    let (status, message) = found.until(SERVICE_CIDR_KNOWN, "True", "ServiceCIDRObjects").await;
    assert_eq!(status.service_cidr, there);
    assert!(message.contains("kubernetes"), "{message}");
    let (status, _) = found.until(OVERLAY_POD_CIDR_KNOWN, "True", "None").await;
    assert!(status.overlay_pod_cidr.is_empty());
    // As the guide says it: `kubectl get spidercoordinator default`.
    let guide = include_str!("../../../docs/cidrs.md");
    let command =
        guide.lines().find(|line| line.starts_with("kubectl get spidercoordinator default")).unwrap();
    let columns = command.split('\'').nth(1).unwrap();
    let args = ["get", "spidercoordinator", &stage.name, "-o", &format!("jsonpath={columns}")];
    let told = testbed::shared().kubectl(&args).unwrap();
    assert!(told.contains("ServiceCIDRKnown=True ServiceCIDRObjects: from "), "{told}");
    assert!(told.lines().any(|line| line.starts_with("OverlayPodCIDRKnown=True None: ")), "{told}");

    found.patch(json!({"spec": {"serviceCIDR": ["172.16.0.9/16"], "overlayPodCIDR": ["fd00:7::/64"]}})).await;
    let (status, _) = found.until(SERVICE_CIDR_KNOWN, "True", "Explicit").await;
    assert_eq!(status.service_cidr, ["172.16.0.0/16"]);
    assert_eq!(status.overlay_pod_cidr, ["fd00:7::/64"]);
    found.patch(json!({"spec": {"serviceCIDR": null, "overlayPodCIDR": null}})).await;
    let (status, _) = found.until(SERVICE_CIDR_KNOWN, "True", "ServiceCIDRObjects").await;
    assert_eq!((status.service_cidr, status.overlay_pod_cidr.len()), (there.clone(), 0));

    // Nothing changed: nothing is written, neither now nor after a look that a stranger's label asks for.
    let version = found.object().await.resource_version();
    let writes = controller.counter("spiderpool_cloud_writes_total").await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(found.object().await.resource_version(), version);
    assert!((controller.counter("spiderpool_cloud_writes_total").await - writes).abs() < 0.5);

    // What somebody else wrote does not stay.
    let wrong = json!({"status": {"phase": "NotReady", "serviceCIDR": []}});
    found.api.patch_status(&found.name, &PatchParams::default(), &Patch::Merge(&wrong)).await.unwrap();
    eventually("it says again what is", async || {
        let status = found.object().await.status.unwrap();
        (status.phase == "Synced" && status.service_cidr == there).then_some(())
    })
    .await;

    // What nodes say of themselves stays as long as they do.
    stage.node("a", None).await;
    let (there, gone) = (stage.node_name("a"), stage.node_name("gone"));
    let mut conditions = found.object().await.status.unwrap().conditions;
    for node in [&gone, &there] {
        conditions.push(Condition { type_: api::service_replies(node), ..conditions[0].clone() });
    }
    let patch = json!({"status": {"conditions": conditions}});
    found.api.patch_status(&found.name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let kinds = eventually("what a node said is gone with it", async || {
        let conditions = found.object().await.status.unwrap().conditions;
        let kinds: Vec<String> = conditions.into_iter().map(|condition| condition.type_).collect();
        (!kinds.contains(&api::service_replies(&gone))).then_some(kinds)
    })
    .await;
    assert!(kinds.contains(&api::service_replies(&there)), "{kinds:?}");
    found.delete_held_by_upstream().await;
}

/// Minimal definitions of the kinds of Calico and Cilium: what we read of them.
fn foreign_kind(group: &str, version: &str, kind: &str, plural: &str) -> String {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Cluster", "names": {"kind": kind, "plural": plural},
            "versions": [{
                "name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
    .to_string()
}

fn apply(plane: &ControlPlane, manifest: &str) {
    plane.kubectl_with(&["apply", "-f", "-"], manifest).unwrap();
}

fn config_map(name: &str, data: &Value) -> String {
    let metadata = json!({"name": name, "namespace": "kube-system"});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overlay_is_followed_from_one_kind_of_cluster_to_the_next() {
    let (stage, plane) = Stage::on_a_plane_of_its_own().await;
    let _controller = stage.play().await;
    let found = Found::create(&stage, json!({"podCIDRType": "auto"})).await;

    // A managed cluster: nothing to be seen, which is no outage.
    let (status, message) = found.until(OVERLAY_POD_CIDR_KNOWN, "False", "NotFound").await;
    assert!(status.overlay_pod_cidr.is_empty() && !status.service_cidr.is_empty(), "{status:?}");
    assert!(message.contains("kubeadm-config") && message.contains("set spec.overlayPodCIDR"), "{message}");
    let events: Api<Event> = Api::namespaced(stage.client.clone(), "default");
    eventually("an Event says so", async || {
        let list = events.list(&ListParams::default()).await.unwrap().items;
        list.into_iter().find(|event| event.reason.as_deref() == Some("NotFound"))
    })
    .await;

    // Flags.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "kube-controller-manager-a", "namespace": "kube-system",
            "labels": {"component": "kube-controller-manager"},
        },
        "spec": {"containers": [{
            "name": "it", "image": "example.invalid/it",
            "command": ["kube-controller-manager", "--cluster-cidr=10.200.0.0/16,fd00:200::/56"],
        }]},
    });
    apply(&plane, &pod.to_string());
    found.look(json!({})).await;
    let (status, _) = found.until(OVERLAY_POD_CIDR_KNOWN, "True", "Flags").await;
    assert_eq!(status.overlay_pod_cidr, ["10.200.0.0/16", "fd00:200::/56"]);

    // kubeadm goes before them.
    let text = "kind: ClusterConfiguration\nnetworking:\n  podSubnet: 10.201.0.0/16\n  serviceSubnet: 10.96.0.0/12\n";
    apply(&plane, &config_map("kubeadm-config", &json!({"ClusterConfiguration": text})));
    found.look(json!({"podCIDRType": "cluster"})).await;
    let (status, _) = found.until(OVERLAY_POD_CIDR_KNOWN, "True", "Kubeadm").await;
    assert_eq!(status.overlay_pod_cidr, ["10.201.0.0/16"]);

    // Cilium, in several modes.
    apply(&plane, &config_map("cilium-config", &json!({"ipam": "multi-pool"})));
    found.look(json!({"podCIDRType": "auto"})).await;
    let (status, message) = found.until(OVERLAY_POD_CIDR_KNOWN, "False", "NotFound").await;
    assert!(status.overlay_pod_cidr.is_empty() && message.contains("CiliumPodIPPools"), "{message}");
    apply(&plane, &foreign_kind("cilium.io", "v2alpha1", "CiliumPodIPPool", "ciliumpodippools"));
    plane.kubectl(&["wait", "--for=condition=Established", "crd/ciliumpodippools.cilium.io"]).unwrap();
    let pool = json!({
        "apiVersion": "cilium.io/v2alpha1", "kind": "CiliumPodIPPool", "metadata": {"name": "default"},
        "spec": {"ipv4": {"cidrs": ["10.202.0.0/16"], "maskSize": 24}, "ipv6": {"cidrs": ["fd00:202::/104"]}},
    });
    apply(&plane, &pool.to_string());
    found.look(json!({})).await;
    let (status, _) = found.until(OVERLAY_POD_CIDR_KNOWN, "True", "Cilium").await;
    assert_eq!(status.overlay_pod_cidr, ["10.202.0.0/16", "fd00:202::/104"]);
    apply(&plane, &config_map("cilium-config", &json!({"ipam": "eni"})));
    found.look(json!({"podCIDRType": "cilium"})).await;
    eventually("pods are in the cloud's network", async || {
        let (status, message) = found.until(OVERLAY_POD_CIDR_KNOWN, "True", "Cilium").await;
        (status.overlay_pod_cidr.is_empty() && message.contains("eni")).then_some(())
    })
    .await;

    // Calico, with a pool that is disabled and still holds pods.
    apply(&plane, &foreign_kind("crd.projectcalico.org", "v1", "IPPool", "ippools"));
    plane.kubectl(&["wait", "--for=condition=Established", "crd/ippools.crd.projectcalico.org"]).unwrap();
    for (name, cidr, disabled) in [("new", "10.203.0.0/16", false), ("former", "10.204.0.0/16", true)] {
        let pool = json!({
            "apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool", "metadata": {"name": name},
            "spec": {"cidr": cidr, "disabled": disabled, "allowedUses": ["Workload", "Tunnel"]},
        });
        apply(&plane, &pool.to_string());
    }
    found.look(json!({"podCIDRType": "auto"})).await;
    let (status, _) = found.until(OVERLAY_POD_CIDR_KNOWN, "True", "Calico").await;
    assert_eq!(status.overlay_pod_cidr, ["10.203.0.0/16", "10.204.0.0/16"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_said_and_takes_nothing_away() {
    let mut stage = Stage::empty().await;
    stage.namespace().await;
    let (name, user) = (stage.name.clone(), format!("{}-user", stage.name));
    let rules = json!([
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
        {"apiGroups": ["spiderpool.spidernet.io"], "resources": ["*"], "verbs": ["*"]},
    ]);
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let rights = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        },
    ]});
    testbed::shared().kubectl_with(&["apply", "-f", "-"], &rights.to_string()).unwrap();
    stage.as_user(&testbed::shared().kubeconfig_for(&user, None).unwrap());
    let found = Found::create(&stage, json!({"podCIDRType": "none"})).await;
    let _controller = stage.controller();
    let (status, message) = found.until(SERVICE_CIDR_KNOWN, "Unknown", "NotRead").await;
    assert!(status.service_cidr.is_empty());
    assert!(
        message.contains("controller/rbac.yaml") && message.contains("set spec.serviceCIDR"),
        "{message}"
    );
    found.until(OVERLAY_POD_CIDR_KNOWN, "True", "None").await;

    // What a controller with all rights found.
    let known = json!({"status": {"serviceCIDR": ["10.0.0.0/24"]}});
    found.api.patch_status(&found.name, &PatchParams::default(), &Patch::Merge(&known)).await.unwrap();
    eventually("it says what stays", async || {
        let (status, message) = found.until(SERVICE_CIDR_KNOWN, "Unknown", "NotRead").await;
        (status.service_cidr == ["10.0.0.0/24"] && message.contains("stays: 10.0.0.0/24")).then_some(())
    })
    .await;
    found.delete_held_by_upstream().await;
}
