//! `AttachNetworkInterface`, `DetachNetworkInterface`, `DeleteNetworkInterface`: all of them end later.

use super::{Ask, Reply, changed, check_free, wrong_state};
use crate::aliyun::clock::later;
use crate::aliyun::cloud::Cloud;
use crate::aliyun::refusal::Refusal;
use crate::aliyun::world::{Attachment, Instance, NicKind, NicStatus, Outcome};

pub(super) fn attach(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let id = ask.parameters.required("NetworkInterfaceId")?;
    let instance = ask.parameters.required("InstanceId")?;
    check_free(cloud, id)?;
    let world = cloud.world();
    let nic = world.need_nic(id)?;
    if nic.status != NicStatus::Available {
        return Err(wrong_state(nic));
    }
    let target = world.need_instance(instance)?;
    check_running(target)?;
    if target.vpc != nic.vpc {
        return Err(Refusal::new(
            "InvalidOperation.VpcMismatch",
            "The instance and the interface differ in VPC.",
        ));
    }
    if target.zone != nic.zone {
        return Err(Refusal::new(
            "InvalidOperation.AvailabilityZoneMismatch",
            "The instance and the interface differ in zone.",
        ));
    }
    let held = world.nics_of(instance);
    if let Some(kind) = world.instance_type(&target.instance_type) {
        if held.len() >= kind.nics {
            return Err(Refusal::new(
                "EniPerInstanceLimitExceeded",
                format!("The instance \"{instance}\" holds {} network interfaces already.", held.len()),
            ));
        }
        if nic.ipv4_load() > kind.ipv4_per_nic {
            return Err(Refusal::new(
                "InvalidOperation.Ipv4CountExceeded",
                format!("The instance type {} affords {} IPv4 addresses.", kind.id, kind.ipv4_per_nic),
            ));
        }
    }
    let taken: Vec<u32> =
        held.iter().filter_map(|nic| nic.attachment.as_ref().and_then(|at| at.device_index)).collect();
    let index = (1..=u32::MAX).find(|index| !taken.contains(index));
    let at = later(cloud.clock.now(), cloud.delays.attach);
    let nic = changed(cloud, id)?;
    nic.status = NicStatus::Attaching;
    nic.attachment = Some(Attachment { instance: instance.to_owned(), device_index: index, trunk: None });
    Ok(end(cloud, at, id, Outcome::Attached))
}

pub(super) fn detach(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let id = ask.parameters.required("NetworkInterfaceId")?;
    let instance = ask.parameters.required("InstanceId")?;
    check_free(cloud, id)?;
    let world = cloud.world();
    let nic = world.need_nic(id)?;
    if nic.kind == NicKind::Primary {
        return Err(Refusal::new(
            "InvalidOperation.DetachPrimaryEniNotAllowed",
            "The primary network interface cannot be detached.",
        ));
    }
    check_running(world.need_instance(instance)?)?;
    let here = nic.attachment.as_ref().is_some_and(|at| at.instance == instance);
    if !here || !matches!(nic.status, NicStatus::InUse | NicStatus::Detaching) {
        return Err(wrong_state(nic));
    }
    if nic.status == NicStatus::Detaching {
        return Ok(Reply::new());
    }
    let at = later(cloud.clock.now(), cloud.delays.detach);
    changed(cloud, id)?.status = NicStatus::Detaching;
    Ok(end(cloud, at, id, Outcome::Detached))
}

pub(super) fn delete(cloud: &mut Cloud, ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let id = ask.parameters.required("NetworkInterfaceId")?;
    check_free(cloud, id)?;
    let nic = cloud.world().need_nic(id)?;
    if nic.status != NicStatus::Available {
        return Err(wrong_state(nic));
    }
    let at = later(cloud.clock.now(), cloud.delays.delete);
    changed(cloud, id)?.status = NicStatus::Deleting;
    Ok(end(cloud, at, id, Outcome::Deleted))
}

fn check_running(instance: &Instance) -> Result<(), Refusal> {
    if instance.status.is_steady() {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidOperation.InvalidEcsState",
        format!("The instance \"{}\" is {}.", instance.id, instance.status.as_str()),
    ))
}

/// Ends the transitional state at its time, which may be now.
fn end(cloud: &mut Cloud, at: jiff::Timestamp, nic: &str, outcome: Outcome) -> Reply {
    cloud.change().end_later(at, nic, outcome);
    cloud.settle();
    Reply::new()
}
