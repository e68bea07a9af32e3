//! The static provider: the addresses of each node's NICs as the configuration lists them.

mod build;
mod entry;

use std::collections::{BTreeMap, BTreeSet};

use model::{Claim, InstanceId, Inventory, Node, ProviderName, Scope};
use providers::{Error, Path, Problem, Provider};

pub use entry::{Entry, Nodes};

/// The nodes and NICs that a person wrote down. Asks nobody: what the configuration says is complete and never fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Static {
    name: ProviderName,
    inventory: Inventory,
}

impl Static {
    /// Checks the entries and builds the inventory from them. `at` is where `nodes` lies in the file, for the errors.
    ///
    /// # Errors
    /// Everything that is wrong in the entries, in their order.
    pub fn new(name: ProviderName, nodes: &Nodes, at: &Path) -> Result<Self, Vec<Problem>> {
        build::inventory(nodes, at).map(|inventory| Self { name, inventory })
    }
}

impl Provider for Static {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    /// A node is the instance that bears its name; its providerID does not matter.
    fn claim(&self, node: &Node) -> Claim {
        let id = InstanceId::from(node.name.as_str());
        if self.inventory.instances.contains_key(&id) { Claim::Instance(id) } else { Claim::NotMine }
    }

    async fn list(&self) -> Result<Inventory, Error> {
        Ok(self.inventory.clone())
    }

    async fn describe(&self, instances: &BTreeSet<InstanceId>) -> Result<Inventory, Error> {
        let known = |id: &InstanceId| self.inventory.instances.get(id).map(|nics| (id.clone(), nics.clone()));
        let found: BTreeMap<_, _> = instances.iter().filter_map(known).collect();
        let used: BTreeSet<_> = found.values().flatten().map(|nic| &nic.subnet).collect();
        let subnets = self.inventory.subnets.iter().filter(|(id, _)| used.contains(id));
        let subnets = subnets.map(|(id, subnet)| (id.clone(), subnet.clone())).collect();
        Ok(Inventory {
            scope: Scope::Instances(instances.clone()),
            instances: found,
            subnets,
            warnings: vec![],
        })
    }
}
