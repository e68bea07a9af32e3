//! An address pool: what it says, whose it is, and what the cluster holds of it.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::address::Family;
use crate::address_set::AddressSet;
use crate::nic::{InstanceId, Mac, NicId, ProviderName, SubnetId};

/// What a generated pool says: the part of its `spec` that we own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// The subnet's block, in network form. Immutable.
    pub subnet: IpNet,
    /// The subnet's gateway.
    pub gateway: Option<IpAddr>,
    /// The addresses of the pool.
    pub ips: AddressSet,
    /// The addresses of `ips` in `excludeIPs`: those that people excluded, and those of `denied` that no pod holds
    /// (upstream's webhook refuses to exclude what is held).
    pub excluded: AddressSet,
    /// What we keep from being handed out, because a complete reading no longer showed it or somebody else's pool names
    /// it as well; what a pod still holds is in it, for the time after. Recorded in an annotation, so that exclusions by
    /// people are told apart and kept.
    pub denied: AddressSet,
    /// Whether the pool serves pods that name none.
    pub default: bool,
    /// `nodeName`: the nodes whose pods may use it; of a pool that should be, exactly one.
    pub nodes: Vec<String>,
    /// `multusName`: the attachments whose pods may use it; of a pool that should be, exactly one.
    pub multus: Vec<String>,
}

impl PoolSpec {
    /// Returns the family of the pool's subnet.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.subnet.addr())
    }

    /// Returns the addresses that may be handed out.
    #[must_use]
    pub fn offered(&self) -> AddressSet {
        self.ips.difference(&self.excluded).difference(&self.denied)
    }

    /// Returns the addresses that people excluded.
    #[must_use]
    pub fn excluded_by_people(&self) -> AddressSet {
        self.excluded.difference(&self.denied)
    }
}

/// Why a pool exists: recorded on it as labels and annotations, and read back from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The provider that showed the NIC.
    pub provider: ProviderName,
    /// The node's name.
    pub node: String,
    /// The node's `metadata.uid`.
    pub node_uid: String,
    /// The instance that the node is.
    pub instance: InstanceId,
    /// The NIC.
    pub nic: NicId,
    /// The NIC's Ethernet address, where known.
    pub mac: Option<Mac>,
    /// The NIC's name in the guest.
    pub interface: String,
    /// The cloud's identifier of the subnet.
    pub subnet: SubnetId,
    /// What was read, for people: `aliyun DescribeNetworkInterfaces vpc-0abc`.
    pub source: String,
}

/// A pool that should be, or should become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTarget {
    /// `metadata.name`.
    pub name: String,
    /// What it says.
    pub spec: PoolSpec,
    /// Why it exists.
    pub origin: Origin,
}

/// Whose a pool is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all pools of a cluster are ours: a box would cost more"
)]
pub enum Owner {
    /// It carries our managed-by label and a complete record of why it exists.
    Ours(Origin, PoolSpec),
    /// A person, or another program, wrote it: never modified.
    Foreign,
}

/// A pool that the cluster holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: the precondition of a delete.
    pub uid: String,
    /// `metadata.resourceVersion`: the precondition of every write, so that an allocation between plan and write
    /// makes the write fail.
    pub version: String,
    /// Whose it is.
    pub owner: Owner,
    /// The addresses it names, whoever wrote it; what cannot be read of it is not in here.
    pub ips: AddressSet,
    /// The addresses that pods hold.
    pub allocated: AddressSet,
    /// How many addresses its status says it offers, if it says so.
    pub total: Option<i64>,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// Longest readable part of a pool's name; with family and hash it stays within the 253 characters of a DNS subdomain
/// (RFC 1123), and far below it for the 63 characters that most node names keep to.
const READABLE: usize = 200;

/// Returns the name of the pool of one node, NIC and block: `worker-eth0-v4-1f0c9a2e`.
///
/// Deterministic and readable; the hash over the full identity keeps shortened names, names with separators in them,
/// a node re-created on another instance, and a NIC moved to another subnet apart.
#[must_use]
pub fn pool_name(node: &str, interface: &str, nic: &NicId, subnet: IpNet) -> String {
    let mut identity = Sha256::new();
    for part in [node, interface, nic.as_str(), &subnet.to_string()] {
        identity.update(part.as_bytes());
        identity.update([0]);
    }
    let hash = identity.finalize().iter().take(4).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let mut readable: String = format!("{node}-{interface}")
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(READABLE)
        .collect();
    readable.truncate(readable.trim_end_matches('-').len());
    format!("{}-{}-{hash}", readable.trim_start_matches('-'), Family::of(subnet.addr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(node: &str, interface: &str, nic: &str) -> String {
        pool_name(node, interface, &nic.into(), "10.0.0.0/24".parse().unwrap())
    }

    #[test]
    fn names_are_readable_and_stable() {
        assert_eq!(name("worker", "eth0", "eni-1"), name("worker", "eth0", "eni-1"));
        assert!(name("worker", "eth0", "eni-1").starts_with("worker-eth0-v4-"));
    }

    #[test]
    fn separators_in_names_do_not_collide() {
        assert_ne!(name("a-b", "c", "eni-1"), name("a", "b-c", "eni-1"));
        assert_ne!(name("a.b", "c", "eni-1"), name("a-b", "c", "eni-1"));
    }

    #[test]
    fn a_long_node_name_stays_valid_and_distinct() {
        let (one, two) = (format!("{}-1", "n".repeat(249)), format!("{}-2", "n".repeat(249)));
        let pools = [name(&one, "eth0", "eni-1"), name(&two, "eth0", "eni-2")];
        assert_ne!(pools[0], pools[1]);
        for pool in pools {
            assert!(pool.len() <= 253, "{pool}");
            assert!(pool.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }

    #[test]
    fn odd_interface_names_are_made_valid() {
        assert!(name("n1", "Bond0.100", "eni-1").starts_with("n1-bond0-100-v4-"));
    }
}
