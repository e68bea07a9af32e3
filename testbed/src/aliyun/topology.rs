//! Ready-made clouds: the seed's two nodes, and large ones for benches.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::cloud::Cloud;
use super::refusal::Refusal;
use super::world::NicSpec;

/// The access key id that every ready-made cloud knows.
pub const KEY: &str = "LTAI5tSimulatedKey00";
/// Its secret; it opens nothing but the simulator.
pub const SECRET: &str = "simulated-secret-opens-nothing";

/// The zone of every ready-made cloud.
const ZONE: &str = "cn-hangzhou-i";

struct Switch {
    id: String,
    cidr: Ipv4Net,
    ipv6_cidr: Ipv6Net,
}

struct Card {
    spec: NicSpec,
}

struct Machine {
    id: String,
    name: String,
    kind: String,
    cards: Vec<Card>,
}

/// A description of a cloud that [`build`](Self::build) makes.
pub struct Topology {
    vpc: String,
    cidr: Ipv4Net,
    ipv6_cidr: Ipv6Net,
    switches: Vec<Switch>,
    machines: Vec<Machine>,
}

impl Topology {
    /// The example of the seed: VPC `vpc-bp1seed`, vSwitches `vsw-bp1seed0` (172.31.192.0/20) and `vsw-bp1seed1`
    /// (192.168.0.0/24), instances `i-bp1master` and `i-bp1worker` (node names `master`, `worker`), each with the NICs
    /// `eni-bp1<node>0` (primary, node address .183 / .184) and `eni-bp1<node>1` (secondary, own address .154 / .155).
    ///
    /// Five secondary IPv4 addresses a NIC, as the seed has them, and three IPv6 addresses a NIC.
    #[must_use]
    pub fn seed() -> Self {
        let first = |last: u8| Ipv4Addr::new(172, 31, 199, last);
        let second = |last: u8| Ipv4Addr::new(192, 168, 0, last);
        let first6 = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0xc0ac, 0, 0, 0, last);
        let second6 = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0xc0c0, 0, 0, 0, last);
        let mut machines = Vec::new();
        let nodes: [(&str, u8, u8, u8, u8, u16, u16); 2] =
            [("master", 183, 185, 154, 156, 0x185, 0x156), ("worker", 184, 190, 155, 161, 0x190, 0x161)];
        for (name, own0, from0, own1, from1, from06, from16) in nodes {
            let ips0 = (from0..from0 + 5).map(|n| IpAddr::V4(first(n)));
            let ips0 = ips0.chain((from06..from06 + 3).map(|n| IpAddr::V6(first6(n))));
            let ips1 = (from1..from1 + 5).map(|n| IpAddr::V4(second(n)));
            let ips1 = ips1.chain((from16..from16 + 3).map(|n| IpAddr::V6(second6(n))));
            let eth0 = NicSpec::primary(format!("eni-bp1{name}0"), "vsw-bp1seed0");
            let eth1 = NicSpec::secondary(format!("eni-bp1{name}1"), "vsw-bp1seed1").device_index(Some(1));
            machines.push(Machine {
                id: format!("i-bp1{name}"),
                name: name.to_owned(),
                kind: "ecs.g7.xlarge".to_owned(),
                cards: vec![
                    Card {
                        spec: eth0
                            .primary_ip(first(own0))
                            .mac(format!("00:16:3e:00:00:{own0:02x}"))
                            .ips(ips0),
                    },
                    Card {
                        spec: eth1
                            .primary_ip(second(own1))
                            .mac(format!("00:16:3e:00:01:{own1:02x}"))
                            .ips(ips1),
                    },
                ],
            });
        }
        let net6 = |group, length| {
            Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0x31, group, 0, 0, 0, 0), length)
        };
        Self {
            vpc: "vpc-bp1seed".to_owned(),
            // A VPC may have further blocks; the API shows the first one only.
            cidr: Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
            ipv6_cidr: net6(0xc000, 56),
            switches: vec![
                Switch {
                    id: "vsw-bp1seed0".to_owned(),
                    cidr: Ipv4Net::new_assert(Ipv4Addr::new(172, 31, 192, 0), 20),
                    ipv6_cidr: net6(0xc0ac, 64),
                },
                Switch {
                    id: "vsw-bp1seed1".to_owned(),
                    cidr: Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 24),
                    ipv6_cidr: net6(0xc0c0, 64),
                },
            ],
            machines,
        }
    }

    /// Gives each machine of [`seed`](Self::seed) a third NIC: vSwitch `vsw-bp1seed2` (192.168.1.0/24), NICs `eni-bp1<node>2` (own address
    /// .154 / .155) with five IPv4 and three IPv6 addresses.
    #[must_use]
    pub fn with_third_nic(mut self) -> Self {
        const SWITCH: &str = "vsw-bp1seed2";
        let subnet6 = Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0xc0c1, 0, 0, 0, 0);
        let at = |last: u8| Ipv4Addr::new(192, 168, 1, last);
        let at6 = |last: u128| Ipv6Addr::from(u128::from(subnet6) + last);
        for (machine, (own, from)) in self.machines.iter_mut().zip([(154, 156), (155, 161)]) {
            let ips = (from..from + 5).map(|last| IpAddr::V4(at(last)));
            let ips = ips.chain((from..from + 3).map(|last| IpAddr::V6(at6(last.into()))));
            let spec = NicSpec::secondary(format!("eni-bp1{}2", machine.name), SWITCH).device_index(Some(2));
            let spec = spec.primary_ip(at(own)).mac(format!("00:16:3e:00:02:{own:02x}")).ips(ips);
            machine.cards.push(Card { spec });
        }
        self.switches.push(Switch {
            id: SWITCH.to_owned(),
            cidr: Ipv4Net::new_assert(at(0), 24),
            ipv6_cidr: Ipv6Net::new_assert(subnet6, 64),
        });
        self
    }

    /// One machine in a data centre: VPC `vpc-bp1<name>`, instance `i-bp1<name>` (node name `<name>`) and, for each block of a subnet and
    /// address of the node in it, a vSwitch `vsw-bp1<name><N>` with that block and a NIC `eni-bp1<name><N>` with that address.
    ///
    /// NICs have no further addresses: what pods get is written into pools by hand.
    #[must_use]
    pub fn one_node(name: &str, nics: &[(Ipv4Net, Ipv4Addr)]) -> Self {
        let (mut switches, mut cards) = (Vec::new(), Vec::new());
        for ((cidr, own), number) in nics.iter().zip(0_u8..) {
            let id = format!("vsw-bp1{name}{number}");
            let nic = format!("eni-bp1{name}{number}");
            let spec = match number {
                0 => NicSpec::primary(nic, &id),
                _ => NicSpec::secondary(nic, &id).device_index(Some(u32::from(number))),
            };
            let [.., last] = own.octets();
            cards.push(Card {
                spec: spec.primary_ip(*own).mac(format!("00:16:3e:00:{number:02x}:{last:02x}")),
            });
            let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0x33, u16::from(number), 0, 0, 0, 0);
            switches.push(Switch { id, cidr: *cidr, ipv6_cidr: Ipv6Net::new_assert(ipv6, 64) });
        }
        Self {
            vpc: format!("vpc-bp1{name}"),
            // A VPC may have further blocks; the API shows the first one only.
            cidr: nics.first().map(|(cidr, _)| *cidr).unwrap_or_default(),
            ipv6_cidr: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0x33, 0, 0, 0, 0, 0), 56),
            switches,
            machines: vec![Machine {
                id: format!("i-bp1{name}"),
                name: name.to_owned(),
                kind: "ecs.g7.xlarge".to_owned(),
                cards,
            }],
        }
    }

    /// A cloud of many nodes: VPC `vpc-bp1large`, one /16 vSwitch `vsw-bp1large<NNN>` per 100 nodes and NIC, instances
    /// `i-bp1large<NNNNN>` (node names `node-<NNNNN>`), NICs `eni-bp1large<NNNNN>x<N>`. Each NIC has `addresses_per_nic`
    /// secondary IPv4 addresses and as many IPv6 addresses, consecutive ones.
    ///
    /// The blocks start at 10.0.0.0/16: up to 25,600 vSwitch shares fit, beyond them vSwitches repeat their blocks.
    #[must_use]
    pub fn large(nodes: u16, nics: u8, addresses_per_nic: u16) -> Self {
        let mut switches = BTreeMap::new();
        let mut machines = Vec::new();
        let width = u32::from(addresses_per_nic) + 1;
        for node in 0..nodes {
            let mut cards = Vec::new();
            for nic in 0..nics {
                let number = node / 100 * u16::from(nics) + u16::from(nic);
                let [_, block] = number.to_be_bytes();
                let base = u32::from(Ipv4Addr::new(10, block, 0, 0));
                let group = 0xd000_u16.wrapping_add(number);
                let base6 = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0x32, group, 0, 0, 0, 0));
                let switch = switches.entry(number).or_insert_with(|| Switch {
                    id: format!("vsw-bp1large{number:03}"),
                    cidr: Ipv4Net::new_assert(Ipv4Addr::from(base), 16),
                    ipv6_cidr: Ipv6Net::new_assert(Ipv6Addr::from(base6), 64),
                });
                let start = 1 + u32::from(node % 100) * width;
                let own = Ipv4Addr::from(base + start);
                let ipv4 = (1..width).map(|n| IpAddr::V4(Ipv4Addr::from(base + start + n)));
                let ipv6 = (1..width).map(|n| IpAddr::V6(Ipv6Addr::from(base6 + u128::from(start + n))));
                let id = format!("eni-bp1large{node:05}x{nic}");
                let spec = if nic == 0 {
                    NicSpec::primary(id, &switch.id)
                } else {
                    NicSpec::secondary(id, &switch.id).device_index(Some(u32::from(nic)))
                };
                let [high, low] = node.to_be_bytes();
                let spec = spec.primary_ip(own).mac(format!("00:16:3e:{nic:02x}:{high:02x}:{low:02x}"));
                cards.push(Card { spec: spec.ips(ipv4.chain(ipv6)) });
            }
            machines.push(Machine {
                id: format!("i-bp1large{node:05}"),
                name: format!("node-{node:05}"),
                kind: "ecs.g7.16xlarge".to_owned(),
                cards,
            });
        }
        Self {
            vpc: "vpc-bp1large".to_owned(),
            cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
            ipv6_cidr: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0x32, 0, 0, 0, 0, 0), 48),
            switches: switches.into_values().collect(),
            machines,
        }
    }

    /// Returns the VPC's id.
    #[must_use]
    pub fn vpc(&self) -> &str {
        &self.vpc
    }

    /// Returns node name and provider id of every instance: what Nodes of the cluster must carry.
    #[must_use]
    pub fn nodes(&self) -> Vec<(String, String)> {
        self.machines.iter().map(|it| (it.name.clone(), format!("cn-hangzhou.{}", it.id))).collect()
    }

    /// Makes the cloud, with the key [`KEY`]/[`SECRET`], and has the metadata service serve the first instance.
    ///
    /// # Errors
    /// Never for the ready-made ones: every id that they name is theirs.
    pub fn build(self, cloud: &mut Cloud) -> Result<(), Refusal> {
        let Self { vpc, cidr, ipv6_cidr, switches, machines } = self;
        cloud.add_key(KEY, SECRET);
        cloud.add_vpc(&vpc, cidr, Some(ipv6_cidr));
        for Switch { id, cidr, ipv6_cidr } in switches {
            cloud.add_vswitch(id, &vpc, ZONE, cidr, Some(ipv6_cidr));
        }
        for Machine { id, name, kind, cards } in machines {
            if let Some(Card { spec }) = cards.first() {
                let vswitch = spec.vswitch.clone();
                cloud.add_instance(&id, name, kind, &vswitch)?;
            }
            for Card { spec } in cards {
                cloud.attach(&id, spec)?;
            }
            cloud.metadata.instance.get_or_insert(id);
        }
        Ok(())
    }
}
