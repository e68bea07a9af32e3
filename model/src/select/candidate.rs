//! What a pool says about whom it serves, and whether it serves one NIC of one pod.

use std::fmt;

use ipnet::IpNet;

use super::networks::Behind;
use super::reason::Reason;
use super::request::{Application, Request};
use super::{LabelSelector, Labels};
use crate::address::Family;

/// A pool, as the choice looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// `metadata.name`.
    pub name: String,
    /// The family of its addresses.
    pub family: Family,
    /// Its subnet, where it can be read.
    pub subnet: Option<IpNet>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// `disable`: nothing is given out.
    pub disabled: bool,
    /// `default`: it serves NICs for which nobody names a pool.
    pub default: bool,
    /// `nodeName`: only these nodes; empty: `node_labels` decides.
    pub nodes: Vec<String>,
    /// `nodeAffinity`: only nodes with these labels; looked at when `nodes` is empty.
    pub node_labels: Option<LabelSelector>,
    /// `namespaceName`: only these namespaces; empty: `namespace_labels` decides.
    pub namespaces: Vec<String>,
    /// `namespaceAffinity`: only namespaces with these labels; looked at when `namespaces` is empty.
    pub namespace_labels: Option<LabelSelector>,
    /// `podAffinity`.
    pub pods: PodRule,
    /// `multusName`: only NICs behind these networks; empty: any NIC.
    pub networks: Vec<NetworkRef>,
    /// How many addresses it offers.
    pub offered: u128,
    /// How many of them are free, as far as known.
    pub free: Option<u128>,
    /// Why nothing can be given out of it, whoever asks: something in it cannot be read.
    pub problem: Option<String>,
}

/// Which pods a pool serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PodRule {
    /// All.
    #[default]
    Any,
    /// Those with these labels.
    Labels(LabelSelector),
    /// Those of one application: the pool was made for it.
    Application(Application),
}

/// A `NetworkAttachmentDefinition` as a pool names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRef {
    /// The namespace; none stands for Spiderpool's own.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl From<&str> for NetworkRef {
    /// Takes any text: what is no name matches no network.
    fn from(text: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self { namespace: Some(namespace.to_owned()), name: name.to_owned() },
            None => Self { namespace: None, name: text.to_owned() },
        }
    }
}

impl fmt::Display for NetworkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Candidate {
    /// Returns a pool that serves everybody, with nothing in it.
    #[must_use]
    pub fn open(name: impl Into<String>, family: Family) -> Self {
        Self {
            name: name.into(),
            family,
            subnet: None,
            terminating: false,
            disabled: false,
            default: false,
            nodes: Vec::new(),
            node_labels: None,
            namespaces: Vec::new(),
            namespace_labels: None,
            pods: PodRule::Any,
            networks: Vec::new(),
            offered: 0,
            free: None,
            problem: None,
        }
    }

    /// Returns whether no address is left, as far as known. Only a matter of order: at the time of taking, one may be.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free == Some(0)
    }

    /// Returns the order in which pools that nobody put in order are tried: the more specific ones first, by upstream's
    /// list of what makes a pool specific.
    pub(super) fn general(&self) -> [bool; 6] {
        [
            self.pods == PodRule::Any,
            self.nodes.is_empty(),
            !self.nodes.is_empty() || self.node_labels.is_none(),
            self.namespaces.is_empty(),
            !self.namespaces.is_empty() || self.namespace_labels.is_none(),
            self.networks.is_empty(),
        ]
    }

    /// Checks whether the pool serves the NIC that `request` is about.
    ///
    /// # Errors
    /// The first reason why it does not, in upstream's order.
    pub fn serves(&self, request: &Request<'_>, family: Family) -> Result<(), Reason> {
        if self.terminating {
            return Err(Reason::Terminating);
        }
        if self.disabled {
            return Err(Reason::Disabled);
        }
        if self.family != family {
            return Err(Reason::Family { has: self.family });
        }
        self.on_node(request)?;
        self.in_namespace(request)?;
        self.for_pod(request)?;
        self.behind_nic(request)?;
        match &self.problem {
            Some(problem) => Err(Reason::Unreadable(problem.clone())),
            None => Ok(()),
        }
    }

    fn on_node(&self, request: &Request<'_>) -> Result<(), Reason> {
        let node = request.node.to_owned();
        if !self.nodes.is_empty() {
            let has = self.nodes.iter().any(|name| name == request.node);
            return has.then_some(()).ok_or_else(|| Reason::Node { node, serves: self.nodes.clone() });
        }
        match unmet(self.node_labels.as_ref(), request.node_labels) {
            Some(requirement) => Err(Reason::NodeLabels { node, requirement }),
            None => Ok(()),
        }
    }

    fn in_namespace(&self, request: &Request<'_>) -> Result<(), Reason> {
        let namespace = request.pod.name.namespace.clone();
        if !self.namespaces.is_empty() {
            let has = self.namespaces.contains(&namespace);
            let serves = || self.namespaces.clone();
            return has.then_some(()).ok_or_else(|| Reason::Namespace { namespace, serves: serves() });
        }
        match unmet(self.namespace_labels.as_ref(), request.namespace_labels) {
            Some(requirement) => Err(Reason::NamespaceLabels { namespace, requirement }),
            None => Ok(()),
        }
    }

    fn for_pod(&self, request: &Request<'_>) -> Result<(), Reason> {
        match &self.pods {
            PodRule::Any => Ok(()),
            PodRule::Labels(selector) => match unmet(Some(selector), &request.pod.labels) {
                Some(requirement) => Err(Reason::PodLabels { requirement }),
                None => Ok(()),
            },
            PodRule::Application(own) if request.pod.application.as_ref() == Some(own) => Ok(()),
            PodRule::Application(own) => {
                let is = request.pod.application.clone().map(Box::new);
                Err(Reason::Application { serves: Box::new(own.clone()), is })
            }
        }
    }

    fn behind_nic(&self, request: &Request<'_>) -> Result<(), Reason> {
        if !self.networks.is_empty() {
            return self.behind_network(request);
        }
        match (request.masters, self.subnet) {
            (None, _) => Ok(()),
            (Some(masters), Some(subnet)) if masters.iter().any(|net| subnet.contains(&net.addr())) => Ok(()),
            (Some(masters), _) => {
                Err(Reason::Master { nic: request.nic.to_owned(), masters: masters.to_vec() })
            }
        }
    }

    fn behind_network(&self, request: &Request<'_>) -> Result<(), Reason> {
        let (nic, serves) = (request.nic.to_owned(), self.networks.clone());
        match request.wishes.networks.behind(request.nic, request.cluster_network) {
            Behind::Network(network) => {
                let same = |own: &NetworkRef| {
                    own.namespace.as_deref().unwrap_or(request.home) == network.namespace()
                        && own.name == network.name()
                };
                let has = self.networks.iter().any(same);
                has.then_some(()).ok_or_else(|| Reason::Network { nic, network: network.clone(), serves })
            }
            Behind::Unknown => Err(Reason::NetworkUnknown { nic, serves }),
            Behind::Unreadable(bad) => {
                Err(Reason::NetworkUnreadable { nic, serves, bad: Box::new(bad.clone()) })
            }
        }
    }
}

fn unmet(selector: Option<&LabelSelector>, labels: &Labels) -> Option<String> {
    let requirement = selector?.unmet(labels)?;
    let is = match labels.get(requirement.key()) {
        Some(value) => format!("{}={value}", requirement.key()),
        None => format!("no label {}", requirement.key()),
    };
    Some(format!("{requirement} (it has {is})"))
}
