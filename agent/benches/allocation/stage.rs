//! A control plane of its own, with nodes, pools and pods.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::{SpiderEndpoint, SpiderIPPool, allocations, labels};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::ControlPlane;
use tokio::time::sleep;

use crate::AGENTS;
use crate::phase::Guest;

/// How many creates are under way at once.
const AT_ONCE: usize = 32;
/// Longest wait for anything that a bench waits for.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The namespace of endpoints that no agent wrote.
pub(crate) const ALONE: &str = "alone";

pub(crate) struct Stage {
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) dir: TempDir,
}

impl Stage {
    /// With the Nodes of all agents, and a namespace for what is only there to be written.
    pub(crate) async fn new() -> Self {
        let plane = tokio::task::spawn_blocking(|| {
            let plane = ControlPlane::start().unwrap();
            plane.apply_crds().unwrap();
            plane
        });
        let plane = plane.await.unwrap();
        let client = connect(plane.kubeconfig()).await;
        let stage = Self { plane, client, dir: tempfile::tempdir().unwrap() };
        for at in 0..AGENTS {
            stage.node(at).await;
        }
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        create(&namespaces, json!({"metadata": {"name": ALONE}})).await;
        stage
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Without it, Kubernetes takes its pods for orphans and deletes them.
    async fn node(&self, at: usize) {
        create::<Node>(&Api::all(self.client.clone()), json!({"metadata": {"name": node(at)}})).await;
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
        create::<SpiderIPPool>(&Api::all(self.client.clone()), pool).await;
        name.to_owned()
    }

    /// How many records a pool has.
    pub(crate) async fn records(&self, pool: &str) -> usize {
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        let status = api.get(pool).await.unwrap().status.unwrap_or_default();
        allocations(status.allocated_ips.as_deref()).unwrap().len()
    }

    /// Waits until there are so many `SpiderEndpoints`.
    pub(crate) async fn endpoints(&self, count: usize) {
        let api: Api<SpiderEndpoint> = Api::namespaced(self.client.clone(), "default");
        eventually("the SpiderEndpoints follow", async || (self.count(&api).await == count).then_some(()))
            .await;
    }

    /// How many objects the API has.
    pub(crate) async fn count<K>(&self, api: &Api<K>) -> usize
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let list = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
        list.items.len() + usize::try_from(list.metadata.remaining_item_count.unwrap_or_default()).unwrap()
    }

    /// What belongs to other nodes: of each its Node, a generated pool, a pod, and that pod's endpoint.
    pub(crate) async fn others(&self, nodes: usize) {
        let endpoints: Api<SpiderEndpoint> = Api::namespaced(self.client.clone(), "default");
        let made = (0..nodes).map(|at| 1000 + at).map(async |at| {
            self.node(at).await;
            let pool = self.node_pool("other", at).await;
            let guest = self.pod(&format!("other-{at}"), at, &pool).await;
            let mut object = endpoint(&guest.name);
            object["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "Pod", "name": guest.name, "uid": guest.uid, "controller": true,
            }]);
            create(&endpoints, object).await;
        });
        stream::iter(made).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// Creates a pod of a node that asks for addresses of a pool.
    pub(crate) async fn pod(&self, name: &str, at: usize, pool: &str) -> Guest {
        let mut pod = pod(name, pool);
        pod["spec"]["nodeName"] = json!(node(at));
        let uid = create(&self.pods(), pod).await.uid().unwrap();
        Guest { name: name.to_owned(), uid }
    }

    /// Lets pods terminate; they are there until they are removed.
    pub(crate) async fn terminate(&self, pods: &[Guest]) {
        self.delete(pods, &DeleteParams::default()).await;
    }

    /// Removes pods, as kubelet does when they have ended.
    pub(crate) async fn remove(&self, pods: &[Guest]) {
        self.delete(pods, &DeleteParams::default().grace_period(0)).await;
    }

    async fn delete(&self, pods: &[Guest], params: &DeleteParams) {
        let api = self.pods();
        let gone = pods.iter().map(async |pod| drop(api.delete(&pod.name, params).await.unwrap()));
        stream::iter(gone).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }
}

pub(crate) fn node(at: usize) -> String {
    format!("bench-{at}")
}

/// A pod that nobody schedules.
pub(crate) fn pod(name: &str, pool: &str) -> Value {
    let wish = json!({"ipv4": [pool]}).to_string();
    json!({
        "metadata": {"name": name, "annotations": {"ipam.spidernet.io/ippool": wish}},
        "spec": {"schedulerName": "bench", "containers": [{"name": "c", "image": "busybox"}]},
    })
}

/// An endpoint as the agent writes it for a pod of one NIC, but without owner: it would be deleted with a pod that is not there.
pub(crate) fn endpoint(name: &str) -> Value {
    let ip = json!({
        "interface": "eth0", "ipv4": "10.8.1.1/16", "ipv4Pool": "alone-0", "vlan": 0, "cleanGateway": false,
    });
    json!({
        "metadata": {"name": name},
        "status": {
            "current": {"uid": "00000000-0000-4000-8000-000000000000", "node": node(0), "ips": [ip]},
            "ownerControllerType": "Pod", "ownerControllerName": name,
        },
    })
}

pub(crate) async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize + Resource,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

pub(crate) async fn connect(kubeconfig: &Path) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap()).unwrap()
}

/// Waits until `look` sees something.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "not in {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
