//! The actions, by product and version.

mod assign_ipv4;
mod assign_ipv6;
mod create;
mod filter;
mod instances;
mod lifecycle;
mod nics;
mod shapes;
mod vswitches;

use serde_json::{Map, Value};

use super::clock::later;
use super::cloud::{Cloud, Remembered};
use super::faults::Fault;
use super::parameters::Parameters;
use super::refusal::Refusal;
use super::simulator::Product;
use super::world::{Nic, NicKind, NicStatus, World};

/// A reply without its `RequestId`.
pub(crate) type Reply = Map<String, Value>;

/// One call that passed the gate.
pub(crate) struct Ask<'a> {
    pub(crate) action: &'a str,
    pub(crate) parameters: &'a Parameters,
    pub(crate) fault: Option<&'a Fault>,
}

/// How an action is run.
type Run = fn(&mut Cloud, &Ask<'_>) -> Result<Reply, Refusal>;

/// Whether an action insists on `RegionId`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Region {
    Required,
    Optional,
}

/// The version that each product speaks; another one is not served on its port.
pub(crate) fn version(product: Product) -> &'static str {
    match product {
        Product::Ecs => "2014-05-26",
        Product::Vpc => "2016-04-28",
        Product::Sts => "2015-04-01",
        Product::Metadata => "latest",
    }
}

fn find(product: Product, action: &str) -> Option<(Run, Region)> {
    let (run, region): (Run, Region) = match (product, action) {
        (Product::Ecs, "DescribeNetworkInterfaces") => (nics::describe, Region::Required),
        (Product::Ecs, "DescribeInstances") => (instances::describe, Region::Required),
        (Product::Ecs, "DescribeInstanceTypes") => (instances::describe_types, Region::Optional),
        (Product::Ecs, "AssignPrivateIpAddresses") => (assign_ipv4::assign, Region::Required),
        (Product::Ecs, "UnassignPrivateIpAddresses") => (assign_ipv4::unassign, Region::Required),
        (Product::Ecs, "AssignIpv6Addresses") => (assign_ipv6::assign, Region::Required),
        (Product::Ecs, "UnassignIpv6Addresses") => (assign_ipv6::unassign, Region::Required),
        (Product::Ecs, "CreateNetworkInterface") => (create::create, Region::Required),
        (Product::Ecs, "AttachNetworkInterface") => (lifecycle::attach, Region::Required),
        (Product::Ecs, "DetachNetworkInterface") => (lifecycle::detach, Region::Required),
        (Product::Ecs, "DeleteNetworkInterface") => (lifecycle::delete, Region::Required),
        (Product::Vpc, "DescribeVSwitches") => (vswitches::describe, Region::Optional),
        _ => return None,
    };
    Some((run, region))
}

/// Refuses an action that this product does not have in this version.
pub(crate) fn check(product: Product, action: &str, asked: &str) -> Result<(), Refusal> {
    let known =
        find(product, action).is_some() || (product == Product::Sts && action == "AssumeRoleWithOIDC");
    if known && asked == version(product) {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidAction.NotFound",
        format!("Specified api is not found, please check your url and method: {action} {asked}."),
    ))
}

/// Runs a signed action.
pub(crate) fn run(cloud: &mut Cloud, product: Product, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let (run, region) = find(product, ask.action)
        .ok_or_else(|| Refusal::new("InvalidAction.NotFound", "Specified api is not found."))?;
    let named = match region {
        Region::Required => Some(ask.parameters.required("RegionId")?),
        Region::Optional => ask.parameters.get("RegionId"),
    };
    if let Some(named) = named.filter(|named| *named != cloud.region) {
        return Err(Refusal::new(
            "InvalidRegionId.NotFound",
            format!("The specified RegionId \"{named}\" does not exist."),
        ));
    }
    run(cloud, ask)
}

/// Runs a change that a `ClientToken` makes repeatable: the same call again gets the first answer.
fn once(
    cloud: &mut Cloud,
    ask: &Ask<'_>,
    change: impl FnOnce(&mut Cloud, &Parameters) -> Result<Reply, Refusal>,
) -> Result<Reply, Refusal> {
    let Some(token) = ask.parameters.get("ClientToken") else {
        return change(cloud, ask.parameters);
    };
    if token.len() > 64 || !token.is_ascii() {
        return Err(super::parameters::invalid("ClientToken", token));
    }
    let key = format!("{}/{token}", ask.action);
    let identity = ask.parameters.identity(&["ClientToken"]);
    if let Some(Remembered { identity: first, reply }) = cloud.tokens.get(&key) {
        if *first != identity {
            return Err(Refusal::new(
                "IdempotentParameterMismatch",
                "Request uses a client token in a previous request but is not identical to that request.",
            ));
        }
        return Ok(reply.as_object().cloned().unwrap_or_default());
    }
    let reply = change(cloud, ask.parameters)?;
    cloud.tokens.insert(key, Remembered { identity, reply: Value::Object(reply.clone()) });
    Ok(reply)
}

/// Refuses a change of a NIC that another change still holds.
fn check_free(cloud: &Cloud, nic: &str) -> Result<(), Refusal> {
    let now = cloud.clock.now();
    if cloud.world().need_nic(nic)?.busy_until.is_some_and(|until| until > now) {
        return Err(Refusal::new(
            "Operation.Conflict",
            format!("Another operation on the network interface \"{nic}\" is in progress."),
        ));
    }
    Ok(())
}

/// Lends a NIC out for a change and marks it busy.
fn changed<'a>(cloud: &'a mut Cloud, nic: &str) -> Result<&'a mut Nic, Refusal> {
    let busy = cloud.delays.busy;
    let until = (!busy.is_zero()).then(|| later(cloud.clock.now(), busy));
    let nic = cloud.change().nic_mut(nic)?;
    nic.busy_until = until;
    Ok(nic)
}

/// Refuses addresses for a NIC that is on its way somewhere, or whose instance is.
fn check_steady(world: &World, nic: &Nic) -> Result<(), Refusal> {
    if !matches!(nic.status, NicStatus::Available | NicStatus::InUse) {
        return Err(wrong_state(nic));
    }
    if nic.kind == NicKind::Primary
        && let Some(at) = &nic.attachment
        && !world.need_instance(&at.instance)?.status.is_steady()
    {
        return Err(Refusal::new(
            "InvalidOperation.InvalidEcsState",
            format!("The instance \"{}\" is neither running nor stopped.", at.instance),
        ));
    }
    Ok(())
}

fn wrong_state(nic: &Nic) -> Refusal {
    Refusal::new(
        "InvalidOperation.InvalidEniState",
        format!("The operation is not permitted while \"{}\" is {}.", nic.id, nic.status.as_str()),
    )
}
