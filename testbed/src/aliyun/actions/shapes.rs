//! The JSON of NICs, as several actions write it.

use serde_json::{Map, Value, json};

use super::Reply;
use crate::aliyun::clock::iso;
use crate::aliyun::reply::Style;
use crate::aliyun::world::Nic;

/// The lists of addresses that every NIC shape carries.
pub(super) fn addresses(style: &mut Style, nic: &Nic, into: &mut Reply) {
    let ipv4 = nic.primary.iter().map(|it| (it, true)).chain(nic.secondary.iter().map(|it| (it, false)));
    let ipv4: Vec<Value> =
        ipv4.map(|(address, primary)| json!({ "PrivateIpAddress": address, "Primary": primary })).collect();
    style.list(into, "PrivateIpSets", "PrivateIpSet", &ipv4);
    let ipv6: Vec<Value> = nic.ipv6.iter().map(|address| json!({ "Ipv6Address": address })).collect();
    style.list(into, "Ipv6Sets", "Ipv6Set", &ipv6);
    let prefixes: Vec<Value> =
        nic.ipv4_prefixes.iter().map(|prefix| json!({ "Ipv4Prefix": prefix })).collect();
    style.list(into, "Ipv4PrefixSets", "Ipv4PrefixSet", &prefixes);
    let prefixes: Vec<Value> =
        nic.ipv6_prefixes.iter().map(|prefix| json!({ "Ipv6Prefix": prefix })).collect();
    style.list(into, "Ipv6PrefixSets", "Ipv6PrefixSet", &prefixes);
}

/// A NIC as `CreateNetworkInterface` writes it.
pub(super) fn made(style: &mut Style, account: u64, nic: &Nic) -> Reply {
    let mut shape = Map::new();
    let fields = [
        ("NetworkInterfaceId", json!(nic.id)),
        ("NetworkInterfaceName", json!(nic.name)),
        ("Description", json!(nic.description)),
        ("Type", json!(nic.kind.as_str())),
        ("Status", json!(nic.status.as_str())),
        ("MacAddress", json!(nic.mac)),
        ("VpcId", json!(nic.vpc)),
        ("VSwitchId", json!(nic.vswitch)),
        ("ZoneId", json!(nic.zone)),
        ("PrivateIpAddress", json!(nic.primary.map(|it| it.to_string()).unwrap_or_default())),
        ("ResourceGroupId", json!("rg-acfmsimulated")),
        ("ServiceID", json!(0)),
        ("ServiceManaged", json!(false)),
        ("OwnerId", json!(account.to_string())),
    ];
    shape.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    addresses(style, nic, &mut shape);
    let groups: Vec<Value> = nic.security_groups.iter().map(|group| json!(group)).collect();
    style.list(&mut shape, "SecurityGroupIds", "SecurityGroupId", &groups);
    let tags: Vec<Value> =
        nic.tags.iter().map(|(key, value)| json!({ "TagKey": key, "TagValue": value })).collect();
    style.list(&mut shape, "Tags", "Tag", &tags);
    shape
}

/// A NIC as `DescribeNetworkInterfaces` writes it: with where it is.
pub(super) fn listed(style: &mut Style, account: u64, nic: &Nic) -> Reply {
    let mut shape = made(style, account, nic);
    let instance = nic.attachment.as_ref().map_or("", |at| at.instance.as_str());
    let fields = [
        ("InstanceId", json!(instance)),
        ("SourceDestCheck", json!(false)),
        ("NetworkInterfaceTrafficMode", json!(nic.traffic_mode.as_str())),
        ("DeleteOnRelease", json!(nic.delete_on_release)),
        ("CreationTime", json!(iso(nic.created))),
    ];
    shape.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    if let Some(at) = &nic.attachment {
        let mut attachment = Map::new();
        attachment.insert("InstanceId".to_owned(), json!(at.instance));
        if let Some(index) = at.device_index {
            attachment.insert("DeviceIndex".to_owned(), json!(index));
        }
        if let Some(trunk) = &at.trunk {
            attachment.insert("TrunkNetworkInterfaceId".to_owned(), json!(trunk));
        }
        shape.insert("Attachment".to_owned(), Value::Object(attachment));
    }
    shape
}
