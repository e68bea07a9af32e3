//! `AssignPrivateIpAddresses` and `UnassignPrivateIpAddresses`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};

use super::{Ask, Reply, changed, check_free, check_steady, once};
use crate::aliyun::cloud::Cloud;
use crate::aliyun::parameters::Parameters;
use crate::aliyun::refusal::Refusal;
use crate::aliyun::world::{Nic, World};

/// Secondary addresses that a NIC on no instance may hold. Source: the action's description.
const UNATTACHED: usize = 49;

/// What is asked for: exactly one of the four.
enum Wish {
    Count(usize),
    Addresses(Vec<Ipv4Addr>),
    PrefixCount(usize),
    Prefixes(Vec<Ipv4Net>),
}

impl Wish {
    fn new(parameters: &Parameters) -> Result<Self, Refusal> {
        let mut wishes = Vec::new();
        if let Some(count) = parameters.number("SecondaryPrivateIpAddressCount", 1..=UNATTACHED)? {
            wishes.push(Self::Count(count));
        }
        let addresses = parameters.ipv4s("PrivateIpAddress", UNATTACHED)?;
        if !addresses.is_empty() {
            wishes.push(Self::Addresses(addresses));
        }
        if let Some(count) = parameters.number("Ipv4PrefixCount", 1..=10)? {
            wishes.push(Self::PrefixCount(count));
        }
        let prefixes = parameters.parsed("Ipv4Prefix", 10, "InvalidIp.Address")?;
        if !prefixes.is_empty() {
            wishes.push(Self::Prefixes(prefixes));
        }
        match (wishes.pop(), wishes.is_empty()) {
            (Some(wish), true) => Ok(wish),
            (Some(_), false) => Err(Refusal::new(
                "InvalidParameter.Conflict",
                "Only one of SecondaryPrivateIpAddressCount, PrivateIpAddress.N, Ipv4PrefixCount and Ipv4Prefix.N may be given.",
            )),
            (None, _) => Err(Refusal::new(
                "MissingParameter",
                "The input parameter \"PrivateIpAddress.N or SecondaryPrivateIpAddressCount\" is not supplied.",
            )),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Count(count) | Self::PrefixCount(count) => *count,
            Self::Addresses(addresses) => addresses.len(),
            Self::Prefixes(prefixes) => prefixes.len(),
        }
    }
}

pub(super) fn assign(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    once(cloud, ask, |cloud, parameters| {
        let id = parameters.required("NetworkInterfaceId")?;
        let wish = Wish::new(parameters)?;
        check_free(cloud, id)?;
        let world = cloud.world();
        let nic = world.need_nic(id)?;
        check_steady(world, nic)?;
        check_quota(world, nic, wish.size())?;
        let vswitch = world.need_vswitch(&nic.vswitch)?;
        let (addresses, prefixes) = match wish {
            Wish::Count(count) => (world.pick_ipv4s(vswitch, count)?, Vec::new()),
            Wish::PrefixCount(count) => (Vec::new(), world.pick_ipv4_prefixes(vswitch, count)?),
            Wish::Addresses(addresses) => {
                let asked: Vec<IpAddr> = addresses.iter().copied().map(IpAddr::V4).collect();
                world.check_ips(vswitch, &asked)?;
                (addresses, Vec::new())
            }
            Wish::Prefixes(prefixes) => {
                world.check_ipv4_prefixes(vswitch, &prefixes)?;
                (Vec::new(), prefixes)
            }
        };
        let nic = changed(cloud, id)?;
        nic.secondary.extend(&addresses);
        nic.ipv4_prefixes.extend(&prefixes);
        // Only what is new, as strings; the second list's inner name is a plural.
        let mut set = Map::new();
        set.insert("NetworkInterfaceId".to_owned(), json!(id));
        let addresses: Vec<Value> = addresses.into_iter().map(|it| json!(it)).collect();
        cloud.style.list(&mut set, "PrivateIpSet", "PrivateIpAddress", &addresses);
        let prefixes: Vec<Value> = prefixes.into_iter().map(|it| json!(it)).collect();
        cloud.style.list(&mut set, "Ipv4PrefixSet", "Ipv4Prefixes", &prefixes);
        let mut reply = Map::new();
        reply.insert("AssignedPrivateIpAddressesSet".to_owned(), set.into());
        Ok(reply)
    })
}

fn check_quota(world: &World, nic: &Nic, more: usize) -> Result<(), Refusal> {
    let most = match &nic.attachment {
        None => UNATTACHED + 1,
        Some(at) => {
            let kind = world.instance(&at.instance).and_then(|it| world.instance_type(&it.instance_type));
            kind.map_or(usize::MAX, |kind| kind.ipv4_per_nic)
        }
    };
    if nic.ipv4_load() + more <= most {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidOperation.Ipv4CountExceeded",
        format!(
            "The network interface \"{}\" may hold {most} IPv4 addresses, its primary one included.",
            nic.id
        ),
    ))
}

pub(super) fn unassign(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let id = ask.parameters.required("NetworkInterfaceId")?;
    let addresses = ask.parameters.ipv4s("PrivateIpAddress", 100)?;
    let prefixes: Vec<Ipv4Net> = ask.parameters.parsed("Ipv4Prefix", 100, "InvalidIp.Address")?;
    match (addresses.is_empty(), prefixes.is_empty()) {
        (true, true) => {
            return Err(Refusal::new("MissingParameter", "PrivateIpAddress.N is not supplied."));
        }
        (false, false) => {
            return Err(Refusal::new(
                "InvalidParameter.Conflict",
                "PrivateIpAddress.N and Ipv4Prefix.N may not be given together.",
            ));
        }
        _ => {}
    }
    check_free(cloud, id)?;
    let world = cloud.world();
    let nic = world.need_nic(id)?;
    check_steady(world, nic)?;
    if nic.primary.is_some_and(|own| addresses.contains(&own)) {
        return Err(Refusal::new(
            "InvalidIp.Address",
            format!("The primary address of \"{id}\" cannot be unassigned."),
        ));
    }
    let held = addresses.iter().all(|it| nic.secondary.contains(it))
        && prefixes.iter().all(|it| nic.ipv4_prefixes.contains(it));
    if !held {
        return Err(Refusal::new(
            "InvalidIp.IpUnassigned",
            format!("One of the specified addresses is not assigned to \"{id}\"."),
        ));
    }
    let nic = changed(cloud, id)?;
    nic.secondary.retain(|it| !addresses.contains(it));
    nic.ipv4_prefixes.retain(|it| !prefixes.contains(it));
    Ok(Reply::new())
}
