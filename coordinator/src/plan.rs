//! What must change so that a pod has its ways: pure, from what there is and what is wanted.
//!
//! A plan holds only what is not so already. So doing it twice is doing it once, and CHECK is a plan that must be empty.

mod current;
mod difference;
mod mode;
mod tables;
mod wanted;

#[cfg(test)]
mod tests;

use netlink::{Change, Family, Link, Rule};

use crate::config::Config;
use crate::scene::{Node, Pod};

pub use current::Running;
pub use mode::{Way, way};
pub use tables::REPLIES;
pub(crate) use tables::{FIRST_TABLE, Tables, is_ours};
pub use wanted::plan;

/// The mark of connections that came in through the cable, and of the packets that answer them: one bit, which Istio (0x539) and
/// kube-proxy (0x4000, 0x8000) do not use. Other bits are left as they are.
pub const REPLY_MARK: u32 = 0x2000_0000;

/// The rule that sends the node's packets to its pods; upstream's number.
const PODS_PRIORITY: u32 = 1000;

/// On the node, once for all pods.
pub(crate) const fn pods_rule(family: Family, table: u32) -> Rule {
    Rule::lookup(family, PODS_PRIORITY, table)
}

/// Between a pod and its node: a pair of interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cable {
    /// The pod's end: `veth0`, or the first interface of an overlay network.
    pub pod: Link,
    /// The node's end.
    pub node: Link,
}

/// All that a plan goes by.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What is wanted.
    pub config: &'a Config,
    /// Which way.
    pub way: Way,
    /// The interface that the runtime calls for.
    pub nic: &'a str,
    /// The way between both.
    pub cable: &'a Cable,
    /// The one side.
    pub pod: &'a Pod,
    /// The other side.
    pub node: &'a Node,
}

/// What must change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the pod.
    pub pod: Vec<Change>,
    /// On the node.
    pub node: Vec<Change>,
    /// What could not be done as it was wished, and does no harm.
    pub warnings: Vec<String>,
}

/// Why there is no plan: a sentence for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit(pub String);
