//! A control plane of its own, and what is in it: nodes, pools, pods.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use testbed::ControlPlane;
use tokio::time::sleep;

use crate::oracle::Oracle;
use crate::tally::Tally;

/// How many agents there are.
pub(crate) const AGENTS: usize = 10;
/// How long anything may take that kills interrupt.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);
/// How long a call of the API server may take, one that hangs in an outage among them.
const CALL: Duration = Duration::from_secs(10);

/// All that clients, killers and the judge share.
pub(crate) struct World {
    pub(crate) plane: Arc<Mutex<ControlPlane>>,
    pub(crate) client: Client,
    pub(crate) tally: Tally,
    oracle: Mutex<Oracle>,
}

/// A pod as its kubelet knows it.
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The pools of each family that it asks for.
    pub(crate) wish: Vec<Vec<String>>,
}

impl World {
    /// A control plane with nodes and pools.
    pub(crate) async fn start(tally: Tally) -> Arc<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let plane = tokio::task::spawn_blocking(|| {
            let plane = ControlPlane::start().expect("a control plane");
            plane.apply_crds().expect("the CRDs");
            plane
        });
        let plane = plane.await.expect("no panic");
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a valid one")).expect("a client");
        let (plane, oracle) = (Arc::new(Mutex::new(plane)), Mutex::default());
        let world = Self { plane, client, tally, oracle };
        world.pool("v4-shared", "10.100.0", 120, None).await;
        world.pool("v6-shared", "fd00:100:", 60, None).await;
        for at in 0..AGENTS {
            let node = json!({"metadata": {"name": node(at)}});
            let api: Api<Node> = Api::all(world.client.clone());
            let node = serde_json::from_value(node).expect("a node");
            api.create(&PostParams::default(), &node).await.expect("a created node");
            world.pool(&format!("v4-own-{at}"), &format!("10.{}.0", at + 1), 30, Some(at)).await;
            world.pool(&format!("v6-own-{at}"), &format!("fd00:{}:", at + 1), 30, Some(at)).await;
        }
        Arc::new(world)
    }

    /// Creates a pool of the first addresses of a net, for one node as the controller does, or for all.
    async fn pool(&self, name: &str, net: &str, size: u8, at: Option<usize>) {
        let six = net.contains(':');
        let (dot, prefix, family) = if six { (":", 64, 6) } else { (".", 24, 4) };
        let (first, last) =
            if six { ("1".to_owned(), format!("{size:x}")) } else { ("1".to_owned(), size.to_string()) };
        let address = |host: &str| format!("{net}{dot}{host}");
        let mut spec = json!({
            "ipVersion": family,
            "subnet": format!("{}/{prefix}", address(if six { "" } else { "0" })),
            "ips": [format!("{}-{}", address(&first), address(&last))],
        });
        let mut metadata = json!({"name": name});
        if let Some(at) = at {
            spec["nodeName"] = json!([node(at)]);
            metadata["labels"] = json!({
                "app.kubernetes.io/managed-by": "spiderpool-controller", "cloud.spidernet.io/node": node(at),
            });
        }
        let pool = json!({
            "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool", "metadata": metadata, "spec": spec,
        });
        let pool: DynamicObject = serde_json::from_value(pool).expect("a pool");
        self.pools().create(&PostParams::default(), &pool).await.expect("a created pool");
        let parsed = |host: &str| -> IpAddr { address(host).parse().expect("an address") };
        self.oracle().pool(name, parsed(&first), parsed(&last));
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap()
    }

    /// Whether going on would only hide what was found.
    pub(crate) fn is_broken(&self) -> bool {
        !self.oracle().wrongs().is_empty()
    }

    /// Creates a pod on a node, whatever it takes.
    pub(crate) async fn create(&self, name: &str, node: &str, wish: Vec<Vec<String>>) -> Guest {
        let (four, six): (Vec<_>, Vec<_>) = wish.iter().flatten().partition(|pool| pool.starts_with("v4"));
        let mut pools = json!({});
        for (key, named) in [("ipv4", four), ("ipv6", six)] {
            if !named.is_empty() {
                pools[key] = json!(named);
            }
        }
        let pod = json!({
            "metadata": {"name": name, "annotations": {"ipam.spidernet.io/ippool": pools.to_string()}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "busybox"}]},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let pods = self.pods();
        let uid = insist("a pod is made", async || match pods.create(&PostParams::default(), &pod).await {
            Ok(pod) => pod.uid(),
            // An earlier try may have made it: its name is used by one client only, for one pod at a time.
            Err(_) => pods.get_opt(name).await.ok().flatten().and_then(|pod| pod.uid()),
        })
        .await;
        self.tally.pods.add();
        Guest { name: name.to_owned(), uid, wish }
    }

    /// Begins a pod's end, as `kubectl delete` does.
    pub(crate) async fn terminate(&self, guest: &Guest) {
        self.delete(guest, 30).await;
    }

    /// Ends a pod at once, as kubelet does at last, or as `kubectl delete --force` does.
    pub(crate) async fn remove(&self, guest: &Guest) {
        self.delete(guest, 0).await;
        self.tally.removed.add();
    }

    async fn delete(&self, guest: &Guest, grace: u32) {
        let pods = self.pods();
        let uid = Some(guest.uid.clone());
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let params = params.grace_period(grace);
        insist("a pod is deleted", async || match pods.delete(&guest.name, &params).await {
            Ok(_) => Some(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Some(()),
            Err(_) => None,
        })
        .await;
    }

    /// Writes that a pod's containers have ended well.
    pub(crate) async fn succeed(&self, guest: &Guest) {
        let (pods, status) = (self.pods(), Patch::Merge(json!({"status": {"phase": "Succeeded"}})));
        insist("a pod succeeds", async || {
            pods.patch_status(&guest.name, &PatchParams::default(), &status).await.ok()
        })
        .await;
    }

    /// Reads all pools, if the API server answers.
    pub(crate) async fn list_pools(&self) -> Option<Vec<Value>> {
        let list = within(async || self.pools().list(&ListParams::default()).await.ok()).await?;
        Some(list.items.into_iter().map(|pool| serde_json::to_value(pool).expect("an object")).collect())
    }

    /// Reads which endpoints there are, and of which pods, if the API server answers.
    pub(crate) async fn list_endpoints(&self) -> Option<Vec<String>> {
        let api = self.objects("SpiderEndpoint", "spiderendpoints");
        let list = within(async || api.list(&ListParams::default()).await.ok()).await?;
        let told =
            |one: &DynamicObject| format!("{} of {}", one.name_any(), one.data["status"]["current"]["uid"]);
        Some(list.items.iter().map(told).collect())
    }

    /// Reads the names of all pods, if the API server answers.
    pub(crate) async fn list_pods(&self) -> Option<Vec<String>> {
        let list = within(async || self.pods().list(&ListParams::default()).await.ok()).await?;
        Some(list.items.iter().map(ResourceExt::name_any).collect())
    }

    /// Writes that an address of an empty pool is a pod's, as nobody should.
    pub(crate) async fn write_record(&self, pool: &str, address: &str, uid: &str) {
        let records = json!({address: {"pod": format!("default/{uid}"), "podUid": uid, "nic": "eth0"}});
        let status = json!({"allocatedIPs": records.to_string(), "allocatedIPCount": 1});
        let patch = Patch::Merge(json!({"status": status}));
        self.pools().patch_status(pool, &PatchParams::default(), &patch).await.expect("a written pool");
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn pools(&self) -> Api<DynamicObject> {
        self.objects("SpiderIPPool", "spiderippools")
    }

    fn objects(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("spiderpool.spidernet.io", "v2beta1", kind);
        Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
    }
}

/// The name of a node.
pub(crate) fn node(at: usize) -> String {
    format!("soak-{at}")
}

async fn within<T>(attempt: impl AsyncFnOnce() -> Option<T>) -> Option<T> {
    tokio::time::timeout(CALL, attempt()).await.ok().flatten()
}

/// Repeats what an outage may interrupt.
pub(crate) async fn insist<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = within(&mut attempt).await {
            return result;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(100)).await;
    }
}
