//! The status of a SpiderCoordinator: what was found, and what is kept of before. Written only when it says something new.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use api::{
    OVERLAY_POD_CIDR_KNOWN, SERVICE_CIDR_KNOWN, SpiderCoordinator, SpiderCoordinatorStatus,
    service_replies_of,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::judge::{Certainty, Finding};
use crate::events::{Events, Severity};
use crate::metrics::{Kind, Verb};
use crate::writer::{Failure, Writer};

/// The phase of an object that the agents answer from.
const SYNCED: &str = "Synced";
/// The phase of one that they do not.
const NOT_READY: &str = "NotReady";

/// Both findings.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    pub(super) services: Finding,
    pub(super) overlay: Finding,
}

impl Findings {
    /// Whether something could not be read that may be another time.
    pub(super) fn unread(&self) -> bool {
        [&self.services, &self.overlay].iter().any(|finding| finding.certainty == Certainty::Unread)
    }
}

/// Returns the status that follows from the findings and from what is there. What nodes say of themselves stays for as long as
/// they are among the `nodes`, if those are known.
pub(super) fn status(
    object: &SpiderCoordinator,
    findings: &Findings,
    nodes: Option<&BTreeSet<String>>,
    now: Timestamp,
) -> SpiderCoordinatorStatus {
    let before = object.status.clone().unwrap_or_default();
    let synced = before.phase == SYNCED;
    let Findings { services, overlay } = findings;
    let had = |list: &[String]| synced.then(|| list.to_vec());
    let services = settle(services, had(&before.service_cidr));
    let overlay = settle(overlay, had(&before.overlay_pod_cidr));
    let mut conditions = before.conditions;
    let is_there = |node: &str| nodes.is_none_or(|nodes| nodes.contains(node));
    conditions.retain(|condition| service_replies_of(&condition.type_).is_none_or(is_there));
    for (kind, settled) in [(SERVICE_CIDR_KNOWN, &services), (OVERLAY_POD_CIDR_KNOWN, &overlay)] {
        put(&mut conditions, settled.condition(kind, object.metadata.generation, now));
    }
    let waits: Vec<&str> = [(SERVICE_CIDR_KNOWN, &services), (OVERLAY_POD_CIDR_KNOWN, &overlay)]
        .iter()
        .filter(|(_, settled)| settled.waits)
        .map(|(_, settled)| settled.message.as_str())
        .collect();
    let ready = waits.is_empty();
    SpiderCoordinatorStatus {
        phase: if ready { SYNCED } else { NOT_READY }.to_owned(),
        reason: (!ready).then(|| waits.join("; ")),
        overlay_pod_cidr: overlay.list,
        service_cidr: services.list,
        conditions,
    }
}

/// One list of the status, and what is said of it.
struct Settled {
    list: Vec<String>,
    value: &'static str,
    reason: &'static str,
    message: String,
    /// Whether pods have to wait for it.
    waits: bool,
}

/// Joins what was found with the list that agents already answer with, if they do.
///
/// What could not be read takes nothing away, and no pod waits for what the cluster does not tell at all: then the list
/// stays empty, and the condition says what that means. Pods wait only for what could not be read, and only if no reading
/// before has been answered.
fn settle(finding: &Finding, had: Option<Vec<String>>) -> Settled {
    let Finding { blocks, certainty, reason, message } = finding;
    let found: Vec<String> = blocks.iter().map(ToString::to_string).collect();
    let value = match certainty {
        Certainty::Known => "True",
        Certainty::Unknown => "False",
        Certainty::Denied | Certainty::Unread => "Unknown",
    };
    let unsure = matches!(certainty, Certainty::Denied | Certainty::Unread);
    let waits = *certainty == Certainty::Unread && found.is_empty() && had.is_none();
    match had.filter(|had| unsure && !had.is_empty() && *had != found) {
        Some(had) => {
            let message = format!("{message}; what was known before stays: {}", had.join(", "));
            Settled { list: had, value, reason, message, waits }
        }
        None => Settled { list: found, value, reason, message: message.clone(), waits },
    }
}

impl Settled {
    fn condition(&self, kind: &str, generation: Option<i64>, now: Timestamp) -> Condition {
        let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Condition {
            type_: kind.to_owned(),
            status: self.value.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message.clone(),
            observed_generation: generation,
            last_transition_time: Time(seconds),
        }
    }
}

fn put(conditions: &mut Vec<Condition>, mut condition: Condition) {
    match conditions.iter_mut().find(|there| there.type_ == condition.type_) {
        Some(there) => {
            if there.status == condition.status {
                condition.last_transition_time = there.last_transition_time.clone();
            }
            *there = condition;
        }
        None => conditions.push(condition),
    }
}

/// Writes a status if it says something new, and tells of conditions that changed; returns whether it wrote.
pub(super) async fn write(
    object: &SpiderCoordinator,
    wanted: &SpiderCoordinatorStatus,
    writer: &Writer,
    events: &Events,
) -> Result<bool, Failure> {
    if object.status.as_ref() == Some(wanted) {
        return Ok(false);
    }
    let api: Api<SpiderCoordinator> = Api::all(writer.client.clone());
    let SpiderCoordinatorStatus { phase, reason, overlay_pod_cidr, service_cidr, conditions } = wanted;
    let patch = json!({
        "metadata": {"resourceVersion": object.resource_version()},
        "status": {
            "phase": phase,
            "reason": reason,
            "overlayPodCIDR": overlay_pod_cidr,
            "serviceCIDR": service_cidr,
            "conditions": conditions,
        },
    });
    let (name, params, patch) = (object.name_any(), PatchParams::default(), Patch::Merge(&patch));
    match writer.write(Kind::Coordinator, Verb::Status, api.patch_status(&name, &params, &patch)).await {
        Ok(_) => {
            tell(object, wanted, events);
            Ok(true)
        }
        // Deleted meanwhile.
        Err(Failure::Gone(_)) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Says in an Event what turned from known to unknown, or back.
fn tell(object: &SpiderCoordinator, wanted: &SpiderCoordinatorStatus, events: &Events) {
    let before = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    for condition in &wanted.conditions {
        let same = before.iter().find(|there| there.type_ == condition.type_);
        if same.is_some_and(|same| same.reason == condition.reason && same.status == condition.status) {
            continue;
        }
        let severity = if condition.status == "True" { Severity::Normal } else { Severity::Warning };
        events.report(
            object.object_ref(&()),
            severity,
            &condition.reason,
            &condition.type_,
            &condition.message,
        );
    }
}
