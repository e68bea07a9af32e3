//! From the cloud's words to the model: which NICs belong to pods, and with which addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{
    AddressRange, AddressSet, Family, InstanceId, Inventory, Nic, NicId, NicUse, Scope, Subnet, SubnetId,
};

use crate::settings::Tag;
use crate::vswitches::VSwitches;
use crate::wire::NicShape;

/// More sentences than this help nobody; the rest is counted.
const MOST_WARNINGS: usize = 200;

/// What decides, beside the reply, what becomes of a NIC.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) vpc_id: &'a str,
    pub(crate) unmanaged: &'a Tag,
}

/// Returns the instance that a NIC is attached to, in either of the places where the cloud says so.
pub(crate) fn instance_of(nic: &NicShape) -> Option<&str> {
    [&nic.instance_id, &nic.attachment.instance_id].into_iter().map(String::as_str).find(|id| !id.is_empty())
}

/// Tells whether the vSwitches explain every attached NIC; a vSwitch without the IPv6 block that its NIC uses is one
/// that got IPv6 after it was listed.
pub(crate) fn explained(nics: &[NicShape], vswitches: &VSwitches) -> bool {
    nics.iter().filter(|nic| instance_of(nic).is_some()).all(|nic| {
        let uses_v6 = !nic.ipv6_sets.items.is_empty() || !nic.ipv6_prefix_sets.items.is_empty();
        vswitches
            .get(&SubnetId::from(nic.v_switch_id.as_str()))
            .is_some_and(|subnet| subnet.v6.is_some() || !uses_v6)
    })
}

/// Builds the reading.
///
/// A NIC that no instance has is left out, and so is one of another VPC. Every other one is in the reading, whatever
/// state it is in: one that is being attached or detached is [`NicUse::Unclear`] and not absent, for absence would
/// mean that its addresses are gone.
///
/// `known` are the instances that exist, NIC or not; `shapes` holds no NIC twice.
pub(crate) fn inventory(
    scope: Scope,
    known: BTreeSet<InstanceId>,
    shapes: Vec<NicShape>,
    vswitches: &VSwitches,
    rules: Rules<'_>,
) -> Inventory {
    let mut warnings = Vec::new();
    let mut instances: BTreeMap<InstanceId, Vec<Nic>> =
        known.into_iter().map(|id| (id, Vec::new())).collect();
    let mut subnets = BTreeMap::new();
    for shape in shapes {
        let Some(instance) = instance_of(&shape).map(InstanceId::from) else {
            continue;
        };
        if !shape.vpc_id.is_empty() && shape.vpc_id != rules.vpc_id {
            continue;
        }
        if matches!(&scope, Scope::Instances(asked) if !asked.contains(&instance)) {
            continue;
        }
        let subnet_id = SubnetId::from(shape.v_switch_id.as_str());
        let subnet = vswitches.get(&subnet_id);
        if let Some(subnet) = subnet {
            subnets.entry(subnet_id).or_insert_with(|| subnet.clone());
        }
        instances.entry(instance).or_default().push(nic(&shape, subnet, rules, &mut warnings));
    }
    for nics in instances.values_mut() {
        nics.sort_by(|a, b| {
            let order = |nic: &Nic| nic.index.unwrap_or(u32::MAX);
            order(a).cmp(&order(b)).then_with(|| a.id.cmp(&b.id))
        });
    }
    warnings.extend(shared_addresses(instances.values().flatten()));
    if warnings.len() > MOST_WARNINGS {
        let more = warnings.len() - MOST_WARNINGS;
        warnings.truncate(MOST_WARNINGS);
        warnings.push(format!("and {more} more of the kind"));
    }
    Inventory { scope, instances, subnets, warnings }
}

fn nic(shape: &NicShape, subnet: Option<&Subnet>, rules: Rules<'_>, warnings: &mut Vec<String>) -> Nic {
    let id = &shape.network_interface_id;
    if subnet.is_none() {
        let vswitch = &shape.v_switch_id;
        warnings.push(format!("NIC {id}: the cloud does not show its vSwitch {vswitch:?}"));
    }
    let mac = shape.mac_address.parse().inspect_err(|error| warnings.push(format!("NIC {id}: {error}"))).ok();
    let Addresses { primary, others } = addresses(shape, subnet, warnings);
    let use_ = match (left_alone(shape, rules), shape.status.as_str()) {
        (Some(reason), _) => NicUse::LeftAlone(reason),
        // What is not known to be a pod's may be the node's.
        (None, "InUse") if primary.is_empty() && !others.of(Family::V4).is_empty() => {
            warnings.push(format!("NIC {id}: none of its addresses is marked as primary, so none is used"));
            NicUse::Unclear("no primary address shown".to_owned())
        }
        (None, "InUse") => NicUse::Pods,
        (None, "") => NicUse::Unclear("status not shown".to_owned()),
        (None, status) => NicUse::Unclear(format!("status {status}")),
    };
    Nic {
        id: NicId::from(id.as_str()),
        mac,
        index: index(shape),
        interface: None,
        subnet: SubnetId::from(shape.v_switch_id.as_str()),
        primary,
        addresses: others,
        use_,
    }
}

/// Returns why a NIC is somebody else's, if so.
fn left_alone(shape: &NicShape, rules: Rules<'_>) -> Option<String> {
    let Tag { key, value } = rules.unmanaged;
    if shape.tags.items.iter().any(|tag| tag.tag_key == *key && tag.tag_value == *value) {
        return Some(format!("tag {}", rules.unmanaged));
    }
    if shape.service_managed {
        return Some("managed by a cloud service".to_owned());
    }
    // A NIC without a type is a secondary one.
    if !matches!(shape.r#type.as_str(), "Primary" | "Secondary" | "") {
        return Some(format!("type {}", shape.r#type));
    }
    if !shape.attachment.trunk_network_interface_id.is_empty() {
        return Some(format!("member of trunk {}", shape.attachment.trunk_network_interface_id));
    }
    if shape.network_interface_traffic_mode == "HighPerformance" {
        return Some("RDMA (traffic mode HighPerformance)".to_owned());
    }
    None
}

fn index(shape: &NicShape) -> Option<u32> {
    if shape.r#type == "Primary" {
        return Some(0);
    }
    shape.attachment.device_index.and_then(|index| u32::try_from(index).ok()).filter(|index| *index > 0)
}

struct Addresses {
    primary: Vec<IpAddr>,
    others: AddressSet,
}

/// Sorts a NIC's addresses; one that cannot be read, is listed twice or lies outside the vSwitch is left out.
fn addresses(shape: &NicShape, subnet: Option<&Subnet>, warnings: &mut Vec<String>) -> Addresses {
    let id = &shape.network_interface_id;
    let mut bad = |text: &str, reason: &str| warnings.push(format!("NIC {id}: {text} is left out: {reason}"));
    let mut primary: BTreeSet<IpAddr> = BTreeSet::new();
    let mut found: Vec<(IpNet, &str)> = Vec::new();

    let own = shape.private_ip_address.as_str();
    for (text, marked) in [(own, true)]
        .into_iter()
        .chain(
            shape.private_ip_sets.items.iter().map(|item| (item.private_ip_address.as_str(), item.primary)),
        )
        .filter(|(text, _)| !text.is_empty())
    {
        match text.parse::<Ipv4Addr>() {
            Ok(address) if marked || text == own => drop(primary.insert(IpAddr::V4(address))),
            Ok(address) => found.push((IpNet::from(IpAddr::V4(address)), text)),
            Err(_) => bad(text, "it is no IPv4 address"),
        }
    }
    for text in shape.ipv6_sets.items.iter().map(|item| item.ipv6_address.as_str()) {
        match text.parse::<Ipv6Addr>() {
            Ok(address) => found.push((IpNet::from(IpAddr::V6(address)), text)),
            Err(_) => bad(text, "it is no IPv6 address"),
        }
    }
    for text in shape.ipv4_prefix_sets.items.iter().map(|item| item.ipv4_prefix.as_str()) {
        match text.parse::<Ipv4Net>() {
            Ok(net) => found.push((IpNet::V4(net.trunc()), text)),
            Err(_) => bad(text, "it is no IPv4 prefix"),
        }
    }
    for text in shape.ipv6_prefix_sets.items.iter().map(|item| item.ipv6_prefix.as_str()) {
        match text.parse::<Ipv6Net>() {
            Ok(net) => found.push((IpNet::V6(net.trunc()), text)),
            Err(_) => bad(text, "it is no IPv6 prefix"),
        }
    }

    let mut kept = BTreeSet::new();
    for (net, text) in found {
        let family = Family::of(net.addr());
        let outside =
            subnet.is_some_and(|subnet| subnet.block(family).is_none_or(|block| !block.contains(&net)));
        if outside {
            bad(text, &format!("it is outside vSwitch {}", shape.v_switch_id));
        } else if !kept.insert(net) {
            bad(text, "it is listed twice");
        }
    }
    let all: AddressSet = kept.into_iter().map(AddressRange::from).collect();
    let nodes: AddressSet = primary.iter().copied().collect();
    Addresses { primary: primary.into_iter().collect(), others: all.difference(&nodes) }
}

/// Returns a sentence for every address that two NICs show. Both keep it: who may use it is for the plan to say.
fn shared_addresses<'a>(nics: impl Iterator<Item = &'a Nic>) -> Vec<String> {
    let mut ranges: Vec<(AddressRange, &NicId)> = nics
        .flat_map(|nic| {
            let primary = nic.primary.iter().map(|address| AddressRange::from(*address));
            primary.chain(nic.addresses.ranges().iter().copied()).map(move |range| (range, &nic.id))
        })
        .collect();
    ranges.sort_unstable();
    let mut warnings = Vec::new();
    let mut widest: Option<(AddressRange, &NicId)> = None;
    for (range, nic) in ranges {
        if let Some((earlier, other)) = widest
            && other != nic
            && let Some(both) = AddressRange::new(range.first(), range.last().min(earlier.last()))
        {
            warnings.push(format!("NICs {other} and {nic} both show {both}"));
        }
        if widest.is_none_or(|(earlier, _)| range.last() > earlier.last()) {
            widest = Some((range, nic));
        }
    }
    warnings
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod tests;
