//! Worlds of the conformance suite as inventory files.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{InstanceId, Node, ProviderName};
use providers::Path;
use providers::conformance::{self, Fault, Harness, Limit, Machine, MachineNic};
use providers_static::{Entry, Nodes, Static};

pub(crate) struct Inventories;

pub(crate) struct World(Static);

impl Harness for Inventories {
    type World = World;

    fn limits(&self) -> BTreeMap<Limit, &'static str> {
        let asks_nobody = "it asks nobody, so nothing can fail";
        let faults = Fault::ALL.map(|fault| (Limit::Never(fault), asks_nobody));
        let others = [
            (Limit::NoPrimaryAddresses, "only the pods' addresses are listed"),
            (Limit::NoForeignNics, "a NIC that is somebody else's is not listed"),
            (Limit::NoBareInstances, "a node without NICs is refused as a slip"),
            (Limit::NoMacs, "an Ethernet address is optional"),
        ];
        faults.into_iter().chain(others).collect()
    }

    fn gateway(&self, block: IpNet) -> Option<IpAddr> {
        block.hosts().nth(1)
    }

    fn crowd(&self) -> usize {
        // There are no pages; as many NICs as three of a cloud's.
        1_500
    }

    async fn arrange(&self, name: &ProviderName, machines: &[Machine]) -> World {
        let entries = |machine: &Machine| {
            let nics = machine.nics.iter().enumerate();
            nics.flat_map(|(index, nic)| self.entries(&format!("eth{index}"), nic)).collect()
        };
        let nodes: Nodes = machines.iter().map(|machine| (machine.name.clone(), entries(machine))).collect();
        World(
            Static::new(name.clone(), &nodes, &Path::default()).expect("the suite's machines are consistent"),
        )
    }
}

impl Inventories {
    fn entries(&self, interface: &str, nic: &MachineNic) -> Vec<Entry> {
        let blocks = nic.v4.map(IpNet::V4).into_iter().chain([IpNet::V6(nic.v6)]);
        let entry = |block: IpNet| Entry {
            interface: interface.to_owned(),
            subnet: block.to_string(),
            gateway: self.gateway(block).map(|gateway| gateway.to_string()),
            ips: (nic.addresses.iter().filter(|ip| block.contains(*ip)).map(ToString::to_string))
                .chain(nic.prefixes.iter().filter(|net| block.contains(*net)).map(ToString::to_string))
                .collect(),
            mac: None,
        };
        blocks.map(entry).collect()
    }
}

impl conformance::World for World {
    type Provider = Static;

    fn provider(&self) -> &Static {
        &self.0
    }

    fn node(&self, machine: &str) -> Node {
        Node { name: machine.to_owned(), uid: String::new(), provider_id: None, addresses: Vec::new() }
    }

    fn unknown_instance(&self) -> InstanceId {
        InstanceId::from("nowhere")
    }

    async fn break_with(&self, fault: Option<Fault>) {
        unreachable!("{fault:?} is a declared limit");
    }

    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}
