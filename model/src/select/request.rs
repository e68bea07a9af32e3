//! What a NIC of a pod asks for: the inputs of the choice, parsed.

use ipnet::IpNet;

use super::{Labels, Networks};
use crate::address::Family;
use crate::holder::PodName;
use crate::template::MultusName;

/// An annotation that may be missing, and may be unreadable: what is never looked at need not be right.
pub type Given<T> = Option<Result<T, BadAnnotation>>;

/// An annotation that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation} of {owner} cannot be read {at}: {why}")]
pub struct BadAnnotation {
    /// Its key.
    pub annotation: String,
    /// Whose it is: `the pod` or `the namespace`.
    pub owner: &'static str,
    /// Where in it: `at line 1 column 7`, or `at [0].ipv4`.
    pub at: String,
    /// What is wrong there, and what would be right.
    pub why: String,
}

/// Names of pools by family, wildcards among them, in the order in which they are to be tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolNames {
    /// IPv4 pools.
    pub v4: Vec<String>,
    /// IPv6 pools.
    pub v6: Vec<String>,
}

impl PoolNames {
    /// Returns the names of one family.
    #[must_use]
    pub fn of(&self, family: Family) -> &[String] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// Returns whether no pool is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// One item of the annotation `ipam.spidernet.io/ippools`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NicPools {
    /// The NIC; either all items of a list have one, or none has.
    pub nic: Option<String>,
    /// The pools.
    pub names: PoolNames,
    /// Whether the NIC brings no default route; when not said, the CNI configuration decides.
    pub clean_gateway: Option<bool>,
}

/// What a pod's annotations ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `ipam.spidernet.io/ippools`: never empty, NICs all named and different or all unnamed.
    pub ippools: Given<Vec<NicPools>>,
    /// `ipam.spidernet.io/ippool`: never empty.
    pub ippool: Given<PoolNames>,
    /// `ipam.spidernet.io/routes`.
    pub routes: Given<Vec<super::PodRoute>>,
    /// The networks that Multus attaches.
    pub networks: Networks,
    /// The annotation that asks for an automatic pool, if there is one: `ipam.spidernet.io/subnets` or `…/subnet`.
    pub subnet: Option<&'static str>,
}

/// What the CNI configuration of the NIC says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniDefaults {
    /// `default_ipv4_ippool` and `default_ipv6_ippool`.
    pub names: PoolNames,
    /// `clean_gateway`: whether the NIC brings no default route.
    pub clean_gateway: bool,
}

/// The controller at the top of a pod's owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Application {
    /// The API group; empty for the core group.
    pub group: String,
    /// The API version.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the choice looks at of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its namespace and name.
    pub name: PodName,
    /// Its labels.
    pub labels: Labels,
    /// The controller at the top of its owners; needed for automatic pools only.
    pub application: Option<Application>,
}

/// Whether automatic pools out of `SpiderSubnets` are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubnetFeature {
    /// The annotations that ask for one are ignored, as upstream does with SpiderSubnet switched off.
    #[default]
    Ignored,
    /// A pod that asks for one is refused, as upstream does with automatic pools switched off.
    Refused,
}

/// How far whoever asks can see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Horizon {
    /// The pools that can serve one node: a pool that is not among them may exist.
    #[default]
    Node,
    /// All pools of the cluster.
    Cluster,
}

/// Asks which pools serve one NIC of one pod.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The pod.
    pub pod: &'a PodFacts,
    /// What its annotations say.
    pub wishes: &'a Wishes,
    /// The NIC's name in the pod.
    pub nic: &'a str,
    /// The pod's node.
    pub node: &'a str,
    /// The node's labels.
    pub node_labels: &'a Labels,
    /// The labels of the pod's namespace.
    pub namespace_labels: &'a Labels,
    /// What the annotations of the pod's namespace say.
    pub namespace_pools: &'a Given<PoolNames>,
    /// What the CNI configuration says.
    pub cni: &'a CniDefaults,
    /// The families that are switched on.
    pub families: &'a [Family],
    /// Spiderpool's own namespace.
    pub home: &'a str,
    /// The network behind `eth0` of pods that name none.
    pub cluster_network: Option<&'a MultusName>,
    /// The addresses of the NIC's master on the node, when the CNI configuration says `match_master_subnet`.
    pub masters: Option<&'a [IpNet]>,
    /// Whether automatic pools are served.
    pub subnets: SubnetFeature,
    /// How far `pools` reaches.
    pub horizon: Horizon,
}
