//! A control plane of its own, pools, pods, and what the API server counts.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use agent::pools::{Pools, Rules};
use api::{SpiderIPPool, allocations, labels};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use testbed::ControlPlane;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many creates are under way at once.
const AT_ONCE: usize = 32;

pub(crate) struct Stage {
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
    desks: Mutex<(CancellationToken, TaskTracker)>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let plane = tokio::task::spawn_blocking(|| {
            let plane = ControlPlane::start().unwrap();
            plane.apply_crds().unwrap();
            plane
        });
        let plane = plane.await.unwrap();
        let client = connect(&plane).await;
        Self { plane, client, desks: Mutex::default() }
    }

    /// The pools of this many nodes, as one agent each would have them.
    pub(crate) async fn desks(&self, nodes: usize) -> Vec<Pools> {
        let rules = Rules { rest: Duration::ZERO, cap: 5000 };
        let (stop, tasks) = self.desks.lock().unwrap().clone();
        let mut desks = Vec::new();
        for at in 0..nodes {
            let client = connect(&self.plane).await;
            let pools = Pools::start(client, &node(at), rules, stop.clone(), &tasks);
            pools.ready().await;
            desks.push(pools);
        }
        desks
    }

    pub(crate) async fn stop_desks(&self) {
        let (stop, tasks) = self.desks.lock().unwrap().clone();
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    /// The median time of one write of a pool's status, one at a time.
    pub(crate) async fn one_write(&self) -> Duration {
        let pool = self.shared_pool("raw").await;
        let record = |at: usize| {
            (
                format!("10.9.0.{at}"),
                json!({"pod": format!("default/pod-{at}-abcdefghij"), "podUid": uid(at), "nic": "eth0"}),
            )
        };
        let records: serde_json::Map<String, Value> = (0..200).map(record).collect();
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        let mut times = Vec::new();
        for at in 0..200 {
            let status =
                json!({"status": {"allocatedIPs": json!(records).to_string(), "allocatedIPCount": at}});
            let begun = Instant::now();
            api.patch_status(&pool, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
            times.push(begun.elapsed());
        }
        times.sort();
        times[times.len() / 2]
    }

    /// A pool of 2,046 addresses that serves one node, as the controller makes them.
    pub(crate) async fn node_pool(&self, name: &str, at: usize) -> String {
        let labels =
            json!({labels::MANAGED_BY: labels::MANAGER, labels::NODE: labels::label_value(&node(at))});
        self.pool(&format!("{name}-{at}"), &labels, &json!([node(at)])).await
    }

    /// A pool of as many that serves all.
    pub(crate) async fn shared_pool(&self, name: &str) -> String {
        self.pool(name, &json!({}), &json!([])).await
    }

    async fn pool(&self, name: &str, labels: &Value, nodes: &Value) -> String {
        let spec = json!({"subnet": "10.8.0.0/16", "ips": ["10.8.1.1-10.8.8.254"], "nodeName": nodes});
        let pool = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(pool).unwrap()).await.unwrap();
        name.to_owned()
    }

    /// How many records of all pools there are.
    pub(crate) async fn records(&self) -> usize {
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        let pools = api.list(&kube::api::ListParams::default()).await.unwrap().items;
        let held = |pool: &SpiderIPPool| {
            allocations(pool.status.as_ref().and_then(|status| status.allocated_ips.as_deref()))
                .unwrap()
                .len()
        };
        pools.iter().filter(|pool| pool.name_any() != "raw").map(held).sum()
    }

    /// What belongs to other nodes: a generated pool and a pod of each.
    pub(crate) async fn crowd(&self, nodes: usize) {
        let made = (0..nodes).map(|at| 1000 + at).map(async |at| {
            self.node_pool("other", at).await;
            self.pod(&format!("other-{at}"), at, "alone-0").await;
        });
        stream::iter(made).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// Creates a pod of a node that asks for addresses of a pool; returns its UID.
    pub(crate) async fn pod(&self, name: &str, at: usize, pool: &str) -> String {
        let wish = json!({"ipv4": [pool]}).to_string();
        let pod = json!({
            "metadata": {"name": name, "annotations": {"ipam.spidernet.io/ippool": wish}},
            "spec": {"nodeName": node(at), "containers": [{"name": "c", "image": "busybox"}]},
        });
        let pod =
            self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        pod.uid().unwrap()
    }

    /// Lets pods terminate; they are there until their grace period is over.
    pub(crate) async fn terminate(&self, names: Vec<String>) {
        let pods = self.pods();
        let gone =
            names.iter().map(async |name| drop(pods.delete(name, &DeleteParams::default()).await.unwrap()));
        stream::iter(gone).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// How many requests the API server has answered that have to do with the allocation, by verb and resource.
    pub(crate) fn requests(&self) -> Vec<(String, u64)> {
        let text = tokio::task::block_in_place(|| self.plane.kubectl(&["get", "--raw", "/metrics"]).unwrap());
        let mut counts = std::collections::BTreeMap::<String, u64>::new();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value.to_owned())
            };
            let (Some(resource), Some(verb), Some(code)) = (label("resource"), label("verb"), label("code"))
            else {
                continue;
            };
            if !["spiderippools", "spiderendpoints", "pods"].contains(&resource.as_str()) {
                continue;
            }
            let count =
                line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok()).unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let count = count as u64;
            *counts.entry(format!("{verb} {resource} {code}")).or_default() += count;
        }
        counts.into_iter().collect()
    }
}

pub(crate) fn node(at: usize) -> String {
    format!("bench-{at}")
}

pub(crate) fn uid(at: usize) -> String {
    format!("00000000-0000-4000-8000-{at:012}")
}

async fn connect(plane: &ControlPlane) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(plane.kubeconfig()).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap()).unwrap()
}
