//! The product's own programs, run in a cluster of real nodes as users would run them.

mod controller;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::aliyun::Endpoints;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::guest::Guest;
use crate::vpc::Families;

pub use controller::Controller;

/// Where users' clusters have them, too.
const NAMESPACE: &str = "kube-system";
/// The attachment on every node's first NIC, as the controller names it: `eth0` of pods that ask for nothing else.
const CLUSTER_NETWORK: &str = "ipvlan-eth0";
/// Whom the agents are to the API server.
const AGENT: &str = "spiderpool-agent";
/// Whom the stand-in for Multus is to the API server.
const MULTUS: &str = "testbed-multus";
/// The checkout's file of the agent's rights; the testbed is never shipped, so it always runs beside its checkout.
const AGENT_RIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/rbac.yaml");

/// The programs that a cluster of real nodes shall run.
#[derive(Debug, Clone)]
pub struct Product {
    /// `spiderpool-controller`, run on the machine.
    pub controller: PathBuf,
    /// `spiderpool-agent`, run on every node.
    pub agent: PathBuf,
    /// The CNI plugins, in every node's `/opt/cni/bin`: `spiderpool`, `coordinator` and `ifacer`.
    pub plugins: Vec<PathBuf>,
}

impl Product {
    /// Takes the programs that cargo left in a folder.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        let find = |program: &str, package: &str| {
            let path = folder.join(program);
            if path.is_file() {
                return Ok(path);
            }
            let remedy = format!("{} is not there; build it with `cargo build -p {package}`", path.display());
            Err(Error::Missing { program: program.to_owned(), remedy })
        };
        Ok(Self {
            controller: find("spiderpool-controller", "controller")?,
            agent: find("spiderpool-agent", "agent")?,
            plugins: vec![
                find("spiderpool", "ipam-plugin")?,
                find("coordinator", "coordinator")?,
                find("ifacer", "ifacer")?,
            ],
        })
    }

    /// Installs the CRDs, the rights of what runs on nodes, and the SpiderCoordinator, as the chart's values have it.
    pub(crate) fn install(cluster: &Cluster) -> Result<(), Error> {
        cluster.apply_crds()?;
        cluster.kubectl_with(&["apply", "-f", "-"], &multus_rights().to_string())?;
        cluster.kubectl(&["apply", "-f", AGENT_RIGHTS])?;
        cluster.kubectl_with(&["apply", "-f", "-"], &coordinator().to_string())?;
        Ok(())
    }

    /// Starts the controller for the cloud at `endpoints`.
    pub(crate) fn start_controller(
        &self,
        cluster: &Cluster,
        folder: &Path,
        endpoints: &Endpoints,
        vpc: &str,
    ) -> Result<Controller, Error> {
        let config = folder.join("cloud.yaml");
        fs::write(&config, cloud_configuration(endpoints, vpc)).map_err(Error::file("write", &config))?;
        Controller::start(&self.controller, &config, cluster.kubeconfig(), folder)
    }

    /// The configuration of the stand-in for Multus, and the credentials that it names.
    pub(crate) fn network(cluster: &Cluster, server: &str, folder: &Path) -> Result<(String, Value), Error> {
        let kubeconfig = folder.join("multus.kubeconfig");
        cluster.write_kubeconfig(&kubeconfig, server, MULTUS, None)?;
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "multus",
            "type": "multus",
            "kubeconfig": kubeconfig,
            "clusterNetwork": CLUSTER_NETWORK,
            "multusNamespace": NAMESPACE,
            "binDir": "/opt/cni/bin",
        });
        Ok(("00-multus.conf".to_owned(), network))
    }

    /// Starts the agent of a node, and starts it again whenever it ends.
    pub(crate) fn start_agent(
        &self,
        cluster: &Cluster,
        server: &str,
        families: Families,
        guest: &Guest,
    ) -> Result<(), Error> {
        let folder = guest.folder();
        let kubeconfig = folder.join("agent.kubeconfig");
        let user = format!("system:serviceaccount:{NAMESPACE}:{AGENT}");
        cluster.write_kubeconfig(&kubeconfig, server, &user, None)?;
        let config = folder.join("agent.yaml");
        let text = format!("enableIPv4: {}\nenableIPv6: {}\n", families.has_v4(), families.has_v6());
        fs::write(&config, text).map_err(Error::file("write", &config))?;
        guest.keep(
            "agent",
            &format!(
                "'{}' --node-name '{}' --kubeconfig '{}' --config '{}' --cluster-network {NAMESPACE}/{CLUSTER_NETWORK} \
                 --listen 127.0.0.1:5710 --node-network",
                self.agent.display(),
                guest.name(),
                kubeconfig.display(),
                config.display(),
            ),
        )
    }
}

/// Waits until the network of `eth0` is there.
pub(crate) fn wait_network(cluster: &Cluster, timeout: &str) -> Result<(), Error> {
    let network = format!("network-attachment-definitions/{CLUSTER_NETWORK}");
    cluster.kubectl(&["wait", timeout, "--for=create", "-n", NAMESPACE, &network]).map(drop)
}

/// The controller's configuration for the simulated cloud at `endpoints`.
#[must_use]
pub fn cloud_configuration(endpoints: &Endpoints, vpc: &str) -> String {
    let Endpoints { ecs, vpc: vpcs, sts, metadata, control: _ } = endpoints;
    format!(
        "resync: 2s\nproviders:\n  - name: hz\n    type: aliyun\n    region: cn-hangzhou\n    vpcID: {vpc}\n    endpoints:\n      \
         ecs: {ecs}\n      vpc: {vpcs}\n      sts: {sts}\n      metadata: {metadata}\n"
    )
}

/// How pods reach their node and services, as upstream's chart has it by default.
fn coordinator() -> Value {
    json!({
        "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderCoordinator",
        "metadata": {"name": "default"},
        "spec": {"mode": "auto", "podCIDRType": "auto", "tunePodRoutes": true, "hijackCIDR": ["169.254.0.0/16"]},
    })
}

/// What a Multus may do: read pods and networks, and write down which networks a pod has.
fn multus_rights() -> Value {
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["get", "patch", "update"]},
        {"apiGroups": ["k8s.cni.cncf.io"], "resources": ["network-attachment-definitions"], "verbs": ["get"]},
    ]);
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let metadata = json!({"name": MULTUS});
    let role = json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": rules});
    let binding = json!({
        "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": MULTUS},
        "subjects": [{"apiGroup": group, "kind": "User", "name": MULTUS}],
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]})
}
