//! From entries to an inventory, or to the list of everything that is wrong with them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{
    AddressRange, AddressSet, Family, InstanceId, Inventory, Mac, Nic, NicId, NicUse, Subnet, SubnetId,
    check_interface,
};
use providers::{Path, Problem};

use crate::entry::{Entry, Nodes};

/// One entry with every text in it parsed.
struct Parsed {
    at: Path,
    interface: String,
    subnet: IpNet,
    gateway: Option<IpAddr>,
    ranges: Vec<(Path, AddressRange)>,
    mac: Option<Mac>,
}

/// Builds the inventory of the whole scope.
pub(crate) fn inventory(nodes: &Nodes, at: &Path) -> Result<Inventory, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut parsed: BTreeMap<&str, Vec<Parsed>> = BTreeMap::new();
    for (name, entries) in nodes {
        let at = at.key(name);
        if name.is_empty() {
            problems.push(Problem::new(at.clone(), "a node's name is empty"));
        }
        if entries.is_empty() {
            let message = format!("node {name:?} has no NIC; list one, or leave the node out");
            problems.push(Problem::new(at.clone(), message));
        }
        let entries = entries.iter().enumerate();
        let entries = entries.filter_map(|(i, entry)| parse(entry, &at.index(i), &mut problems)).collect();
        parsed.insert(name, entries);
    }
    let all = || parsed.values().flatten();
    check_subnets(all(), &mut problems);
    check_addresses(all(), &mut problems);

    let mut inventory = Inventory::default();
    for (node, entries) in &parsed {
        let nics = nics(node, entries, &mut inventory.subnets, &mut problems);
        inventory.instances.insert(InstanceId::from(*node), nics);
    }
    if problems.is_empty() { Ok(inventory) } else { Err(problems) }
}

/// Parses one entry; `None` when its interface or subnet is unusable, so that nothing can be said about the rest.
fn parse(entry: &Entry, at: &Path, problems: &mut Vec<Problem>) -> Option<Parsed> {
    let Entry { interface, subnet, gateway, ips, mac } = entry;
    let mut report = |path: Path, message: String| problems.push(Problem::new(path, message));
    if let Err(error) = check_interface(interface) {
        report(at.key("interface"), error.to_string());
    }
    let mac = mac.as_ref().and_then(|text| {
        text.parse().map_err(|error: model::MacError| report(at.key("mac"), error.to_string())).ok()
    });
    let Ok(net) = subnet.parse::<IpNet>() else {
        report(at.key("subnet"), format!("{subnet:?} is not a CIDR like 192.0.2.0/24 or 2001:db8::/64"));
        return None;
    };
    if net != net.trunc() {
        report(at.key("subnet"), format!("{subnet} has host bits set; the subnet is {}", net.trunc()));
        return None;
    }
    let gateway = gateway.as_ref().and_then(|text| match text.parse::<IpAddr>() {
        Ok(address) if net.contains(&address) => Some(address),
        Ok(address) => {
            report(at.key("gateway"), format!("gateway {address} is outside subnet {net}"));
            None
        }
        Err(_) => {
            report(at.key("gateway"), format!("{text:?} is not an IP address"));
            None
        }
    });
    let mut ranges = Vec::new();
    for (i, text) in ips.iter().enumerate() {
        let at = at.key("ips").index(i);
        match text.parse::<AddressRange>() {
            Err(error) => report(at, error.to_string()),
            Ok(range) if !(net.contains(&range.first()) && net.contains(&range.last())) => {
                report(at, format!("{range} is outside subnet {net}"));
            }
            Ok(range) => {
                if let Some(gateway) = gateway.filter(|gateway| range.contains(*gateway)) {
                    report(at.clone(), format!("{range} contains the gateway {gateway}"));
                }
                ranges.push((at, range));
            }
        }
    }
    Some(Parsed { at: at.clone(), interface: interface.clone(), subnet: net, gateway, ranges, mac })
}

/// Subnets are equal or disjoint, and one subnet has one gateway: Spiderpool's webhook refuses pools otherwise.
fn check_subnets<'a>(entries: impl Iterator<Item = &'a Parsed>, problems: &mut Vec<Problem>) {
    let mut first: BTreeMap<IpNet, &Parsed> = BTreeMap::new();
    for entry in entries {
        let known = first.entry(entry.subnet).or_insert(entry);
        if known.gateway != entry.gateway {
            let show = |gateway: Option<IpAddr>| gateway.map_or("none".to_owned(), |g| g.to_string());
            problems.push(Problem::new(
                entry.at.key("gateway"),
                format!(
                    "subnet {} has gateway {} here, but {} at {}",
                    entry.subnet,
                    show(entry.gateway),
                    show(known.gateway),
                    known.at
                ),
            ));
        }
    }
    // In IpNet's order a block comes right before the blocks inside it, so the last block that was not inside another
    // one is the only one to compare with.
    let mut outer: Option<(IpNet, &Parsed)> = None;
    for (net, entry) in first {
        match outer {
            Some((block, other)) if block.contains(&net) => problems.push(Problem::new(
                entry.at.key("subnet"),
                format!("{net} overlaps {block} at {}; subnets must be equal or disjoint", other.at),
            )),
            _ => outer = Some((net, entry)),
        }
    }
}

/// No address is listed twice, on whatever NIC: two pods would get it.
fn check_addresses<'a>(entries: impl Iterator<Item = &'a Parsed>, problems: &mut Vec<Problem>) {
    let mut ranges: Vec<&(Path, AddressRange)> = entries.flat_map(|entry| &entry.ranges).collect();
    ranges.sort_by_key(|(_, range)| *range);
    let mut top: Option<&(Path, AddressRange)> = None;
    for item @ (at, range) in ranges {
        if let Some((other_at, other)) = top
            && other.contains(range.first())
        {
            problems.push(Problem::new(
                at.clone(),
                format!("{range} shares addresses with {other} at {other_at}"),
            ));
        }
        if top.is_none_or(|(_, other)| other.last() < range.last()) {
            top = Some(item);
        }
    }
}

/// Merges the entries of one node by interface, in the order in which the interfaces first appear.
fn nics(
    node: &str,
    entries: &[Parsed],
    subnets: &mut BTreeMap<SubnetId, Subnet>,
    problems: &mut Vec<Problem>,
) -> Vec<Nic> {
    let mut names: Vec<&str> = Vec::new();
    for entry in entries {
        if !names.contains(&entry.interface.as_str()) {
            names.push(&entry.interface);
        }
    }
    let mut nics = Vec::new();
    for (index, name) in (0..).zip(names) {
        let mut halves: BTreeMap<Family, &Parsed> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.interface == name) {
            let family = Family::of(entry.subnet.addr());
            if let Some(other) = halves.get(&family) {
                let message =
                    format!("{name} already has an IP{family} entry at {}; one NIC has one", other.at);
                problems.push(Problem::new(entry.at.clone(), message));
                continue;
            }
            halves.insert(family, entry);
        }
        let mac = one_mac(halves.values().copied(), problems);
        let subnet = subnet(halves.values().copied());
        nics.push(Nic {
            id: NicId::from(format!("{node}/{name}")),
            mac,
            index: Some(index),
            interface: Some(name.to_owned()),
            subnet: subnet.id.clone(),
            primary: Vec::new(),
            addresses: halves
                .values()
                .flat_map(|half| &half.ranges)
                .map(|(_, range)| *range)
                .collect::<AddressSet>(),
            use_: NicUse::Pods,
        });
        subnets.insert(subnet.id.clone(), subnet);
    }
    nics
}

fn one_mac<'a>(halves: impl Iterator<Item = &'a Parsed>, problems: &mut Vec<Problem>) -> Option<Mac> {
    let mut found: Option<(Mac, &Parsed)> = None;
    for half in halves {
        let Some(mac) = half.mac else { continue };
        match found {
            Some((other, entry)) if other != mac => {
                let message = format!("{} has MAC {mac} here, but {other} at {}", half.interface, entry.at);
                problems.push(Problem::new(half.at.key("mac"), message));
            }
            Some(_) => {}
            None => found = Some((mac, half)),
        }
    }
    found.map(|(mac, _)| mac)
}

/// Builds the subnet of one NIC: its identifier is its blocks, so NICs with equal blocks share it.
fn subnet<'a>(halves: impl Iterator<Item = &'a Parsed>) -> Subnet {
    let mut subnet = Subnet {
        id: SubnetId::from(""),
        v4: None,
        v4_gateway: None,
        v6: None,
        v6_gateway: None,
        zone: String::new(),
    };
    let mut blocks = Vec::new();
    for half in halves {
        blocks.push(half.subnet.to_string());
        match half.subnet {
            IpNet::V4(net) => subnet.v4 = Some(net),
            IpNet::V6(net) => subnet.v6 = Some(net),
        }
        match half.gateway {
            Some(IpAddr::V4(gateway)) => subnet.v4_gateway = Some(gateway),
            Some(IpAddr::V6(gateway)) => subnet.v6_gateway = Some(gateway),
            None => {}
        }
    }
    subnet.id = SubnetId::from(blocks.join(","));
    subnet
}
