//! The machines that the suite asks for, in words that every kind of world understands.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::AddressSet;

use super::{Harness, Limit};

/// A virtual machine, with the name that its Kubernetes node has.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name: a DNS-1123 label.
    pub name: String,
    /// Its NICs; the first is the primary one, with index 0.
    pub nics: Vec<MachineNic>,
}

/// One NIC of a machine.
#[derive(Clone, Debug)]
pub struct MachineNic {
    /// The IPv4 block of its subnet, always beside the same `v6`; `None` only for an IPv6-only NIC in a subnet of its own.
    pub v4: Option<Ipv4Net>,
    /// The IPv6 block of its subnet.
    pub v6: Ipv6Net,
    /// The node's own address, in `v4`; `None` only for an IPv6-only NIC.
    pub primary: Option<IpAddr>,
    /// The pods' single addresses, both families.
    pub addresses: Vec<IpAddr>,
    /// The pods' delegated prefixes, both families.
    pub prefixes: Vec<IpNet>,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a NIC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Pods may use it.
    Pods,
    /// It is marked as somebody else's, in the way of its world.
    Somebody,
}

impl MachineNic {
    /// Returns what pods may have.
    pub(crate) fn pool(&self) -> AddressSet {
        let singles: AddressSet = self.addresses.iter().copied().collect();
        singles.union(&self.prefixes.iter().copied().collect())
    }
}

fn v4(subnet: u8) -> Ipv4Net {
    Ipv4Net::new_assert([10, 66, subnet, 0].into(), 24)
}

fn v6(subnet: u8) -> Ipv6Net {
    Ipv6Net::new_assert([0x2001, 0xdb8, 0, u16::from(subnet), 0, 0, 0, 0].into(), 64)
}

fn host4(subnet: u8, host: u8) -> IpAddr {
    IpAddr::from([10, 66, subnet, host])
}

fn host6(subnet: u8, host: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, u16::from(subnet), 0, 0, 0, host])
}

/// A dual-stack NIC with a primary address and two addresses of each family for pods.
fn plain(subnet: u8, host: u8) -> MachineNic {
    let six = u16::from(host);
    MachineNic {
        v4: Some(v4(subnet)),
        v6: v6(subnet),
        primary: Some(host4(subnet, host)),
        addresses: vec![
            host4(subnet, host + 1),
            host4(subnet, host + 3),
            host6(subnet, six + 1),
            host6(subnet, six + 0x300),
        ],
        prefixes: Vec::new(),
        owner: Owner::Pods,
    }
}

/// Two nodes with two dual-stack NICs each, and one machine for each peculiarity that the world can show.
pub(crate) fn zoo(limits: &BTreeMap<Limit, &'static str>) -> Vec<Machine> {
    let can = |limit: Limit| !limits.contains_key(&limit);
    let machine = |name: &str, nics: Vec<MachineNic>| Machine { name: name.to_owned(), nics };
    let mut zoo = vec![
        machine("node-a", vec![plain(1, 10), plain(2, 10)]),
        machine("node-b", vec![plain(1, 20), plain(2, 20)]),
        machine("without-pods", vec![MachineNic { addresses: Vec::new(), ..plain(1, 30) }]),
        machine(
            "few-ipv4",
            vec![MachineNic { addresses: vec![host6(1, 0x40), host6(1, 0x41)], ..plain(1, 40) }],
        ),
    ];
    if can(Limit::NoIpv6OnlyNics) {
        let addresses = vec![host6(6, 0x50), host6(6, 0x51)];
        let nic = MachineNic { v4: None, primary: None, addresses, ..plain(6, 50) };
        zoo.push(machine("only-ipv6", vec![nic]));
    }
    if can(Limit::NoPrefixes) {
        let v4 = Ipv4Net::new_assert([10, 66, 3, 64].into(), 28);
        let v6 = Ipv6Net::new_assert([0x2001, 0xdb8, 0, 3, 7, 0, 0, 0].into(), 80);
        let nic = MachineNic { prefixes: vec![IpNet::V4(v4), IpNet::V6(v6)], ..plain(3, 10) };
        zoo.push(machine("with-prefixes", vec![nic]));
    }
    if can(Limit::NoForeignNics) {
        let foreign = MachineNic { owner: Owner::Somebody, ..plain(2, 60) };
        zoo.push(machine("shared", vec![plain(1, 60), foreign]));
    }
    if can(Limit::NoBareInstances) {
        zoo.push(machine("bare", Vec::new()));
    }
    zoo
}

/// Machines with one NIC each, `count` of them.
pub(crate) fn crowd<H: Harness>(harness: &H) -> Vec<Machine> {
    (0..harness.crowd())
        .map(|number| {
            // 60 machines with 4 addresses each fill a /24 and leave the ends, where the gateways are, alone.
            let subnet = 100 + u8::try_from(number / 60).unwrap_or(u8::MAX);
            let host = 4 + 4 * u8::try_from(number % 60).unwrap_or_default();
            Machine { name: format!("node-{number}"), nics: vec![plain(subnet, host)] }
        })
        .collect()
}
