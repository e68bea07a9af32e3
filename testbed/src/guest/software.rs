//! What runs on a node of a cluster: containerd, kubelet, kube-proxy, and their configuration.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::GuestNic;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::image::PAUSE;
use crate::node_programs::NodePrograms;
use crate::nodes::Ranges;

const START: &str = include_str!("software.sh");
const CONTAINERD: &str = include_str!("containerd.toml");

/// How kube-proxy tells what is from its own cluster, which it does not masquerade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalTraffic {
    /// By the addresses that the cluster takes to be its pods'.
    ByBlocks,
    /// By the interfaces through which pods' packets come.
    ByInterface,
}

/// What the node of a cluster runs.
#[derive(Debug, Clone)]
pub(crate) struct Software<'a> {
    /// The cluster that it joins.
    pub(crate) cluster: &'a Cluster,
    /// What kube-proxy takes to be from its own cluster.
    pub(crate) local: LocalTraffic,
    /// Where the API server is, as guests reach it.
    pub(crate) server: String,
    /// What the cluster takes to be its own.
    pub(crate) ranges: Ranges,
    /// `cn-hangzhou.i-…`.
    pub(crate) provider_id: String,
    /// OCI archives to import.
    pub(crate) images: Vec<PathBuf>,
    /// CNI plugins beside upstream's.
    pub(crate) plugins: Vec<PathBuf>,
    /// Files for `/etc/cni/net.d`.
    pub(crate) networks: Vec<(String, Value)>,
}

impl Software<'_> {
    /// Writes its files into `folder` and returns what PID 1 must know beside that.
    pub(super) fn write(
        &self,
        folder: &Path,
        node: &str,
        nics: &[GuestNic],
        programs: &NodePrograms,
    ) -> Result<String, Error> {
        let Self { cluster, local, server, ranges, provider_id, images, plugins, networks } = self;
        let write = |file: &str, text: &str| {
            let path = folder.join(file);
            fs::write(&path, text).map_err(Error::file("write", &path))
        };
        let kubeconfig = |file: &str, user: &str, group: Option<&str>| {
            cluster.write_kubeconfig(&folder.join(file), server, user, group)
        };
        kubeconfig("kubelet.kubeconfig", &format!("system:node:{node}"), Some("system:nodes"))?;
        kubeconfig("kube-proxy.kubeconfig", "system:kube-proxy", None)?;
        let authority = folder.join("ca.crt");
        write("ca.crt", &cluster.pki().authority()?)?;
        write("kubelet.yaml", &format!("{:#}\n", kubelet(provider_id, ranges, &authority)))?;
        write("kube-proxy.yaml", &format!("{:#}\n", kube_proxy(node, *local, ranges, folder)))?;
        let runc = programs.debian.join("usr/sbin/runc");
        write(
            "containerd.toml",
            &CONTAINERD.replace("RUNC", &runc.display().to_string()).replace("PAUSE", PAUSE),
        )?;
        write("software", START)?;
        let networks_folder = folder.join("cni");
        fs::create_dir_all(&networks_folder).map_err(Error::file("create", &networks_folder))?;
        for (name, network) in networks {
            write(&format!("cni/{name}"), &network.to_string())?;
        }
        let own: Vec<String> = nics
            .first()
            .into_iter()
            .flat_map(|nic| &nic.addresses)
            .map(|(address, _): &(IpAddr, u8)| address.to_string())
            .collect();
        Ok(format!(
            "addresses='{}'\nimages='{}'\nplugins='{}'\n",
            own.join(","),
            paths(images),
            paths(plugins)
        ))
    }
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

fn kubelet(provider_id: &str, ranges: &Ranges, authority: &Path) -> Value {
    let name_servers = Vec::from_iter(ranges.name_server());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        // The guest's disk is the machine's, and how full that is is not the node's business.
        "evictionHard": {
            "memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%",
        },
        "nodeStatusUpdateFrequency": "5s",
        "providerID": provider_id,
        "clusterDNS": name_servers,
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        // As few seconds as possible between a test's change and what it waits for.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "maxPods": 200,
        // A hundred pods at once share one virtual CPU: with the usual two minutes kubelet gives up on sandboxes that are
        // nearly there, and starts them again.
        "runtimeRequestTimeout": "15m",
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 500,
        "kubeAPIBurst": 1000,
    })
}

fn kube_proxy(node: &str, local: LocalTraffic, ranges: &Ranges, folder: &Path) -> Value {
    let mut config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": folder.join("kube-proxy.kubeconfig")},
        // A guest's kernel lets nobody set these.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
    });
    match local {
        LocalTraffic::ByBlocks => {
            let pods: Vec<String> = ranges.pods.iter().map(ToString::to_string).collect();
            config["clusterCIDR"] = pods.join(",").into();
        }
        LocalTraffic::ByInterface => {
            config["detectLocalMode"] = "InterfaceNamePrefix".into();
            config["detectLocal"] = json!({"interfaceNamePrefix": "veth"});
        }
    }
    config
}
