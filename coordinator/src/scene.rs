//! What there is: the pod's namespace and the node's, as the kernel tells it.

use std::net::{IpAddr, Ipv6Addr};

use netlink::{Address, Error, Family, Link, Neighbour, Route, Rtnetlink, Rule};

/// What a pod's namespace holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// All interfaces.
    pub links: Vec<Link>,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// All routes of all tables.
    pub routes: Vec<Route>,
    /// All rules.
    pub rules: Vec<Rule>,
    /// The permanent neighbours.
    pub neighbours: Vec<Neighbour>,
}

impl Pod {
    /// Asks the kernel for all of it.
    pub fn read(netlink: &mut Rtnetlink) -> Result<Self, Error> {
        Ok(Self {
            links: netlink.links()?,
            addresses: netlink.addresses()?,
            routes: netlink.routes()?,
            rules: netlink.rules()?,
            neighbours: netlink.neighbours(None)?,
        })
    }

    /// The interface of that name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The addresses of an interface that are known beyond its link.
    pub fn addresses_of(&self, device: u32) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |it| it.device == device && !is_link_local(it.address))
    }

    /// The address of an interface that packets can be sent from.
    #[must_use]
    pub fn source(&self, device: u32, family: Family) -> Option<IpAddr> {
        let mut usable = self.addresses_of(device).filter(|it| it.usable && Family::of(it.address) == family);
        usable.next().map(|it| it.address)
    }

    /// Whether an interface has an address of the family.
    #[must_use]
    pub fn speaks(&self, device: u32, family: Family) -> bool {
        self.addresses_of(device).any(|it| Family::of(it.address) == family)
    }
}

/// What of a node matters to one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The addresses by which the pod reaches the node: see [`reachable`].
    pub addresses: Vec<IpAddr>,
    /// The routes of the table in which the ways to pods are.
    pub routes: Vec<Route>,
    /// All rules.
    pub rules: Vec<Rule>,
    /// The permanent neighbours on the node's end of the pod's cable.
    pub neighbours: Vec<Neighbour>,
}

/// Interfaces of container networks: what is on them is no address of the node. Those are upstream's; each is how a name begins.
const NOT_OF_NODE: [&str; 12] = [
    "docker",
    "cbr",
    "dummy",
    "virbr",
    "lxcbr",
    "veth",
    "cali",
    "flannel",
    "kube-ipvs",
    "cni",
    "vx-submariner",
    "cilium",
];

/// The addresses by which pods reach their node: first those that the node itself would send from to the pod, then all others of
/// its interfaces that are no container network's.
#[must_use]
pub fn reachable(toward_pod: &[IpAddr], links: &[Link], addresses: &[Address]) -> Vec<IpAddr> {
    let counts = |device: u32| {
        let link = links.iter().find(|link| link.index == device);
        link.is_some_and(|link| {
            link.name != "lo" && !NOT_OF_NODE.iter().any(|prefix| link.name.starts_with(prefix))
        })
    };
    let others = addresses.iter().filter(|it| counts(it.device)).map(|it| it.address);
    let mut all = Vec::new();
    for address in toward_pod.iter().copied().chain(others) {
        if !is_link_local(address) && !address.is_loopback() && !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Whether an address is known on its link only. IPv4's 169.254.0.0/16 is not meant: nodes have resolvers and metadata there.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(&address))
}
