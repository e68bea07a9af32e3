//! `AssignIpv6Addresses` and `UnassignIpv6Addresses`.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
use serde_json::{Map, Value, json};

use super::{Ask, Reply, changed, check_free, check_steady, once};
use crate::aliyun::cloud::Cloud;
use crate::aliyun::parameters::Parameters;
use crate::aliyun::refusal::Refusal;
use crate::aliyun::world::{Nic, World};

/// Items that one call may ask for. Source: the action's description.
const MOST: usize = 10;

/// What is asked for: addresses, or prefixes, or both kinds, each by number or by name.
struct Wish {
    count: usize,
    addresses: Vec<Ipv6Addr>,
    prefix_count: usize,
    prefixes: Vec<Ipv6Net>,
}

impl Wish {
    fn new(parameters: &Parameters) -> Result<Self, Refusal> {
        let wish = Self {
            count: parameters.number("Ipv6AddressCount", 1..=MOST)?.unwrap_or(0),
            addresses: parameters.ipv6s("Ipv6Address", MOST)?,
            prefix_count: parameters.number("Ipv6PrefixCount", 1..=MOST)?.unwrap_or(0),
            prefixes: parameters.parsed("Ipv6Prefix", MOST, "InvalidIp.Address")?,
        };
        if (wish.count > 0 && !wish.addresses.is_empty())
            || (wish.prefix_count > 0 && !wish.prefixes.is_empty())
        {
            return Err(Refusal::new(
                "InvalidParameter.Conflict",
                "A count and a list of the same kind may not be given together.",
            ));
        }
        if wish.size() == 0 {
            return Err(Refusal::new(
                "MissingParameter",
                "The input parameter \"Ipv6Address.N or Ipv6AddressCount\" is not supplied.",
            ));
        }
        Ok(wish)
    }

    fn size(&self) -> usize {
        self.count + self.addresses.len() + self.prefix_count + self.prefixes.len()
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
        let Wish { count, mut addresses, prefix_count, mut prefixes } = wish;
        if !addresses.is_empty() {
            let asked: Vec<IpAddr> = addresses.iter().copied().map(IpAddr::V6).collect();
            world.check_ips(vswitch, &asked)?;
        }
        if !prefixes.is_empty() {
            world.check_ipv6_prefixes(vswitch, &prefixes)?;
        }
        if count > 0 {
            addresses = world.pick_ipv6s(vswitch, count)?;
        }
        if prefix_count > 0 {
            prefixes = world.pick_ipv6_prefixes(vswitch, prefix_count)?;
        }
        let nic = changed(cloud, id)?;
        nic.ipv6.extend(&addresses);
        nic.ipv6_prefixes.extend(&prefixes);
        let mut reply = Map::new();
        reply.insert("NetworkInterfaceId".to_owned(), json!(id));
        let addresses: Vec<Value> = addresses.into_iter().map(|it| json!(it)).collect();
        cloud.style.list(&mut reply, "Ipv6Sets", "Ipv6Address", &addresses);
        let prefixes: Vec<Value> = prefixes.into_iter().map(|it| json!(it)).collect();
        cloud.style.list(&mut reply, "Ipv6PrefixSets", "Ipv6Prefix", &prefixes);
        Ok(reply)
    })
}

fn check_quota(world: &World, nic: &Nic, more: usize) -> Result<(), Refusal> {
    let kind = nic
        .attachment
        .as_ref()
        .and_then(|at| world.instance(&at.instance))
        .and_then(|it| world.instance_type(&it.instance_type));
    let Some(kind) = kind else { return Ok(()) };
    if kind.ipv6_per_nic == 0 {
        return Err(Refusal::new(
            "InvalidOperation.Ipv6NotSupport",
            format!("The instance type {} has no IPv6.", kind.id),
        ));
    }
    if nic.ipv6_load() + more <= kind.ipv6_per_nic {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidOperation.Ipv6CountExceeded",
        format!("The network interface \"{}\" may hold {} IPv6 addresses.", nic.id, kind.ipv6_per_nic),
    ))
}

pub(super) fn unassign(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let id = ask.parameters.required("NetworkInterfaceId")?;
    let addresses = ask.parameters.ipv6s("Ipv6Address", MOST)?;
    let prefixes: Vec<Ipv6Net> = ask.parameters.parsed("Ipv6Prefix", MOST, "InvalidIp.Address")?;
    if addresses.is_empty() && prefixes.is_empty() {
        return Err(Refusal::new("MissingParameter", "Ipv6Address.N is not supplied."));
    }
    check_free(cloud, id)?;
    let world = cloud.world();
    let nic = world.need_nic(id)?;
    check_steady(world, nic)?;
    let held = addresses.iter().all(|it| nic.ipv6.contains(it))
        && prefixes.iter().all(|it| nic.ipv6_prefixes.contains(it));
    if !held {
        return Err(Refusal::new(
            "InvalidIp.IpUnassigned",
            format!("One of the specified addresses is not assigned to \"{id}\"."),
        ));
    }
    let nic = changed(cloud, id)?;
    nic.ipv6.retain(|it| !addresses.contains(it));
    nic.ipv6_prefixes.retain(|it| !prefixes.contains(it));
    Ok(Reply::new())
}
