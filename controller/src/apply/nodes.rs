//! The `SpiderNode`s: what is said of each node, written only when it says something new.

use api::{SpiderNode, SpiderNodeStatus, labels, render};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use model::{NodeReport, Plan, Truth, Verdict};
use serde_json::json;
use tracing::{debug, warn};

use super::{Applied, Troubles};
use crate::events::{Events, Severity};
use crate::metrics::{Kind, Verb};
use crate::shelf::Delta;
use crate::world::{Seen, World};
use crate::writer::{Failure, Writer, some_at_once};

pub(super) async fn write(
    plan: &Plan,
    world: &World,
    writer: &Writer,
    events: &Events,
    troubles: &Troubles,
    now: Timestamp,
    applied: &mut Applied,
) {
    let api: Api<SpiderNode> = Api::all(writer.client.clone());
    let due = plan.nodes.values().filter_map(|report| {
        let there = world.spider_node(&report.node);
        if there.is_some_and(|there| !is_ours(there, report)) {
            return None;
        }
        let report = with_troubles(report, troubles.get(&report.node));
        let wanted = render::node(&report, there.and_then(|there| there.status.as_ref()), now);
        let same =
            there.is_some_and(|there| there.status == wanted.status && owners(there) == owners(&wanted));
        (!same).then_some((report, wanted, there))
    });
    let outcomes = some_at_once(due.map(async |(report, wanted, there)| {
        let before = there.and_then(|there| there.status.as_ref());
        let outcome = one(&api, writer, &wanted, there).await;
        if let Ok(object) = &outcome {
            tell(events, object, before, &report);
        }
        (report, outcome)
    }))
    .await;
    for (report, outcome) in outcomes {
        match outcome {
            Ok(object) => {
                debug!(node = report.node, "node status written");
                applied.done([Seen::SpiderNode(Delta::Here(report.node.clone(), object))]);
            }
            Err(failure) => {
                warn!(node = report.node, "node status not written: {failure}");
                applied.note(&failure);
            }
        }
    }
}

async fn one(
    api: &Api<SpiderNode>,
    writer: &Writer,
    wanted: &SpiderNode,
    there: Option<&SpiderNode>,
) -> Result<SpiderNode, Failure> {
    let name = wanted.name_any();
    let mut object = match there {
        None => writer.write(Kind::Node, Verb::Create, api.create(&PostParams::default(), wanted)).await?,
        Some(there) if owners(there) != owners(wanted) => {
            // The node was re-created: without its new owner the object would be collected with the old one.
            let patch = json!({"metadata": {
                "resourceVersion": there.resource_version(),
                "ownerReferences": wanted.metadata.owner_references,
            }});
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            writer.write(Kind::Node, Verb::Patch, api.patch(&name, &params, &patch)).await?
        }
        Some(there) => there.clone(),
    };
    object.status.clone_from(&wanted.status);
    object.metadata.managed_fields = None;
    let params = PostParams::default();
    writer.write(Kind::Node, Verb::Status, api.replace_status(&name, &params, &object)).await
}

fn owners(object: &SpiderNode) -> Vec<&str> {
    object.owner_references().iter().map(|owner| owner.uid.as_str()).collect()
}

/// Whether a node's object is ours to write: another controller may look after other clouds of the same cluster.
fn is_ours(there: &SpiderNode, report: &NodeReport) -> bool {
    let managed = there.labels().get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGER);
    let provider = there.status.as_ref().and_then(|status| status.provider.as_deref());
    managed && (provider.is_none() || report.provider.is_some())
}

/// Adds what the API server refused to what is said of a node.
fn with_troubles(report: &NodeReport, troubles: Option<&Vec<String>>) -> NodeReport {
    let mut report = report.clone();
    if let Some(troubles) = troubles {
        report.synced = Verdict { status: Truth::False, reason: "WriteFailed", message: troubles.join("; ") };
    }
    report
}

/// Says in an Event when a node turns from well to ill, or back.
fn tell(events: &Events, object: &SpiderNode, before: Option<&SpiderNodeStatus>, report: &NodeReport) {
    let verdicts = [
        (api::DISCOVERED, &report.discovered),
        (api::SYNCED, &report.synced),
        (api::SUFFICIENT_IPS, &report.sufficient),
    ];
    for (kind, verdict) in verdicts {
        let old =
            before.and_then(|status| status.conditions.iter().find(|condition| condition.type_ == kind));
        let (was_well, is_well) = (old.map(|old| old.status == "True"), verdict.status == Truth::True);
        let changed = old.is_none_or(|old| old.reason != verdict.reason);
        match (was_well, is_well) {
            (_, false) if changed => {
                events.report(
                    object.object_ref(&()),
                    Severity::Warning,
                    verdict.reason,
                    kind,
                    &verdict.message,
                );
            }
            (Some(false), true) => {
                events.report(
                    object.object_ref(&()),
                    Severity::Normal,
                    verdict.reason,
                    kind,
                    &verdict.message,
                );
            }
            _ => {}
        }
    }
}
