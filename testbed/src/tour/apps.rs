//! The walkthrough's applications: which pods they have, where, with which addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, ensure};
use serde_json::Value;
use testbed::Nodes;

/// A `DaemonSet` and its pods, one a node.
pub(super) struct App {
    /// The NIC that its addresses must be of.
    nic: &'static str,
    pods: Vec<Pod>,
}

pub(super) struct Pod {
    pub(super) name: String,
    node: String,
    pub(super) v4: IpAddr,
    pub(super) v6: IpAddr,
}

impl App {
    pub(super) fn read(nodes: &Nodes, app: &str, nic: &'static str) -> anyhow::Result<Self> {
        let list = read(nodes, &["get", "pods", "-l", &format!("app={app}")])?;
        let items = list["items"].as_array().context("no list of pods")?;
        Ok(Self { nic, pods: items.iter().map(Pod::read).collect::<anyhow::Result<_>>()? })
    }

    pub(super) fn on(&self, node: &str) -> anyhow::Result<&Pod> {
        self.pods.iter().find(|pod| pod.node == node).with_context(|| format!("there is no pod on {node}"))
    }

    /// Makes sure that each address is held in the pool of its pod's node and NIC.
    pub(super) fn check_pools(&self, nodes: &Nodes) -> anyhow::Result<()> {
        for Pod { name, node, v4, v6 } in &self.pods {
            for (address, family) in [(v4, "v4"), (v6, "v6")] {
                let labels = [("node", node.as_str()), ("interface", self.nic), ("family", family)];
                let select = labels.map(|(key, value)| format!("cloud.spidernet.io/{key}={value}")).join(",");
                let pools = read(nodes, &["get", "spiderippools", "-l", &select])?;
                let records = pools["items"][0]["status"]["allocatedIPs"].as_str().unwrap_or_default();
                let records: Value = serde_json::from_str(records).unwrap_or_default();
                let holder = records[address.to_string()]["pod"].as_str().unwrap_or_default();
                ensure!(
                    holder == format!("default/{name}"),
                    "no pool of {select} says that {name} holds {address}"
                );
            }
        }
        Ok(())
    }
}

impl Pod {
    fn read(object: &Value) -> anyhow::Result<Self> {
        let ips = object["status"]["podIPs"].as_array().context("a pod without addresses")?;
        let ips: Vec<&str> = ips.iter().filter_map(|ip| ip["ip"].as_str()).collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self {
            name: text(&object["metadata"]["name"]),
            node: text(&object["spec"]["nodeName"]),
            v4: ips.iter().find_map(|ip| ip.parse::<Ipv4Addr>().ok()).context("a pod without IPv4")?.into(),
            v6: ips.iter().find_map(|ip| ip.parse::<Ipv6Addr>().ok()).context("a pod without IPv6")?.into(),
        })
    }
}

/// The IPv4 address under which the cluster knows a node.
pub(super) fn node_address(nodes: &Nodes, node: &str) -> anyhow::Result<IpAddr> {
    let path = r#"jsonpath={.status.addresses[?(@.type=="InternalIP")].address}"#;
    let said = nodes.kubectl(&["get", "node", node, "-o", path])?;
    let address = said.split_whitespace().find_map(|address| address.parse::<Ipv4Addr>().ok());
    Ok(address.with_context(|| format!("{node} has no IPv4 address"))?.into())
}

fn read(nodes: &Nodes, what: &[&str]) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&nodes.kubectl(&[what, &["-o", "json"]].concat())?)?)
}
