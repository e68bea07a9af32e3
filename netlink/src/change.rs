use rustix::io::Errno;

use crate::address::{DELETE_ADDRESS, NEW_ADDRESS};
use crate::link::{
    DELETE_LINK, IFLA_IFNAME, head, set_down, set_mac, set_master, set_mtu, set_tx_queue_len, set_up,
};
use crate::message::text;
use crate::neighbour::{DELETE_NEIGHBOUR, NEW_NEIGHBOUR};
use crate::route::{DELETE_ROUTE, NEW_ROUTE};
use crate::rule::{DELETE_RULE, NEW_RULE};
use crate::socket::Request;
use crate::{Address, Bond, BondOption, MAIN, Mac, Neighbour, Route, Rule, Vlan};

/// One thing to be changed in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A route is to be there.
    AddRoute(Route),
    /// A route is to go.
    RemoveRoute(Route),
    /// A rule is to be there.
    AddRule(Rule),
    /// A rule is to go.
    RemoveRule(Rule),
    /// A neighbour is to be known, whatever was known of it before.
    SetNeighbour(Neighbour),
    /// A neighbour is to be forgotten.
    RemoveNeighbour(Neighbour),
    /// An address is to be there.
    AddAddress(Address),
    /// An address is to go.
    RemoveAddress(Address),
    /// An interface is to be up.
    SetUp(u32),
    /// An interface is to be down.
    SetDown(u32),
    /// An interface is to take packets of another length.
    SetMtu {
        /// Its number.
        device: u32,
        /// The new length, in bytes.
        mtu: u32,
        /// The old one.
        before: u32,
    },
    /// An interface is to be a part of a bond, bridge or the like. A bond takes only one that is down.
    SetMaster {
        /// Its number.
        device: u32,
        /// That of what it is to be a part of; zero is nothing.
        master: u32,
        /// The old one.
        before: u32,
    },
    /// A VLAN is to be there.
    AddVlan(Vlan),
    /// A bond is to be there.
    AddBond(Bond),
    /// A bond is to have another setting.
    SetBondOption {
        /// Its number.
        device: u32,
        /// The setting.
        option: BondOption,
    },
    /// An interface is to have another MAC address.
    SetMac {
        /// Its number.
        device: u32,
        /// The new one.
        mac: Mac,
        /// The old one, for whoever takes it back.
        before: Mac,
    },
    /// An interface is to have another length of its queue.
    SetTxQueueLen {
        /// Its number.
        device: u32,
        /// The new one, in packets.
        length: u32,
        /// The old one.
        before: u32,
    },
    /// An interface is to go, by its name.
    RemoveLink(String),
}

impl Change {
    /// What takes it back; nothing for an interface that is gone, or is up, and for a bond's setting.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        Some(match self.clone() {
            Self::AddRoute(route) => Self::RemoveRoute(route),
            Self::RemoveRoute(route) => Self::AddRoute(route),
            Self::AddRule(rule) => Self::RemoveRule(rule),
            Self::RemoveRule(rule) => Self::AddRule(rule),
            Self::SetNeighbour(neighbour) => Self::RemoveNeighbour(neighbour),
            Self::RemoveNeighbour(neighbour) => Self::SetNeighbour(neighbour),
            Self::AddAddress(address) => Self::RemoveAddress(address),
            Self::RemoveAddress(address) => Self::AddAddress(address),
            Self::SetMac { device, mac, before } => Self::SetMac { device, mac: before, before: mac },
            Self::SetTxQueueLen { device, length, before } => {
                Self::SetTxQueueLen { device, length: before, before: length }
            }
            Self::SetDown(device) => Self::SetUp(device),
            Self::SetMtu { device, mtu, before } => Self::SetMtu { device, mtu: before, before: mtu },
            Self::SetMaster { device, master, before } => {
                Self::SetMaster { device, master: before, before: master }
            }
            Self::AddVlan(Vlan { name, .. }) | Self::AddBond(Bond { name, .. }) => Self::RemoveLink(name),
            Self::SetUp(_) | Self::RemoveLink(_) | Self::SetBondOption { .. } => return None,
        })
    }

    pub(crate) fn request(&self) -> Request {
        match self {
            Self::AddRoute(route) => route.request(NEW_ROUTE),
            Self::RemoveRoute(route) => route.request(DELETE_ROUTE),
            Self::AddRule(rule) => rule.request(NEW_RULE),
            Self::RemoveRule(rule) => rule.request(DELETE_RULE),
            Self::SetNeighbour(neighbour) => neighbour.request(NEW_NEIGHBOUR),
            Self::RemoveNeighbour(neighbour) => neighbour.request(DELETE_NEIGHBOUR),
            Self::AddAddress(address) => address.request(NEW_ADDRESS),
            Self::RemoveAddress(address) => address.request(DELETE_ADDRESS),
            Self::SetUp(device) => set_up(*device),
            Self::SetDown(device) => set_down(*device),
            Self::SetMtu { device, mtu, .. } => set_mtu(*device, *mtu),
            Self::SetMaster { device, master, .. } => set_master(*device, *master),
            Self::AddVlan(vlan) => vlan.request(),
            Self::AddBond(bond) => bond.request(),
            Self::SetBondOption { device, option } => option.request(*device),
            Self::SetMac { device, mac, .. } => set_mac(*device, *mac),
            Self::SetTxQueueLen { device, length, .. } => set_tx_queue_len(*device, *length),
            Self::RemoveLink(name) => {
                let mut payload = head(0);
                text(&mut payload, IFLA_IFNAME, name);
                Request { kind: DELETE_LINK, flags: 0, payload }
            }
        }
    }

    /// Whether the refusal only says that it is so already.
    pub(crate) fn is_so_already(&self, errno: Errno) -> bool {
        match self {
            Self::AddRoute(_) | Self::AddRule(_) | Self::AddAddress(_) => errno == Errno::EXIST,
            Self::RemoveRoute(_) => matches!(errno, Errno::SRCH | Errno::NODEV),
            Self::RemoveRule(_) | Self::RemoveNeighbour(_) => matches!(errno, Errno::NOENT | Errno::NODEV),
            Self::RemoveAddress(_) => matches!(errno, Errno::ADDRNOTAVAIL | Errno::NODEV),
            Self::RemoveLink(_) => errno == Errno::NODEV,
            // A VLAN or bond of that name need not be the same.
            Self::AddVlan(_)
            | Self::AddBond(_)
            | Self::SetUp(_)
            | Self::SetDown(_)
            | Self::SetMtu { .. }
            | Self::SetMaster { .. }
            | Self::SetBondOption { .. }
            | Self::SetNeighbour(_)
            | Self::SetMac { .. }
            | Self::SetTxQueueLen { .. } => false,
        }
    }

    /// Says it in words that complete "cannot …", in iproute2's terms; `name` knows the interfaces by their numbers.
    #[must_use]
    pub fn describe(&self, name: &dyn Fn(u32) -> String) -> String {
        match self {
            Self::AddRoute(it) => format!("add the route {}", route(it, name)),
            Self::RemoveRoute(it) => format!("remove the route {}", route(it, name)),
            Self::AddRule(it) => format!("add the {} rule {}", it.family, rule(it)),
            Self::RemoveRule(it) => format!("remove the {} rule {}", it.family, rule(it)),
            Self::SetNeighbour(it) => {
                format!("set the neighbour {} dev {} lladdr {}", it.address, name(it.device), it.mac)
            }
            Self::RemoveNeighbour(it) => {
                format!("remove the neighbour {} dev {}", it.address, name(it.device))
            }
            Self::AddAddress(it) => {
                format!("add the address {}/{} dev {}", it.address, it.prefix, name(it.device))
            }
            Self::RemoveAddress(it) => {
                format!("remove the address {}/{} dev {}", it.address, it.prefix, name(it.device))
            }
            Self::SetUp(device) => format!("set the interface {} up", name(*device)),
            Self::SetDown(device) => format!("set the interface {} down", name(*device)),
            Self::SetMtu { device, mtu, .. } => {
                format!("set the MTU of the interface {} to {mtu}", name(*device))
            }
            Self::SetMaster { device, master: 0, before } => {
                format!("take the interface {} out of {}", name(*device), name(*before))
            }
            Self::SetMaster { device, master, .. } => {
                format!("make the interface {} a part of {}", name(*device), name(*master))
            }
            Self::AddVlan(it) => {
                format!("create the interface {}, VLAN {} of {}", it.name, it.id, name(it.parent))
            }
            Self::AddBond(it) => format!("create the bond {} of mode {}", it.name, it.mode),
            Self::SetBondOption { device, option } => {
                format!("set the option number {} of the bond {}", option.attribute, name(*device))
            }
            Self::SetMac { device, mac, .. } => {
                format!("set the MAC address of the interface {} to {mac}", name(*device))
            }
            Self::SetTxQueueLen { device, length, .. } => {
                format!("set the queue length of the interface {} to {length}", name(*device))
            }
            Self::RemoveLink(name) => format!("remove the interface {name}"),
        }
    }
}

fn route(route: &Route, name: &dyn Fn(u32) -> String) -> String {
    let mut words = vec![route.to.to_string()];
    words.extend(route.gateway.map(|gateway| format!("via {gateway}")));
    words.push(format!("dev {}", name(route.device)));
    words.extend(route.source.map(|source| format!("src {source}")));
    if route.table != MAIN {
        words.push(format!("table {}", route.table));
    }
    words.join(" ")
}

fn rule(rule: &Rule) -> String {
    let mut words = vec![format!("priority {}", rule.priority)];
    words.extend(rule.from.map(|from| format!("from {from}")));
    words.extend(rule.mark.map(|(mark, bits)| format!("fwmark {mark:#x}/{bits:#x}")));
    words.extend(rule.input.as_ref().map(|input| format!("iif {input}")));
    words.push(format!("lookup {}", rule.table));
    words.join(" ")
}
