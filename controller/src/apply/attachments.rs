//! The `SpiderMultusConfig`s that pools refer to: created when missing, repaired when ours, left alone otherwise.

use api::{SpiderMultusConfig, labels, render};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use model::{MultusTarget, Plan};
use serde_json::json;
use tracing::{info, warn};

use super::Applied;
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
    applied: &mut Applied,
) {
    let due = plan.multus.values().filter_map(|target| {
        let wanted = render::multus_config(target);
        match world.multus(&target.name.to_string()) {
            None => Some((target, wanted, None)),
            Some(there) if is_ours(there) && !says(there, &wanted) => Some((target, wanted, Some(there))),
            Some(_) => None,
        }
    });
    let outcomes =
        some_at_once(due.map(async |(target, wanted, there)| (target, one(writer, &wanted, there).await)))
            .await;
    for (target, outcome) in outcomes {
        match outcome {
            Ok(object) => {
                info!(multus = %target.name, interface = target.interface, "attachment written");
                events.report(
                    object.object_ref(&()),
                    Severity::Normal,
                    "Written",
                    "Apply",
                    &format!("pools of NICs named {} refer to it", target.interface),
                );
                applied.done([Seen::Multus(Delta::Here(target.name.to_string(), object))]);
            }
            Err(failure) => {
                warn!(multus = %target.name, "attachment not written: {failure}{}", advice(target, &failure));
                applied.note(&failure);
            }
        }
    }
}

async fn one(
    writer: &Writer,
    wanted: &SpiderMultusConfig,
    there: Option<&SpiderMultusConfig>,
) -> Result<SpiderMultusConfig, Failure> {
    let namespace = wanted.namespace().unwrap_or_default();
    let api: Api<SpiderMultusConfig> = Api::namespaced(writer.client.clone(), &namespace);
    let Some(there) = there else {
        return writer.write(Kind::Multus, Verb::Create, api.create(&PostParams::default(), wanted)).await;
    };
    let patch = json!({
        "metadata": {"resourceVersion": there.resource_version()},
        "spec": {
            "cniType": wanted.spec.cni_type,
            "ipvlan": {"master": wanted.spec.ipvlan.as_ref().map(|ipvlan| &ipvlan.master)},
            "enableCoordinator": wanted.spec.enable_coordinator,
        },
    });
    let (name, params) = (wanted.name_any(), PatchParams::default());
    writer.write(Kind::Multus, Verb::Patch, api.patch(&name, &params, &Patch::Merge(&patch))).await
}

fn is_ours(object: &SpiderMultusConfig) -> bool {
    object.labels().get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGER)
}

/// Whether an object says what we want of the part that we own; people may add to the rest.
fn says(there: &SpiderMultusConfig, wanted: &SpiderMultusConfig) -> bool {
    let part = |object: &SpiderMultusConfig| {
        let spec = &object.spec;
        (spec.cni_type, spec.ipvlan.as_ref().map(|ipvlan| ipvlan.master.clone()), spec.enable_coordinator)
    };
    part(there) == part(wanted)
}

fn advice(target: &MultusTarget, failure: &Failure) -> String {
    match failure {
        Failure::Gone(_) => format!("; create namespace {} or change multusName", target.name.namespace()),
        _ => String::new(),
    }
}
