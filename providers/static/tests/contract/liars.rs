//! The conformance suite finds what it is there to find: each provider here breaks one clause.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Claim, InstanceId, Inventory, Node, ProviderName, Scope};
use providers::conformance::{self, Fault, Harness, Limit, Machine, World};
use providers::{Error, Provider};

use super::inventories::{self, Inventories};

/// Opens the worlds of inventory files with providers that pass every reading through `lie`.
struct Liars {
    lie: fn(Inventory) -> Inventory,
}

struct Deceived {
    world: inventories::World,
    provider: Liar,
}

struct Liar {
    inner: providers_static::Static,
    lie: fn(Inventory) -> Inventory,
}

impl Harness for Liars {
    type World = Deceived;

    fn limits(&self) -> BTreeMap<Limit, &'static str> {
        Inventories.limits()
    }

    fn gateway(&self, block: IpNet) -> Option<IpAddr> {
        Inventories.gateway(block)
    }

    fn crowd(&self) -> usize {
        Inventories.crowd()
    }

    async fn arrange(&self, name: &ProviderName, machines: &[Machine]) -> Deceived {
        let world = Inventories.arrange(name, machines).await;
        let inner = world.provider().clone();
        Deceived { world, provider: Liar { inner, lie: self.lie } }
    }
}

impl World for Deceived {
    type Provider = Liar;

    fn provider(&self) -> &Liar {
        &self.provider
    }

    fn node(&self, machine: &str) -> Node {
        self.world.node(machine)
    }

    fn unknown_instance(&self) -> InstanceId {
        self.world.unknown_instance()
    }

    async fn break_with(&self, fault: Option<Fault>) {
        self.world.break_with(fault).await;
    }

    fn secrets(&self) -> Vec<String> {
        self.world.secrets()
    }
}

impl Provider for Liar {
    fn name(&self) -> &ProviderName {
        self.inner.name()
    }

    fn claim(&self, node: &Node) -> Claim {
        self.inner.claim(node)
    }

    async fn list(&self) -> Result<Inventory, Error> {
        self.inner.list().await.map(self.lie)
    }

    async fn describe(&self, instances: &BTreeSet<InstanceId>) -> Result<Inventory, Error> {
        self.inner.describe(instances).await.map(self.lie)
    }
}

#[tokio::test]
#[should_panic(expected = "the instances are exactly the machines")]
async fn who_stops_after_a_page_is_found() {
    let lie = |mut inventory: Inventory| {
        inventory.instances = inventory.instances.into_iter().take(500).collect();
        inventory
    };
    conformance::run(&Liars { lie }).await;
}

#[tokio::test]
#[should_panic(expected = "the NICs of node-a are as arranged")]
async fn who_loses_an_address_is_found() {
    let lie = |mut inventory: Inventory| {
        let lost = ["10.66.1.11"].iter().filter_map(|text| text.parse::<IpAddr>().ok()).collect();
        for nic in inventory.instances.values_mut().flatten() {
            nic.addresses = nic.addresses.difference(&lost);
        }
        inventory
    };
    conformance::run(&Liars { lie }).await;
}

#[tokio::test]
#[should_panic(expected = "a description covers what was asked")]
async fn who_passes_some_off_as_all_is_found() {
    let lie = |inventory: Inventory| Inventory { scope: Scope::Whole, ..inventory };
    conformance::run(&Liars { lie }).await;
}

#[tokio::test]
#[should_panic(expected = "is in the reading")]
async fn who_forgets_the_subnets_is_found() {
    let lie = |inventory: Inventory| Inventory { subnets: BTreeMap::new(), ..inventory };
    conformance::run(&Liars { lie }).await;
}
