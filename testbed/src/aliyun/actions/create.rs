//! `CreateNetworkInterface`.

use std::net::IpAddr;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Ask, Reply, once, shapes};
use crate::aliyun::cloud::Cloud;
use crate::aliyun::parameters::{Parameters, invalid};
use crate::aliyun::refusal::Refusal;
use crate::aliyun::world::{NicKind, NicSpec, TrafficMode, VSwitch, World};

pub(super) fn create(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    once(cloud, ask, |cloud, parameters| {
        let mut groups = parameters.list("SecurityGroupIds", 10)?;
        groups.extend(parameters.get("SecurityGroupId"));
        if groups.is_empty() {
            return Err(Refusal::new(
                "MissingParameter",
                "The input parameter \"SecurityGroupId\" is not supplied.",
            ));
        }
        let groups: Vec<String> = groups.into_iter().map(str::to_owned).collect();
        let number = cloud.change().next_number();
        let id = format!("eni-bp1simulated{number:08}");
        let world = cloud.world();
        let vswitch = world.need_vswitch(parameters.required("VSwitchId")?)?;
        let spec = spec(world, vswitch, &id, parameters)?;
        cloud.add_nic(spec)?;
        let account = cloud.account;
        let nic = cloud.change().nic_mut(&id)?;
        parameters.get("NetworkInterfaceName").unwrap_or_default().clone_into(&mut nic.name);
        parameters.get("Description").unwrap_or_default().clone_into(&mut nic.description);
        nic.delete_on_release = parameters.get("DeleteOnRelease") != Some("false");
        nic.security_groups = groups;
        let made = nic.clone();
        Ok(shapes::made(&mut cloud.style, account, &made))
    })
}

fn spec(world: &World, vswitch: &VSwitch, id: &str, parameters: &Parameters) -> Result<NicSpec, Refusal> {
    let kind = match parameters.get("InstanceType") {
        None | Some("Secondary") => NicKind::Secondary,
        Some("Trunk") => NicKind::Trunk,
        Some(other) => return Err(invalid("InstanceType", other)),
    };
    let mode = match parameters.get("NetworkInterfaceTrafficMode") {
        None | Some("Standard") => TrafficMode::Standard,
        Some("HighPerformance") => TrafficMode::HighPerformance,
        Some(other) => return Err(invalid("NetworkInterfaceTrafficMode", other)),
    };
    let given: Option<std::net::Ipv4Addr> = match parameters.get("PrimaryIpAddress") {
        Some(text) => Some(text.parse().map_err(|_| invalid("PrimaryIpAddress", text))?),
        None => None,
    };
    let named = parameters.ipv4s("PrivateIpAddress", 10)?;
    let count = parameters.number("SecondaryPrivateIpAddressCount", 1..=49)?.unwrap_or(0);
    let asked: Vec<IpAddr> = given.iter().chain(&named).copied().map(IpAddr::V4).collect();
    world.check_ips(vswitch, &asked)?;
    // Room for what was named too, since the lowest free ones may be those.
    let mut free = world.pick_ipv4s(vswitch, (1 + count + asked.len()).min(free_ipv4(world, vswitch)))?;
    free.retain(|address| !asked.contains(&IpAddr::V4(*address)));
    let mut free = free.into_iter();
    let primary = given.or_else(|| free.next()).ok_or_else(|| full(vswitch))?;
    let mut secondary = named;
    for _ in 0..count {
        secondary.push(free.next().ok_or_else(|| full(vswitch))?);
    }
    let mut ipv6 = parameters.ipv6s("Ipv6Address", 10)?;
    world.check_ips(vswitch, &ipv6.iter().copied().map(IpAddr::V6).collect::<Vec<_>>())?;
    if let Some(count) = parameters.number("Ipv6AddressCount", 1..=10)? {
        ipv6.extend(world.pick_ipv6s(vswitch, count)?);
    }
    let ips = secondary.into_iter().map(IpAddr::V4).chain(ipv6.into_iter().map(IpAddr::V6));
    let mut spec = NicSpec::new(id, &vswitch.id, kind).primary_ip(primary).traffic_mode(mode).ips(ips);
    let mut ipv4_prefixes: Vec<Ipv4Net> = parameters.parsed("Ipv4Prefix", 10, "InvalidIp.Address")?;
    world.check_ipv4_prefixes(vswitch, &ipv4_prefixes)?;
    if let Some(count) = parameters.number("Ipv4PrefixCount", 1..=10)? {
        ipv4_prefixes.extend(world.pick_ipv4_prefixes(vswitch, count)?);
    }
    let mut ipv6_prefixes: Vec<Ipv6Net> = parameters.parsed("Ipv6Prefix", 10, "InvalidIp.Address")?;
    if !ipv6_prefixes.is_empty() {
        world.check_ipv6_prefixes(vswitch, &ipv6_prefixes)?;
    }
    if let Some(count) = parameters.number("Ipv6PrefixCount", 1..=10)? {
        ipv6_prefixes.extend(world.pick_ipv6_prefixes(vswitch, count)?);
    }
    spec = ipv4_prefixes.into_iter().fold(spec, NicSpec::ipv4_prefix);
    spec = ipv6_prefixes.into_iter().fold(spec, NicSpec::ipv6_prefix);
    for (key, value) in parameters.tags()? {
        spec = spec.tag(key, value.unwrap_or_default());
    }
    Ok(spec)
}

fn free_ipv4(world: &World, vswitch: &VSwitch) -> usize {
    world.available_ipv4(&[vswitch]).into_iter().sum()
}

fn full(vswitch: &VSwitch) -> Refusal {
    Refusal::new(
        "InvalidVSwitchId.IpNotEnough",
        format!("The specified VSwitch \"{}\" has not enough IpAddress.", vswitch.id),
    )
}
