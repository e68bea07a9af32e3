//! What one reading of a provider showed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::nic::{InstanceId, Nic, SubnetId};
use crate::subnet::Subnet;

/// How much of the provider's world a reading covers. What lies outside says nothing about existence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Everything: an instance or NIC that is not in it was absent at that time.
    Whole,
    /// Only these instances.
    Instances(BTreeSet<InstanceId>),
}

/// One complete reading: a failed or partial one is an error and never an `Inventory`.
///
/// Serialisable, so that every decision can be replayed from a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// What the reading covers.
    pub scope: Scope,
    /// The NICs by instance. An instance with an empty list exists and has no NIC; one that is not listed does not
    /// exist within `scope`.
    pub instances: BTreeMap<InstanceId, Vec<Nic>>,
    /// Every subnet that a NIC of the reading refers to, as far as the cloud showed it.
    pub subnets: BTreeMap<SubnetId, Subnet>,
    /// What was odd in the reply and left out, one sentence each, with the operand in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Default for Inventory {
    fn default() -> Self {
        Self {
            scope: Scope::Whole,
            instances: BTreeMap::new(),
            subnets: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

impl Inventory {
    /// Returns how many NICs the reading holds.
    #[must_use]
    pub fn nic_count(&self) -> usize {
        self.instances.values().map(Vec::len).sum()
    }
}
