//! Pods as the controllers of all kinds make them: whoever is behind a pod, it gets its addresses, and its endpoint says who.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::stage::{Guest, Stage, eventually};

/// One kind of workload: where its objects are, and what its spec has beside the pods' template.
struct Kind {
    name: &'static str,
    path: &'static str,
    spec: Value,
}

fn kinds(app: &str) -> Vec<Kind> {
    let selector = json!({"matchLabels": {"app": app}});
    let kind = |name, path, spec| Kind { name, path, spec };
    vec![
        kind(
            "Deployment",
            "apps/v1/namespaces/NS/deployments",
            json!({"selector": selector, "strategy": {"type": "Recreate"}}),
        ),
        kind("ReplicaSet", "apps/v1/namespaces/NS/replicasets", json!({"selector": selector})),
        kind("DaemonSet", "apps/v1/namespaces/NS/daemonsets", json!({"selector": selector})),
        kind(
            "StatefulSet",
            "apps/v1/namespaces/NS/statefulsets",
            json!({"selector": selector, "serviceName": app, "updateStrategy": {"type": "OnDelete"}}),
        ),
        kind("Job", "batch/v1/namespaces/NS/jobs", json!({})),
    ]
}

/// A workload on node `a`, whose pods the control plane's own controllers make.
struct Workload<'a> {
    stage: &'a Stage,
    kind: Kind,
    app: String,
}

impl<'a> Workload<'a> {
    async fn create(stage: &'a Stage, kind: &str, app: &str, annotations: &Value) -> Self {
        let mut kind = kinds(app).into_iter().find(|known| known.name == kind).expect("a kind");
        kind.spec["template"] = json!({
            "metadata": {"labels": {"app": app}, "annotations": annotations},
            "spec": {"nodeName": stage.node("a"), "containers": [{"name": "c", "image": "busybox"}]},
        });
        if kind.name == "Job" {
            kind.spec["template"]["spec"]["restartPolicy"] = json!("Never");
        }
        let workload = Self { stage, kind, app: app.to_owned() };
        let (api, _) = workload.kind.path.split_once("/namespaces").expect("a path");
        let object = json!({
            "apiVersion": api, "kind": workload.kind.name, "metadata": {"name": app}, "spec": workload.kind.spec,
        });
        workload.send("POST", "", &object).await;
        workload
    }

    async fn send(&self, method: &str, name: &str, body: &Value) {
        let path = self.kind.path.replace("NS", &self.stage.name);
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("/apis/{path}{name}"))
            .header("content-type", content)
            .body(body.to_string().into_bytes())
            .expect("a request");
        let _: Value = self.stage.client.request(request).await.expect("an answer");
    }

    /// The pod that its controller made and that is not to end; another one than `not`.
    async fn pod(&self, not: &str) -> Guest {
        let params = ListParams::default().labels(&format!("app={}", self.app));
        let pod: Pod =
            eventually(&format!("there is a pod of {} {}", self.kind.name, self.app), async || {
                let pods = self.stage.pods().list(&params).await.expect("pods").items;
                pods.into_iter().find(|pod| {
                    pod.metadata.deletion_timestamp.is_none() && pod.uid().as_deref() != Some(not)
                })
            })
            .await;
        Guest { namespace: self.stage.name.clone(), name: pod.name_any(), uid: pod.uid().expect("a UID") }
    }

    async fn delete(&self) {
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        self.send("DELETE", &format!("/{}", self.app), &body).await;
    }

    /// Gives the pods to come other annotations.
    async fn annotate(&self, annotations: &Value) {
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        self.send("PATCH", &format!("/{}", self.app), &patch).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_every_kind_get_addresses_of_both_families_and_their_endpoint_says_whose_they_are() {
    let stage = Stage::open().await;
    let (v4, v6) =
        (stage.node_pool("a4", "a", 4, 1, (1, 20)).await, stage.node_pool("a6", "a", 6, 1, (1, 20)).await);
    let agent = stage.agent("a").await;
    for kind in ["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job"] {
        let app = kind.to_lowercase();
        let workload = Workload::create(&stage, kind, &app, &json!({})).await;
        let pod = workload.pod("").await;
        let addresses = agent.addresses(&pod, "c1", "eth0").await;
        assert!(addresses.len() == 2 && addresses[0].is_ipv4() && addresses[1].is_ipv6(), "{addresses:?}");
        for (pool, address) in [(&v4, addresses[0]), (&v6, addresses[1])] {
            assert_eq!(stage.records(pool).await[&address].pod_uid, pod.uid, "{kind}");
        }
        let owner = stage.endpoint_says(&pod.name, |status| {
            Some((status.owner_controller_type.clone(), status.owner_controller_name.clone()))
        });
        assert_eq!(owner.await, (kind.to_owned(), app), "not the ReplicaSet between them");
        if kind == "Job" {
            // It ends by itself, and no DEL comes.
            stage.phase(&pod, "Succeeded").await;
        } else {
            workload.delete().await;
            eventually("its pod ends", async || {
                let pod = stage.pods().get_opt(&pod.name).await.expect("an answer");
                pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()).then_some(())
            })
            .await;
            agent.del(&pod, "c1", "eth0").await;
        }
        stage.is_empty_soon(&v4).await;
        stage.is_empty_soon(&v6).await;
        stage.no_endpoint_soon(&pod.name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_given_other_pools_gets_addresses_of_these_and_leaves_the_former_ones() {
    let stage = Stage::open().await;
    let (one, two) = (
        stage.pool("one", 4, 1, (1, 20), json!({})).await,
        stage.pool("two", 4, 2, (1, 20), json!({})).await,
    );
    let agent = stage.agent("a").await;
    let of = |pool: &str| json!({"ipam.spidernet.io/ippool": json!({"ipv4": [pool]}).to_string()});
    // The address of a StatefulSet's pod outlives the pod, but not its being of the pools that the pod asks for.
    for (kind, host) in [("Deployment", 1), ("StatefulSet", 2)] {
        let app = kind.to_lowercase();
        let workload = Workload::create(&stage, kind, &app, &of(&one)).await;
        let former = workload.pod("").await;
        let address = agent.address(&former, "c1", "eth0").await;
        assert!(stage.records(&one).await.contains_key(&address), "{kind}");
        stage.endpoint_says(&former.name, |_| Some(())).await;
        workload.annotate(&of(&two)).await;
        stage.remove(&former).await;
        agent.del(&former, "c1", "eth0").await;
        let next = workload.pod(&former.uid).await;
        assert_eq!(agent.address(&next, "c2", "eth0").await, stage.v4(2, host), "{kind}");
        stage.is_empty_soon(&one).await;
    }
}
