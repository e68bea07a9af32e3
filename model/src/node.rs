//! A Kubernetes node, as far as the plan looks at it.

use std::net::IpAddr;

use crate::nic::{InstanceId, ProviderName};

/// What identifies a node to a provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`; empty for a node read from a file without one.
    pub uid: String,
    /// `spec.providerID`, when set and not empty.
    pub provider_id: Option<String>,
    /// The IP addresses in `status.addresses`: the node's own, never a pod's.
    pub addresses: Vec<IpAddr>,
}

/// A provider's answer to "which instance of yours is this node?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is this instance.
    Instance(InstanceId),
    /// It is none of ours: another cloud, another region, another inventory.
    NotMine,
    /// It looks like ours but cannot be read: the reason, for people.
    Unreadable(String),
}

/// The outcome of asking every provider in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The first provider that claimed the node.
    Instance {
        /// The provider.
        provider: ProviderName,
        /// Its instance.
        instance: InstanceId,
    },
    /// No provider claimed it: the reason, for people.
    None(String),
}
