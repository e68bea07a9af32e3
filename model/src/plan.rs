//! The plan: from what was read and what the cluster holds to the ordered writes that make the pools right.
//!
//! Pure: no clock, no client, no log. The same input gives the same plan, and a plan applied in full leaves nothing
//! to do.

mod absence;
mod gate;
mod loss;
mod settle;
mod verdict;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::moment::Moment;
use crate::nic::ProviderName;
use crate::node::{Match, Node};
use crate::pool::{Pool, PoolTarget};
use crate::reading::Reading;
use crate::report::NodeReport;
use crate::template::{InterfaceTemplate, MultusName, MultusTemplate};

pub use absence::Memory;

/// Whether generated attachments chain the coordinator plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinator {
    /// They do.
    Chained,
    /// They do not.
    Absent,
}

/// What the configuration says of one provider's pools.
#[derive(Clone, Debug)]
pub struct ProviderPolicy {
    /// How a NIC's index becomes its name in the guest, where the source has no name itself.
    pub interface: InterfaceTemplate,
    /// How an interface's name becomes the name of its attachment.
    pub multus: MultusTemplate,
    /// Whether pools serve pods that name none.
    pub default: bool,
    /// Whether attachments chain the coordinator.
    pub coordinator: Coordinator,
    /// What is read, for people: recorded on every pool.
    pub source: String,
}

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The providers that are configured. Pools of any other are left alone.
    pub providers: BTreeMap<ProviderName, ProviderPolicy>,
    /// How far apart two readings must begin to count as two.
    pub resync: Duration,
    /// The share of all pool addresses, in percent, that one pass may remove or deny without a second confirmation.
    /// One node's worth is always allowed.
    pub max_share: u8,
}

/// Everything that the plan looks at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The time of this pass.
    pub now: Moment,
    /// The configuration.
    pub policy: &'a Policy,
    /// All nodes of the cluster by name, with the provider that claimed each.
    pub nodes: &'a BTreeMap<String, (Node, Match)>,
    /// What is known of each provider's world.
    pub readings: &'a BTreeMap<ProviderName, Reading>,
    /// All pools of the cluster by name, whoever wrote them.
    pub pools: &'a BTreeMap<String, Pool>,
}

/// One write to one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create it; fail when the name exists.
    Create(PoolTarget),
    /// Make it say this.
    Update(PoolTarget),
    /// Delete it: it holds nothing any more, or its node is gone.
    Delete {
        /// Its name.
        name: String,
        /// The node that must be seen gone, by a fresh read, before the delete; `None` when the NIC's absence decides.
        gone: Option<String>,
        /// Why, for the Event.
        why: String,
    },
}

impl Change {
    /// Returns the name of the pool that changes.
    #[must_use]
    pub fn pool(&self) -> &str {
        match self {
            Self::Create(target) | Self::Update(target) => &target.name,
            Self::Delete { name, .. } => name,
        }
    }
}

/// When a write is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Addresses leave a pool. All of these come first, in any order.
    Release,
    /// Addresses enter a pool. All of these come last, in any order.
    Gain,
}

/// One write and what must have succeeded before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it is due.
    pub phase: Phase,
    /// The write.
    pub change: Change,
    /// Pools whose release must have succeeded: they hold addresses that this write takes over.
    pub needs: BTreeSet<String>,
}

/// An attachment that the pools of some NICs refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultusTarget {
    /// Its namespace and name.
    pub name: MultusName,
    /// The parent interface on each node.
    pub interface: String,
    /// Whether it chains the coordinator.
    pub coordinator: Coordinator,
}

/// The outcome of planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The writes to pools, in order: everything that leaves a pool comes before everything that enters one.
    pub steps: Vec<Step>,
    /// Every pool of ours as it will be after the steps.
    pub pools: BTreeMap<String, PoolTarget>,
    /// The attachments that must exist.
    pub multus: BTreeMap<MultusName, MultusTarget>,
    /// What to say of each node.
    pub nodes: BTreeMap<String, NodeReport>,
    /// What is odd and belongs to no node, one sentence each.
    pub notes: Vec<String>,
    /// How many addresses stay only because too many would go at once.
    pub held_back: u128,
    /// Pools that change again as soon as their pods release addresses.
    pub in_use: BTreeSet<String>,
    /// What to remember until the next pass.
    pub memory: Memory,
}

/// Decides what to write.
#[must_use]
pub fn plan(input: &Input<'_>, memory: Memory) -> Plan {
    let wanted = wanted::collect(input);
    let settled = settle::settle(input, &wanted, memory);
    let nodes = verdict::reports(input, wanted.drafts, &settled);
    let settle::Settled { steps, pools, multus, mut notes, held_back, in_use, memory, .. } = settled;
    for (name, reading) in input.readings {
        notes.extend(reading.warnings().iter().map(|warning| format!("provider {name}: {warning}")));
    }
    Plan { steps, pools, multus, nodes, notes, held_back, in_use, memory }
}

#[cfg(test)]
mod tests;
