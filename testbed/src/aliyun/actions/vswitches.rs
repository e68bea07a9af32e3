//! `DescribeVSwitches` of the VPC product.

use serde_json::{Map, Value, json};

use super::filter::{Field, Filter};
use super::{Ask, Reply};
use crate::aliyun::clock::iso;
use crate::aliyun::cloud::Cloud;
use crate::aliyun::paging::{Bounds, Page};
use crate::aliyun::refusal::Refusal;
use crate::aliyun::world::VSwitch;

const BOUNDS: Bounds = Bounds { token: 50, number: 50, total: usize::MAX };

pub(super) fn describe(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let parameters = ask.parameters;
    if parameters.get("RegionId").is_none() && parameters.get("VpcId").is_none() {
        return Err(Refusal::new("MissingParameter", "Either RegionId or VpcId must be supplied."));
    }
    let fields: [(&str, Field<VSwitch>); 4] = [
        ("VSwitchId", |it| &it.id),
        ("VpcId", |it| &it.vpc),
        ("ZoneId", |it| &it.zone),
        ("VSwitchName", |it| &it.name),
    ];
    let filter = Filter::new(parameters, &fields)?;
    let ipv6 = parameters.get("EnableIpv6").map(|text| text == "true");
    let page = Page::numbered(parameters, BOUNDS.number)?;
    let world = cloud.listed();
    let cut = page.cut(
        BOUNDS,
        None,
        |it: &VSwitch| &it.id,
        |_| {
            world.vswitches().filter(|it| {
                filter.admits(it, &it.tags) && ipv6.is_none_or(|ipv6| ipv6 == it.ipv6_cidr.is_some())
            })
        },
    );
    let mut shapes = Vec::new();
    for (it, available) in cut.items.iter().zip(world.available_ipv4(&cut.items)) {
        let Value::Object(mut shape) = json!({
            "VSwitchId": it.id,
            "VSwitchName": it.name,
            "VpcId": it.vpc,
            "ZoneId": it.zone,
            "Status": "Available",
            "IsDefault": false,
            "CidrBlock": it.cidr,
            "Ipv6CidrBlock": it.ipv6_cidr.map(|cidr| cidr.to_string()).unwrap_or_default(),
            "EnabledIpv6": it.ipv6_cidr.is_some(),
            "AvailableIpAddressCount": available,
            "RouteTable": { "RouteTableId": "vtb-bp1simulated00000001", "RouteTableType": "System" },
            "ResourceGroupId": "rg-acfmsimulated",
            "OwnerId": cloud.account,
            "NetworkAclId": "",
            "ShareType": "",
            "Description": "",
            "CreationTime": iso(cloud.clock.now()),
        }) else {
            continue;
        };
        let tags: Vec<Value> =
            it.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        cloud.style.list(&mut shape, "Tags", "Tag", &tags);
        shapes.push(Value::Object(shape));
    }
    let mut reply = Map::new();
    reply.insert("TotalCount".to_owned(), json!(cut.total));
    reply.insert("PageNumber".to_owned(), json!(cut.number));
    reply.insert("PageSize".to_owned(), json!(cut.size));
    cloud.style.list(&mut reply, "VSwitches", "VSwitch", &shapes);
    Ok(reply)
}
