//! What the plan says of a node: its NICs, their pools, and whether all is well.

use crate::address::Family;
use crate::address_set::AddressSet;
use crate::nic::{InstanceId, Nic, ProviderName};
use crate::subnet::Subnet;
use crate::template::MultusName;

/// A condition's state, as Kubernetes spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

/// One condition of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub status: Truth,
    /// One word for machines, in CamelCase.
    pub reason: &'static str,
    /// One sentence for people, with the operand in it.
    pub message: String,
}

impl Verdict {
    pub(crate) fn new(status: Truth, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }
}

/// One NIC of a node, with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicReport {
    /// The NIC as the provider showed it.
    pub nic: Nic,
    /// Its name in the guest; empty where it has none.
    pub interface: String,
    /// Its subnet, if the provider showed it.
    pub subnet: Option<Subnet>,
    /// The attachment that its pods use; `None` for a NIC that is left alone.
    pub multus: Option<MultusName>,
    /// What pods may use of it, both families.
    pub addresses: AddressSet,
    /// The names of its pools, IPv4 first.
    pub pools: Vec<String>,
}

/// One node, as its `SpiderNode` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// The node's name.
    pub node: String,
    /// The node's `metadata.uid`.
    pub node_uid: String,
    /// Who knows the node.
    pub provider: Option<ProviderName>,
    /// What it is there.
    pub instance: Option<InstanceId>,
    /// Its NICs, primary first.
    pub nics: Vec<NicReport>,
    /// Whether its NICs were read: condition `Discovered`.
    pub discovered: Verdict,
    /// Whether its pools say what was read: condition `Synced`.
    pub synced: Verdict,
    /// Whether its pools hold addresses: condition `SufficientIPs`.
    pub sufficient: Verdict,
}

impl NodeReport {
    /// Returns how many addresses of a family pods may use on this node.
    #[must_use]
    pub fn count(&self, family: Family) -> u128 {
        self.nics.iter().fold(0, |sum: u128, nic| sum.saturating_add(nic.addresses.of(family).count()))
    }
}
