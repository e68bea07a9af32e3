//! Why a pool does not serve a NIC, and why no pool does: sentences for people, on which programs can match.

use std::fmt;

use ipnet::IpNet;

use super::candidate::NetworkRef;
use super::networks::FIRST;
use super::pattern::PatternError;
use super::request::{Application, BadAnnotation, Horizon};
use super::{Refused, Rule};
use crate::address::Family;
use crate::holder::PodName;
use crate::template::MultusName;

/// How many names of a list people get to read.
const NAMES: usize = 3;
/// How many refused pools one error tells of: the runtime puts it into an Event, which takes 1,024 bytes.
const TOLD: usize = 4;

/// Why a pool does not serve a NIC; printed as what follows `pool NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is named and is not there.
    Missing {
        /// How far was looked.
        horizon: Horizon,
    },
    /// It is a wildcard that no pool matches.
    NoMatch {
        /// How far was looked.
        horizon: Horizon,
    },
    /// It is a wildcard that cannot be read.
    Pattern(PatternError),
    /// It is being deleted.
    Terminating,
    /// `disable` is set.
    Disabled,
    /// It is of the other family.
    Family {
        /// The pool's.
        has: Family,
    },
    /// `nodeName` does not have the pod's node.
    Node {
        /// The pod's node.
        node: String,
        /// The pool's nodes.
        serves: Vec<String>,
    },
    /// `nodeAffinity` does not select the pod's node.
    NodeLabels {
        /// The pod's node.
        node: String,
        /// What is not met, and what is there.
        requirement: String,
    },
    /// `namespaceName` does not have the pod's namespace.
    Namespace {
        /// The pod's namespace.
        namespace: String,
        /// The pool's namespaces.
        serves: Vec<String>,
    },
    /// `namespaceAffinity` does not select the pod's namespace.
    NamespaceLabels {
        /// The pod's namespace.
        namespace: String,
        /// What is not met, and what is there.
        requirement: String,
    },
    /// `podAffinity` does not select the pod.
    PodLabels {
        /// What is not met, and what is there.
        requirement: String,
    },
    /// The pool was made for another application.
    Application {
        /// The pool's application.
        serves: Box<Application>,
        /// The pod's.
        is: Option<Box<Application>>,
    },
    /// `multusName` does not have the network behind the NIC.
    Network {
        /// The NIC.
        nic: String,
        /// The network behind it.
        network: MultusName,
        /// The pool's networks.
        serves: Vec<NetworkRef>,
    },
    /// The pool has a `multusName`, and nothing says which network is behind the NIC.
    NetworkUnknown {
        /// The NIC.
        nic: String,
        /// The pool's networks.
        serves: Vec<NetworkRef>,
    },
    /// The pool has a `multusName`, and what says which network is behind the NIC cannot be read.
    NetworkUnreadable {
        /// The NIC.
        nic: String,
        /// The pool's networks.
        serves: Vec<NetworkRef>,
        /// What cannot be read.
        bad: Box<BadAnnotation>,
    },
    /// `match_master_subnet` is set, and the master of the NIC has no address in the pool's subnet.
    Master {
        /// The NIC.
        nic: String,
        /// What the master has.
        masters: Vec<IpNet>,
    },
    /// Something in the pool cannot be read, so nothing is given out of it.
    Unreadable(String),
}

impl Reason {
    /// Returns whether the pool belongs to another node or another NIC, and so says nothing about this one.
    pub(super) fn is_elsewhere(&self) -> bool {
        match self {
            Self::Node { .. }
            | Self::NodeLabels { .. }
            | Self::Network { .. }
            | Self::NetworkUnknown { .. }
            | Self::NetworkUnreadable { .. } => true,
            Self::Missing { .. }
            | Self::NoMatch { .. }
            | Self::Pattern(_)
            | Self::Terminating
            | Self::Disabled
            | Self::Family { .. }
            | Self::Namespace { .. }
            | Self::NamespaceLabels { .. }
            | Self::PodLabels { .. }
            | Self::Application { .. }
            | Self::Master { .. }
            | Self::Unreadable(_) => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { horizon: Horizon::Cluster } => f.write_str("does not exist"),
            Self::Missing { horizon: Horizon::Node } => {
                f.write_str("does not exist, or serves other nodes only")
            }
            Self::NoMatch { horizon: Horizon::Cluster } => f.write_str("is a wildcard that matches no pool"),
            Self::NoMatch { horizon: Horizon::Node } => {
                f.write_str("is a wildcard that matches no pool of this node")
            }
            Self::Pattern(error) => write!(f, "is a wildcard that cannot be read: {error}"),
            Self::Terminating => f.write_str("is being deleted"),
            Self::Disabled => f.write_str("is disabled (spec.disable)"),
            Self::Family { has } => write!(f, "has {} addresses", family_name(*has)),
            Self::Node { node, serves } => {
                write!(f, "serves {} only, not node {node} (spec.nodeName)", few("node", serves))
            }
            Self::NodeLabels { node, requirement } => {
                write!(f, "serves nodes with {requirement}, not node {node} (spec.nodeAffinity)")
            }
            Self::Namespace { namespace, serves } => {
                write!(f, "serves {} only, not {namespace} (spec.namespaceName)", few("namespace", serves))
            }
            Self::NamespaceLabels { namespace, requirement } => {
                write!(f, "serves namespaces with {requirement}, not {namespace} (spec.namespaceAffinity)")
            }
            Self::PodLabels { requirement } => {
                write!(f, "serves pods with {requirement}, not this one (spec.podAffinity)")
            }
            Self::Application { serves, is } => {
                write!(f, "was made for {serves}, ")?;
                match is {
                    Some(is) => write!(f, "and the pod belongs to {is} (spec.podAffinity)"),
                    None => f.write_str("and the pod belongs to no application (spec.podAffinity)"),
                }
            }
            Self::Network { nic, network, serves } => {
                write!(
                    f,
                    "serves {} only, and {network} is behind {nic} (spec.multusName)",
                    few("network", serves)
                )
            }
            Self::NetworkUnknown { nic, serves } => {
                write!(
                    f,
                    "serves {} only, and nothing says which network is behind {nic}: {} (spec.multusName)",
                    few("network", serves),
                    if nic == FIRST {
                        "the pod has no annotation v1.multus-cni.io/default-network, and the agent no MULTUS_CLUSTER_NETWORK"
                    } else {
                        "no item of the pod's annotation k8s.v1.cni.cncf.io/networks makes it"
                    }
                )
            }
            Self::NetworkUnreadable { nic, serves, bad } => {
                write!(
                    f,
                    "serves {} only, and which network is behind {nic} is unknown: {bad} (spec.multusName)",
                    few("network", serves)
                )
            }
            Self::Master { nic, masters } if masters.is_empty() => {
                write!(f, "must match the master of {nic}, which has no address (match_master_subnet)")
            }
            Self::Master { nic, masters } => {
                write!(
                    f,
                    "has no subnet of the master of {nic}, which has {} (match_master_subnet)",
                    few("", masters)
                )
            }
            Self::Unreadable(problem) => write!(f, "gives nothing out: {problem}"),
        }
    }
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, version, kind, namespace, name } = self;
        let slash = if group.is_empty() { "" } else { "/" };
        write!(f, "{group}{slash}{version} {kind} {namespace}/{name}")
    }
}

/// Why no pool can be chosen for a NIC: what was tried, on what, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// An annotation that decides cannot be read.
    #[error("cannot choose a pool for {nic} of pod {pod}: {bad}")]
    Annotation {
        /// The pod.
        pod: PodName,
        /// The NIC.
        nic: String,
        /// What cannot be read.
        bad: Box<BadAnnotation>,
    },
    /// The pod asks for an automatic pool.
    #[error(
        "cannot choose a pool for {nic} of pod {pod}: annotation {annotation} asks for an automatic pool, which is switched off \
         here; name pools in ipam.spidernet.io/ippool instead"
    )]
    Subnet {
        /// The pod.
        pod: PodName,
        /// The NIC.
        nic: String,
        /// The annotation.
        annotation: &'static str,
    },
    /// The annotation for all NICs says nothing of this one.
    #[error(
        "cannot choose a pool for {nic} of pod {pod}: annotation ipam.spidernet.io/ippools has no item for it, only for \
         {listed}; add one with \"interface\": \"{nic}\""
    )]
    NotListed {
        /// The pod.
        pod: PodName,
        /// The NIC.
        nic: String,
        /// The NICs that it has items for.
        listed: String,
    },
    /// The annotation for all NICs names none, and this one's place among them is unknown or beyond its end.
    #[error(
        "cannot choose a pool for {nic} of pod {pod}: annotation ipam.spidernet.io/ippools names no interface in its {items} \
         item(s), which so count for {nics} in this order; add an item, or name the interface in every item"
    )]
    NoPlace {
        /// The pod.
        pod: PodName,
        /// The NIC.
        nic: String,
        /// How many items there are.
        items: usize,
        /// The NICs of the pod in their order.
        nics: String,
    },
    /// Pools are named for families only that are switched off.
    #[error(
        "cannot choose a pool for {nic} of pod {pod}: {rule} names {named} pools only, and {named} is switched off; name pools of \
         the other family, or set {key}: true in Spiderpool's configuration"
    )]
    FamilyOff {
        /// The pod.
        pod: PodName,
        /// The NIC.
        nic: String,
        /// What names them.
        rule: Rule,
        /// The family.
        named: &'static str,
        /// The setting.
        key: &'static str,
    },
    /// Nobody names a pool, and there is no default pool.
    #[error(
        "cannot choose a pool for {nic} of pod {pod} on node {node}: nothing names one, and {}; set spec.default on a pool, or name \
         pools in annotation ipam.spidernet.io/ippool, on the namespace or in the CNI configuration",
        no_default(.refused)
    )]
    NoDefault {
        /// The pod.
        pod: Box<PodName>,
        /// The NIC.
        nic: String,
        /// The pod's node.
        node: String,
        /// The default pools, and why they do not serve.
        refused: Vec<Refused>,
    },
    /// Pools are named, or are the default, and none of a family serves.
    #[error(
        "cannot choose an {} pool for {nic} of pod {pod} on node {node}: {rule} leads to no pool that serves it: {}; {}",
        family_name(*family), told(.refused), rule.advice()
    )]
    NoneServes {
        /// The pod.
        pod: Box<PodName>,
        /// The NIC.
        nic: String,
        /// The pod's node.
        node: String,
        /// The family.
        family: Family,
        /// What led to the pools.
        rule: Rule,
        /// The pools of the family, and why they do not serve.
        refused: Vec<Refused>,
    },
}

impl SelectError {
    /// Returns what decided which pools were looked at, when it came to looking at pools.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        match self {
            Self::NoDefault { .. } => Some(Rule::Default),
            Self::NoneServes { rule, .. } | Self::FamilyOff { rule, .. } => Some(*rule),
            Self::NotListed { .. } | Self::NoPlace { .. } => Some(Rule::IpPools),
            Self::Annotation { .. } | Self::Subnet { .. } => None,
        }
    }

    /// Returns the pools that were looked at, and why each does not serve.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        match self {
            Self::NoDefault { refused, .. } | Self::NoneServes { refused, .. } => refused,
            Self::Annotation { .. }
            | Self::Subnet { .. }
            | Self::NotListed { .. }
            | Self::NoPlace { .. }
            | Self::FamilyOff { .. } => &[],
        }
    }
}

/// Returns the family as people write it.
pub(super) fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn no_default(refused: &[Refused]) -> String {
    if refused.is_empty() {
        return "no pool is a default".to_owned();
    }
    format!("no default pool serves it: {}", told(refused))
}

/// Writes the refused pools, as many as an Event takes.
fn told(refused: &[Refused]) -> String {
    let mut told: Vec<String> = refused
        .iter()
        .take(TOLD)
        .map(|Refused { pool, reason, .. }| format!("pool {pool} {reason}"))
        .collect();
    if refused.len() > TOLD {
        told.push(format!("{} more, which spiderpoolctl why tells of", refused.len() - TOLD));
    }
    told.join("; ")
}

/// Writes the first names of a list with what they are, and how many more there are.
fn few(what: &str, names: &[impl fmt::Display]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES).map(ToString::to_string).collect();
    let more = names.len().saturating_sub(NAMES);
    let many = if names.len() == 1 || what.is_empty() { "" } else { "s" };
    let gap = if what.is_empty() { "" } else { " " };
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{what}{many}{gap}{}{rest}", shown.join(", "))
}
