//! `DescribeInstances` and `DescribeInstanceTypes`.

use serde_json::{Map, Value, json};

use super::filter::{Field, Filter};
use super::{Ask, Reply, shapes};
use crate::aliyun::clock::iso_minutes;
use crate::aliyun::cloud::Cloud;
use crate::aliyun::paging::{Bounds, Page};
use crate::aliyun::refusal::Refusal;
use crate::aliyun::reply::Style;
use crate::aliyun::world::{Instance, InstanceType, Nic, World};

const BOUNDS: Bounds = Bounds { token: 100, number: 100, total: usize::MAX };

pub(super) fn describe(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let fields: [(&str, Field<Instance>); 6] = [
        ("VpcId", |it| &it.vpc),
        ("VSwitchId", |it| &it.vswitch),
        ("ZoneId", |it| &it.zone),
        ("Status", |it| it.status.as_str()),
        ("InstanceType", |it| &it.instance_type),
        ("InstanceName", |it| &it.name),
    ];
    let parameters = ask.parameters;
    let filter = Filter::new(parameters, &fields)?;
    let ids = parameters.json_list("InstanceIds", 100)?;
    let addresses = parameters.json_list("PrivateIpAddresses", 100)?;
    let page = Page::new(parameters, BOUNDS)?;
    let world = cloud.listed();
    let admits = |it: &Instance| {
        filter.admits(it, &it.tags)
            && ids.as_ref().is_none_or(|ids| ids.contains(&it.id))
            && addresses.as_ref().is_none_or(|asked| {
                world
                    .nics_of(&it.id)
                    .iter()
                    .any(|nic| nic.primary.is_some_and(|held| asked.contains(&held.to_string())))
            })
    };
    let cut = page.cut(
        BOUNDS,
        ask.fault,
        |it: &Instance| &it.id,
        |after| {
            let after = after.to_owned();
            world.instances().filter(move |it| it.id > after).filter(|it| admits(it))
        },
    );
    let region = cloud.region.clone();
    let page_ids: Vec<&str> = cut.items.iter().map(|it| it.id.as_str()).collect();
    let nics = world.nics_of_each(&page_ids);
    let mut shapes = Vec::new();
    for it in &cut.items {
        let nics = nics.get(&it.id).map_or(&[][..], Vec::as_slice);
        shapes.push(instance(&mut cloud.style, &world, &region, it, nics));
    }
    let mut reply = Map::new();
    reply.insert("TotalCount".to_owned(), json!(cut.total));
    reply.insert("PageNumber".to_owned(), json!(cut.number));
    reply.insert("PageSize".to_owned(), json!(cut.size));
    cloud.style.next_token(&mut reply, cut.token);
    cloud.style.list(&mut reply, "Instances", "Instance", &shapes);
    Ok(reply)
}

fn instance(style: &mut Style, world: &World, region: &str, it: &Instance, nics: &[&Nic]) -> Value {
    let primary: Vec<Value> = nics.first().and_then(|nic| nic.primary).iter().map(|ip| json!(ip)).collect();
    let kind = world.instance_type(&it.instance_type);
    let family = kind.map_or("", InstanceType::family);
    let Value::Object(mut shape) = json!({
        "InstanceId": it.id,
        "InstanceName": it.name,
        "HostName": it.name,
        "InstanceType": it.instance_type,
        "InstanceTypeFamily": family,
        "RegionId": region,
        "ZoneId": it.zone,
        "Status": it.status.as_str(),
        "StoppedMode": "Not-applicable",
        "InstanceNetworkType": "vpc",
        "InstanceChargeType": "PostPaid",
        "Cpu": kind.map_or(0, |kind| kind.cpus),
        "Memory": kind.map_or(0, |kind| kind.memory * 1024),
        "OSType": "linux",
        "CreationTime": iso_minutes(it.created),
        "StartTime": iso_minutes(it.created),
        "ExpiredTime": "2099-12-31T15:59Z",
        "VpcAttributes": {
            "VpcId": it.vpc, "VSwitchId": it.vswitch, "NatIpAddress": "",
            "PrivateIpAddress": { "IpAddress": primary },
        },
        "EipAddress": { "AllocationId": "", "IpAddress": "", "InternetChargeType": "" },
        "MetadataOptions": { "HttpEndpoint": "enabled", "HttpTokens": "optional", "HttpPutResponseHopLimit": 0 },
    }) else {
        return Value::Null;
    };
    let nics: Vec<Value> = nics
        .iter()
        .map(|nic| {
            let mut entry = Map::new();
            entry.insert("NetworkInterfaceId".to_owned(), json!(nic.id));
            entry.insert("Type".to_owned(), json!(nic.kind.as_str()));
            entry.insert("MacAddress".to_owned(), json!(nic.mac));
            let own = nic.primary.map(|ip| ip.to_string()).unwrap_or_default();
            entry.insert("PrimaryIpAddress".to_owned(), json!(own));
            shapes::addresses(style, nic, &mut entry);
            Value::Object(entry)
        })
        .collect();
    style.list(&mut shape, "NetworkInterfaces", "NetworkInterface", &nics);
    let tags: Vec<Value> =
        it.tags.iter().map(|(key, value)| json!({ "TagKey": key, "TagValue": value })).collect();
    style.list(&mut shape, "Tags", "Tag", &tags);
    style.list(&mut shape, "SecurityGroupIds", "SecurityGroupId", &[json!("sg-bp1simulated0000000001")]);
    style.list(&mut shape, "OperationLocks", "LockReason", &[]);
    style.list(&mut shape, "PublicIpAddress", "IpAddress", &[]);
    Value::Object(shape)
}

pub(super) fn describe_types(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let ids = ask.parameters.list("InstanceTypes", 10)?;
    let least = ask.parameters.number("MinimumEniQuantity", 0..=usize::MAX)?;
    // Without paging parameters the first hundred come, and a token if there are more.
    let page = Page::new(ask.parameters, BOUNDS)?;
    let page = match page {
        Page::Number { .. } => Page::Token { size: 100, after: String::new(), seen: 0, query: String::new() },
        token @ Page::Token { .. } => token,
    };
    let world = cloud.listed();
    let cut = page.cut(
        BOUNDS,
        ask.fault,
        |kind: &InstanceType| &kind.id,
        |after| {
            let after = after.to_owned();
            world
                .instance_types()
                .filter(move |kind| kind.id > after)
                .filter(|kind| ids.is_empty() || ids.contains(&kind.id.as_str()))
                .filter(|kind| least.is_none_or(|least| kind.nics >= least))
        },
    );
    let shapes: Vec<Value> = cut.items.iter().map(|kind| instance_type(kind)).collect();
    let mut reply = Map::new();
    cloud.style.next_token(&mut reply, cut.token);
    cloud.style.list(&mut reply, "InstanceTypes", "InstanceType", &shapes);
    Ok(reply)
}

fn instance_type(kind: &InstanceType) -> Value {
    json!({
        "InstanceTypeId": kind.id,
        "InstanceTypeFamily": kind.family(),
        "InstanceFamilyLevel": "EnterpriseLevel",
        "CpuCoreCount": kind.cpus,
        "MemorySize": f64::from(kind.memory),
        "CpuArchitecture": "X86",
        "EniQuantity": kind.nics,
        "EniPrivateIpAddressQuantity": kind.ipv4_per_nic,
        "EniIpv6AddressQuantity": kind.ipv6_per_nic,
        "EniTotalQuantity": kind.nics,
        "EniTrunkSupported": false,
        "EriQuantity": 0,
        "NetworkCardQuantity": 1,
        "NetworkCards": { "NetworkCardInfo": [{ "NetworkCardIndex": 0 }] },
    })
}
