//! `DescribeNetworkInterfaces`.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::filter::{Field, Filter};
use super::{Ask, Reply, shapes};
use crate::aliyun::cloud::Cloud;
use crate::aliyun::faults::{Fault, STRAY};
use crate::aliyun::paging::{Bounds, Page};
use crate::aliyun::parameters::Parameters;
use crate::aliyun::refusal::Refusal;
use crate::aliyun::world::Nic;

/// A listing with a tag filter ends after so many NICs. Source: the action's description.
const TAGGED: usize = 1_000;

/// What is asked for beyond texts and tags.
struct Lists<'a> {
    ids: Vec<&'a str>,
    group: Option<&'a str>,
    primary: Option<&'a str>,
    ipv4: Vec<Ipv4Addr>,
    ipv6: Vec<Ipv6Addr>,
}

impl<'a> Lists<'a> {
    fn new(parameters: &'a Parameters) -> Result<Self, Refusal> {
        Ok(Self {
            ids: parameters.list("NetworkInterfaceId", 100)?,
            group: parameters.get("SecurityGroupId"),
            primary: parameters.get("PrimaryIpAddress"),
            ipv4: parameters.ipv4s("PrivateIpAddress", 100)?,
            ipv6: parameters.ipv6s("Ipv6Address", 100)?,
        })
    }

    fn admit(&self, nic: &Nic) -> bool {
        let Self { ids, group, primary, ipv4, ipv6 } = self;
        (ids.is_empty() || ids.contains(&nic.id.as_str()))
            && group.is_none_or(|group| nic.security_groups.iter().any(|held| held == group))
            && primary.is_none_or(|text| nic.primary.is_some_and(|held| held.to_string() == text))
            && (ipv4.is_empty()
                || ipv4.iter().any(|it| nic.primary == Some(*it) || nic.secondary.contains(it)))
            && (ipv6.is_empty() || ipv6.iter().any(|it| nic.ipv6.contains(it)))
    }
}

pub(super) fn describe(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let fields: [(&str, Field<Nic>); 7] = [
        ("InstanceId", |nic| nic.attachment.as_ref().map_or("", |at| at.instance.as_str())),
        ("VpcId", |nic| &nic.vpc),
        ("VSwitchId", |nic| &nic.vswitch),
        ("Type", |nic| nic.kind.as_str()),
        ("Status", |nic| nic.status.as_str()),
        ("NetworkInterfaceName", |nic| &nic.name),
        ("MacAddress", |nic| &nic.mac),
    ];
    let filter = Filter::new(ask.parameters, &fields)?;
    let lists = Lists::new(ask.parameters)?;
    let total = if filter.is_tagged() { TAGGED } else { usize::MAX };
    let bounds = Bounds { token: 500, number: 1_000, total };
    let page = Page::new(ask.parameters, bounds)?;
    let world = cloud.listed();
    let cut = page.cut(
        bounds,
        ask.fault,
        |nic: &Nic| &nic.id,
        |after| world.nics_after(after).filter(|nic| filter.admits(nic, &nic.tags) && lists.admit(nic)),
    );
    let account = cloud.account;
    let mut sets: Vec<Value> =
        cut.items.iter().map(|nic| Value::Object(shapes::listed(&mut cloud.style, account, nic))).collect();
    spoil(ask.fault, &cut.items, &mut sets);
    let mut reply = Map::new();
    reply.insert("TotalCount".to_owned(), json!(cut.total));
    reply.insert("PageNumber".to_owned(), json!(cut.number));
    reply.insert("PageSize".to_owned(), json!(cut.size));
    if matches!(page, Page::Token { .. }) {
        cloud.style.next_token(&mut reply, cut.token);
    }
    cloud.style.list(&mut reply, "NetworkInterfaceSets", "NetworkInterfaceSet", &sets);
    Ok(reply)
}

/// Writes addresses into the page that the cloud should never show.
fn spoil(fault: Option<&Fault>, nics: &[&Nic], sets: &mut [Value]) {
    let first = nics.first().and_then(|nic| nic.secondary.last().copied().or(nic.primary));
    let (victim, address) = match fault {
        Some(Fault::DuplicateAddress) => (1, first.map(|address| address.to_string())),
        Some(Fault::StrayAddress) => (0, Some(STRAY.to_owned())),
        _ => return,
    };
    let (Some(set), Some(address)) = (sets.get_mut(victim), address) else {
        return;
    };
    let item = json!({ "PrivateIpAddress": address, "Primary": false });
    if let Some(list) = set.pointer_mut("/PrivateIpSets/PrivateIpSet").and_then(Value::as_array_mut) {
        list.push(item);
    } else if let Value::Object(set) = set {
        set.insert("PrivateIpSets".to_owned(), json!({ "PrivateIpSet": [item] }));
    }
}
