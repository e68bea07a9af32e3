//! The two clusters of the walkthrough: their networks and their one node each.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use testbed::aliyun::Topology;
use testbed::{Families, Product, Ranges, Setup, Switches};

use crate::built::product;
use crate::stage::{PATIENCE, Stage};

/// What the node of either is called.
pub(crate) const NODE: &str = "controller-node-1";

/// One of the two.
pub(crate) struct Site {
    pub(crate) name: &'static str,
    /// The subnets of the node's NICs; the walkthrough has both nodes' first NIC in one /16.
    subnets: [Ipv4Net; 2],
    /// The node's own address in each: ens192 and ens224.
    pub(crate) nics: [Ipv4Addr; 2],
    services: Ipv4Net,
    pods: Ipv4Net,
    manifests: &'static str,
}

pub(crate) static A: Site = Site {
    name: "cluster-a",
    subnets: [
        Ipv4Net::new_assert(Ipv4Addr::new(10, 6, 168, 0), 24),
        Ipv4Net::new_assert(Ipv4Addr::new(172, 110, 1, 0), 24),
    ],
    nics: [Ipv4Addr::new(10, 6, 168, 73), Ipv4Addr::new(172, 110, 1, 201)],
    services: Ipv4Net::new_assert(Ipv4Addr::new(10, 233, 0, 0), 18),
    pods: Ipv4Net::new_assert(Ipv4Addr::new(172, 110, 0, 0), 16),
    manifests: include_str!("cluster-a.yaml"),
};
pub(crate) static B: Site = Site {
    name: "cluster-b",
    subnets: [
        Ipv4Net::new_assert(Ipv4Addr::new(10, 6, 169, 0), 24),
        Ipv4Net::new_assert(Ipv4Addr::new(172, 111, 1, 0), 24),
    ],
    nics: [Ipv4Addr::new(10, 6, 169, 74), Ipv4Addr::new(172, 111, 1, 201)],
    services: Ipv4Net::new_assert(Ipv4Addr::new(10, 243, 0, 0), 18),
    pods: Ipv4Net::new_assert(Ipv4Addr::new(172, 111, 0, 0), 16),
    manifests: include_str!("cluster-b.yaml"),
};

impl Site {
    pub(crate) fn services(&self) -> IpNet {
        self.services.into()
    }

    pub(crate) fn pods(&self) -> IpNet {
        self.pods.into()
    }
}

/// One of them, running.
pub(crate) struct Cluster {
    pub(crate) site: &'static Site,
    pub(crate) stage: Stage,
}

impl Cluster {
    pub(crate) fn start(site: &'static Site) -> Self {
        let programs = product("spiderpool-agent");
        let nics: Vec<_> = site.subnets.into_iter().zip(site.nics).collect();
        let setup = Setup::new(Topology::one_node(NODE, &nics)).families(Families::V4);
        let setup = setup
            .switches(Switches::DataCentre)
            .product(Product::in_folder(programs.parent().unwrap()).unwrap());
        let ranges = Ranges { services: vec![site.services()], pods: vec![site.pods()] };
        let nodes = setup.ranges(ranges).start().unwrap();
        // The names that the manifests have; a guest's NICs have others, and may have these beside them.
        let names = "set -e\nip link property add dev eth0 altname ens192\nip link property add dev eth1 altname ens224";
        nodes.guest(NODE).sh(names).unwrap();
        for manifest in [site.manifests, include_str!("plain.yaml")] {
            nodes.plane().kubectl_with(&["create", "-f", "-"], manifest).unwrap();
        }
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        let ready = ["wait", &timeout, "--for=condition=Ready", "spidermultusconfigs", "--all", "-A"];
        nodes.kubectl(&ready).unwrap();
        Self { site, stage: Stage::of(nodes) }
    }

    /// Makes sure of what the data centres' networks are: nodes' first NICs reach each other, and nothing else does.
    pub(crate) fn reaches_only_the_first_nic_of(&self, other: &Self) {
        let [first, second] = other.site.nics;
        let ping = |address| format!("busybox ping -c 1 -w 3 {address}");
        let node = self.stage.guest(NODE);
        node.sh(&ping(first)).unwrap();
        let said = node.run(&ping(second)).unwrap();
        assert_ne!(said.status, 0, "{}", said.stdout);
    }
}
