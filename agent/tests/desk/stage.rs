//! A pool on the real API server, agents' pools before it, and a witness that sees who holds which address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::pools::{Pools, Rules};
use api::{Allocation, SpiderIPPool, allocations};
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use model::ledger::{Claim, Release};
use model::{Holder, PodName};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When something should happen and it does not matter how soon.
pub(crate) const SOON: Duration = Duration::from_mins(1);
pub(crate) const NO_REST: Rules = Rules { rest: Duration::ZERO, cap: 5000 };

pub(crate) async fn config() -> Config {
    // Another test may have installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    testbed::shared().apply_crds().expect("the CRDs");
    let kubeconfig = Kubeconfig::read_from(testbed::shared().kubeconfig()).expect("a kubeconfig");
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a valid one")
}

pub(crate) fn soon() -> Instant {
    Instant::now() + SOON
}

/// One pool of its own for a test.
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) api: Api<SpiderIPPool>,
}

impl Stage {
    /// Creates a pool that offers `ips`.
    pub(crate) async fn open(ips: &[&str]) -> Self {
        Self::with(json!({"subnet": "10.0.0.0/16", "ips": ips, "gateway": "10.0.255.254"})).await
    }

    pub(crate) async fn with(spec: Value) -> Self {
        let name = testbed::unique("desk");
        let api: Api<SpiderIPPool> = Api::all(Client::try_from(config().await).expect("a client"));
        let pool = json!({"metadata": {"name": name}, "spec": spec});
        let pool = serde_json::from_value(pool).expect("a pool");
        api.create(&PostParams::default(), &pool).await.expect("a create");
        Self { name, api }
    }

    pub(crate) async fn patch(&self, patch: Value) {
        let params = PatchParams::default();
        self.api.patch(&self.name, &params, &Patch::Merge(patch)).await.expect("a patch");
    }

    pub(crate) async fn patch_status(&self, patch: Value) {
        let params = PatchParams::default();
        self.api.patch_status(&self.name, &params, &Patch::Merge(patch)).await.expect("a patch");
    }

    pub(crate) async fn records(&self) -> BTreeMap<IpAddr, Allocation> {
        let status = self.api.get(&self.name).await.expect("the pool").status.unwrap_or_default();
        let records = allocations(status.allocated_ips.as_deref()).expect("readable records");
        assert_eq!(status.allocated_ip_count.unwrap_or_default(), i64::try_from(records.len()).unwrap());
        records
    }

    /// Waits until no record is left.
    pub(crate) async fn is_empty_soon(&self) {
        let end = soon();
        loop {
            let records = self.records().await;
            if records.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left: {records:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// One agent's pools.
pub(crate) struct Office {
    pub(crate) pools: Pools,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Office {
    pub(crate) async fn open(node: &str, rules: Rules) -> Self {
        Self::at(config().await, node, rules).await
    }

    pub(crate) async fn at(config: Config, node: &str, rules: Rules) -> Self {
        let client = Client::try_from(config).expect("a client");
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let pools = Pools::start(client, node, rules, stop.clone(), &tasks);
        tokio::time::timeout(SOON, pools.ready()).await.expect("a first listing");
        Self { pools, stop, tasks }
    }

    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(SOON, self.tasks.wait()).await.expect("an end of all tasks");
    }
}

pub(crate) fn claim(uid: &str) -> Claim {
    let pod = PodName { namespace: "default".into(), name: format!("pod-{uid}") };
    let holder =
        Holder { pod, uid: uid.into(), nic: "eth0".into(), container: "c1".into(), ..Holder::default() };
    Claim { holder, prefer: None }
}

pub(crate) fn release(uid: &str) -> Release {
    Release::Nic { uid: uid.into(), nic: "eth0".into(), container: "c1".into() }
}

/// Notes who holds which address between a client's answer and its release; two at once are a failure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Mutex<BTreeMap<IpAddr, String>>>);

impl Witness {
    pub(crate) fn holds(&self, address: IpAddr, uid: &str) {
        let before = self.0.lock().unwrap().insert(address, uid.to_owned());
        assert_eq!(before, None, "{address} was given to {uid} as well");
    }

    pub(crate) fn leaves(&self, address: IpAddr, uid: &str) {
        assert_eq!(self.0.lock().unwrap().remove(&address).as_deref(), Some(uid));
    }
}
