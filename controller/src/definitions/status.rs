//! The status of a SpiderMultusConfig: written only when it says something new.

use api::{READY, SpiderMultusConfig, SpiderMultusConfigStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use model::{Truth, Verdict};
use serde_json::json;

use crate::events::{Events, Severity};
use crate::metrics::{Kind, Verb};
use crate::writer::{Failure, Writer};

/// Says what came of an object; returns it when that was news.
pub(super) async fn write(
    config: &SpiderMultusConfig,
    verdict: &Verdict,
    owned: Option<String>,
    now: Timestamp,
    writer: &Writer,
    events: &Events,
) -> Result<Option<Box<SpiderMultusConfig>>, Failure> {
    let wanted = status(config, verdict, owned, now);
    if config.status.as_ref() == Some(&wanted) {
        return Ok(None);
    }
    let api: Api<SpiderMultusConfig> =
        Api::namespaced(writer.client.clone(), &config.namespace().unwrap_or_default());
    let SpiderMultusConfigStatus { network_attachment_definition, conditions, observed_generation } = &wanted;
    let patch = json!({
        "metadata": {"resourceVersion": config.resource_version()},
        "status": {
            "networkAttachmentDefinition": network_attachment_definition,
            "conditions": conditions,
            "observedGeneration": observed_generation,
        },
    });
    let (name, params, patch) = (config.name_any(), PatchParams::default(), Patch::Merge(&patch));
    match writer.write(Kind::Multus, Verb::Status, api.patch_status(&name, &params, &patch)).await {
        Ok(object) => {
            tell(config, verdict, events);
            Ok(Some(Box::new(object)))
        }
        // Deleted meanwhile, or under upstream's CRD, which has no status: there is nowhere to say it.
        Err(Failure::Gone(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn status(
    config: &SpiderMultusConfig,
    verdict: &Verdict,
    owned: Option<String>,
    now: Timestamp,
) -> SpiderMultusConfigStatus {
    let before = config.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let value = match verdict.status {
        Truth::True => "True",
        Truth::False => "False",
        Truth::Unknown => "Unknown",
    };
    let same = before.iter().find(|condition| condition.type_ == READY && condition.status == value);
    let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let ready = Condition {
        type_: READY.to_owned(),
        status: value.to_owned(),
        reason: verdict.reason.to_owned(),
        message: verdict.message.clone(),
        observed_generation: config.metadata.generation,
        last_transition_time: same.map_or(Time(seconds), |same| same.last_transition_time.clone()),
    };
    let mut conditions = before.to_vec();
    match conditions.iter_mut().find(|condition| condition.type_ == READY) {
        Some(there) => *there = ready,
        None => conditions.push(ready),
    }
    SpiderMultusConfigStatus {
        network_attachment_definition: owned,
        conditions,
        observed_generation: config.metadata.generation,
    }
}

/// Says in an Event when an object turns from well to ill, or back.
fn tell(config: &SpiderMultusConfig, verdict: &Verdict, events: &Events) {
    let mut before = config.status.iter().flat_map(|status| &status.conditions);
    let before = before.find(|condition| condition.type_ == READY);
    let severity = match verdict.status {
        // The creation itself was an Event.
        Truth::True if before.is_none_or(|before| before.status == "True") => return,
        Truth::True => Severity::Normal,
        Truth::False | Truth::Unknown => Severity::Warning,
    };
    if before.is_none_or(|before| before.reason != verdict.reason || before.message != verdict.message) {
        events.report(config.object_ref(&()), severity, verdict.reason, READY, &verdict.message);
    }
}
