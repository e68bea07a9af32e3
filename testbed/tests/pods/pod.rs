//! What a pod is made of, and what the API shows of it.

use std::net::IpAddr;

use serde_json::{Value, json};
use testbed::image::PROBE;

/// The annotation of a pod's own default network.
pub(crate) const DEFAULT: &str = "v1.multus-cni.io/default-network";
/// The annotation of a pod's further networks.
pub(crate) const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// A pod to be, which serves the probe's questions on its node.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) name: String,
    node: String,
    annotations: Vec<(&'static str, String)>,
    app: String,
}

impl Draft {
    pub(crate) fn new(name: &str, node: &str) -> Self {
        Self { name: name.to_owned(), node: node.to_owned(), annotations: Vec::new(), app: String::new() }
    }

    pub(crate) fn default_network(mut self, network: &str) -> Self {
        self.annotations.push((DEFAULT, network.to_owned()));
        self
    }

    pub(crate) fn networks(mut self, networks: &str) -> Self {
        self.annotations.push((NETWORKS, networks.to_owned()));
        self
    }

    /// Which of its NICs has the default route.
    pub(crate) fn default_route(mut self, nic: &str) -> Self {
        self.annotations.push(("ipam.spidernet.io/default-route-nic", nic.to_owned()));
        self
    }

    /// Lets services find it by this name.
    pub(crate) fn app(mut self, name: &str) -> Self {
        name.clone_into(&mut self.app);
        self
    }

    /// As little to start and to end as a pod can have.
    pub(crate) fn manifest(&self, namespace: &str) -> Value {
        let annotations = self.annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "namespace": namespace,
                "labels": {"app": self.app},
                "annotations": annotations.collect::<serde_json::Map<_, _>>(),
            },
            "spec": {
                "nodeName": self.node,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                // With 0 the API would forget the pod before its node has ended it.
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "probe", "image": PROBE, "imagePullPolicy": "Never", "args": ["serve"],
                }],
            },
        })
    }
}

/// A pod as the API shows it.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) phase: String,
    pub(crate) ips: Vec<IpAddr>,
    /// Whether a container of it runs, as far as kubelet has said.
    pub(crate) runs: bool,
    status: Value,
}

impl Pod {
    pub(crate) fn read(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (meta, status) = (&object["metadata"], &object["status"]);
        let ips = status["podIPs"].as_array().into_iter().flatten();
        let containers = status["containerStatuses"].as_array();
        let networks = text(&meta["annotations"]["k8s.v1.cni.cncf.io/network-status"]);
        Self {
            name: text(&meta["name"]),
            namespace: text(&meta["namespace"]),
            uid: text(&meta["uid"]),
            node: text(&object["spec"]["nodeName"]),
            phase: text(&status["phase"]),
            ips: ips.map(|ip| text(&ip["ip"]).parse().unwrap()).collect(),
            runs: containers.into_iter().flatten().any(|container| !container["state"]["running"].is_null()),
            status: serde_json::from_str(&networks).unwrap_or(Value::Null),
        }
    }

    /// The addresses of one of its interfaces, IPv4 first.
    pub(crate) fn of(&self, interface: &str) -> Vec<IpAddr> {
        let networks = self.status.as_array().into_iter().flatten();
        let of = networks.filter(|network| network["interface"] == interface);
        let ips = of.flat_map(|network| network["ips"].as_array().into_iter().flatten());
        let mut ips: Vec<IpAddr> = ips.map(|ip| ip.as_str().unwrap().parse().unwrap()).collect();
        ips.sort_by_key(IpAddr::is_ipv6);
        ips
    }
}
