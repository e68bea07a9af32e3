//! The pools: first everything that leaves one, then everything that enters one.

use std::collections::{BTreeMap, BTreeSet};

use api::{SpiderIPPool, clamped_count, labels, render, view};
use k8s_openapi::api::core::v1;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use model::{Change, Owner, Phase, Plan, Pool, Step};
use serde_json::json;
use tracing::{info, warn};

use super::{Applied, Troubles};
use crate::events::{Events, Severity};
use crate::metrics::{self, Kind, Outcome, Verb};
use crate::shelf::Delta;
use crate::world::{Seen, World};
use crate::writer::{self, Failure, Writer, some_at_once};

/// What a step left behind.
enum Left {
    /// The pool as it is now.
    Pool(Box<SpiderIPPool>),
    /// Nothing: it is deleted.
    Nothing,
    /// All as it was: the node whose pool should go is still there.
    NodeIsThere,
}

/// Carries out the steps; returns the pools that were written, as they are now.
pub(super) async fn write(
    plan: &Plan,
    world: &World,
    writer: &Writer,
    events: &Events,
    applied: &mut Applied,
    troubles: &mut Troubles,
) -> BTreeMap<String, SpiderIPPool> {
    let api: Api<SpiderIPPool> = Api::all(writer.client.clone());
    let mut failed = BTreeSet::new();
    let mut written = BTreeMap::<String, SpiderIPPool>::new();
    let mut told = BTreeMap::<String, Vec<String>>::new();
    for phase in [Phase::Release, Phase::Gain] {
        let due = plan.steps.iter().filter(|step| step.phase == phase);
        let (ready, waiting): (Vec<&Step>, Vec<&Step>) =
            due.partition(|step| !failed.contains(step.change.pool()) && step.needs.is_disjoint(&failed));
        for step in waiting {
            writer.count_step(kind(&step.change), Outcome::Skipped);
        }
        let outcomes = some_at_once(ready.iter().map(async |step| {
            let held = world.pools().get(step.change.pool());
            let version = written.get(step.change.pool()).and_then(ResourceExt::resource_version);
            (*step, one(&api, writer, &step.change, held, version).await)
        }))
        .await;
        for (step, outcome) in outcomes {
            writer.count_step(kind(&step.change), result(&outcome));
            let (name, node) = (step.change.pool().to_owned(), node_of(&step.change, world));
            let sentence = sentence(&step.change, world);
            match outcome {
                Ok(Left::Pool(object)) => {
                    info!(pool = name, node, "{sentence}");
                    told.entry(node).or_default().push(sentence);
                    applied.done([Seen::Pool(Delta::Here(name.clone(), view::pool(&object)))]);
                    written.insert(name, *object);
                }
                Ok(Left::Nothing) => {
                    info!(pool = name, node, "{sentence}");
                    told.entry(node).or_default().push(sentence);
                    written.remove(&name);
                    applied.done([Seen::Pool(Delta::Gone(name))]);
                }
                Ok(Left::NodeIsThere) => {
                    warn!(pool = name, node, "pool kept: the watch lost its node, but the node is there");
                    failed.insert(name);
                    applied.failures += 1;
                }
                Err(failure) => {
                    warn!(pool = name, node, "{sentence} failed: {failure}");
                    applied.note(&failure);
                    troubles.entry(node).or_default().push(format!("{sentence} failed: {failure}"));
                    failed.insert(name);
                }
            }
        }
    }
    for (node, sentences) in told {
        let on = node_reference(plan, &node);
        events.report(on, Severity::Normal, "PoolsSynced", "Sync", &sentences.join("; "));
    }
    written
}

async fn one(
    api: &Api<SpiderIPPool>,
    writer: &Writer,
    change: &Change,
    held: Option<&Pool>,
    version: Option<String>,
) -> Result<Left, Failure> {
    let version = version.or_else(|| held.map(|pool| pool.version.clone()));
    match change {
        Change::Create(target) => {
            let object = render::pool(target);
            let params = PostParams::default();
            let create = api.create(&params, &object);
            writer.write(Kind::Pool, Verb::Create, create).await.map(|object| Left::Pool(Box::new(object)))
        }
        Change::Update(target) => {
            let object = render::pool(target);
            let mut annotations = json!(object.annotations());
            if target.spec.denied.is_empty() {
                annotations[labels::DENIED] = json!(null);
            }
            let patch = json!({
                "metadata": {"resourceVersion": version, "labels": object.labels(), "annotations": annotations},
                "spec": {
                    "ips": object.spec.ips,
                    // No list rather than an empty one: as a pool that never excluded anything.
                    "excludeIPs": (!object.spec.exclude_ips.is_empty()).then_some(&object.spec.exclude_ips),
                    "gateway": object.spec.gateway,
                    "default": object.spec.default,
                    "nodeName": object.spec.node_name,
                    "multusName": object.spec.multus_name,
                },
            });
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            let update = api.patch(&target.name, &params, &patch);
            writer.write(Kind::Pool, Verb::Patch, update).await.map(|object| Left::Pool(Box::new(object)))
        }
        Change::Delete { name, gone, .. } => {
            if let Some(node) = gone
                && is_there(writer, node).await?
            {
                return Ok(Left::NodeIsThere);
            }
            let preconditions =
                Preconditions { resource_version: version, uid: held.map(|pool| pool.uid.clone()) };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match writer.write(Kind::Pool, Verb::Delete, api.delete(name, &params)).await {
                Ok(either) => Ok(either.left().map_or(Left::Nothing, |object| {
                    // A finalizer holds it: what is left of it is terminating.
                    if object.finalizers().is_empty() { Left::Nothing } else { Left::Pool(Box::new(object)) }
                })),
                Err(Failure::Gone(_)) => Ok(Left::Nothing),
                Err(failure) => Err(failure),
            }
        }
    }
}

/// Looks at the API server itself whether a node is there: a watch may have lost it.
async fn is_there(writer: &Writer, node: &str) -> Result<bool, Failure> {
    let api: Api<v1::Node> = Api::all(writer.client.clone());
    match api.get_metadata_opt(node).await {
        Ok(found) => Ok(found.is_some()),
        Err(error) => Err(Failure::Unreachable(error.to_string())),
    }
}

/// Writes the totals that `kubectl get` shows, of at most so many pools that say another or none.
pub(super) async fn count(
    plan: &Plan,
    world: &World,
    writer: &Writer,
    written: BTreeMap<String, SpiderIPPool>,
    most: usize,
    applied: &mut Applied,
) {
    let api: Api<SpiderIPPool> = Api::all(writer.client.clone());
    let due = plan.pools.values().filter_map(|target| {
        let there = match written.get(&target.name) {
            Some(object) => view::pool(object).pool,
            None => world.pools().get(&target.name)?.clone(),
        };
        let total = total(&there)?;
        (there.total != Some(total)).then_some((target, there, total))
    });
    let mut due: Vec<_> = due.collect();
    applied.more |= due.len() > most;
    due.truncate(most);
    let outcomes = some_at_once(due.into_iter().map(async |(target, there, total)| {
        let mut counts = json!({"totalIPCount": total});
        if there.total.is_none() && there.allocated.is_empty() {
            counts["allocatedIPCount"] = json!(0);
        }
        // With the version: whoever counted an allocation in between knows better.
        let patch = json!({"metadata": {"resourceVersion": there.version}, "status": counts});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        writer.write(Kind::Pool, Verb::Status, api.patch_status(&target.name, &params, &patch)).await
    }))
    .await;
    for outcome in outcomes {
        match outcome {
            Ok(object) => {
                applied.done([Seen::Pool(Delta::Here(object.name_any(), view::pool(&object)))]);
            }
            Err(failure) => applied.note(&failure),
        }
    }
}

fn kind(change: &Change) -> metrics::Change {
    match change {
        Change::Create(_) => metrics::Change::Create,
        Change::Update(_) => metrics::Change::Update,
        Change::Delete { .. } => metrics::Change::Delete,
    }
}

fn result(outcome: &Result<Left, Failure>) -> Outcome {
    match outcome {
        Ok(Left::Pool(_) | Left::Nothing) => Outcome::Done,
        Ok(Left::NodeIsThere) => Outcome::Skipped,
        Err(failure) => writer::outcome(failure),
    }
}

/// How many addresses a pool of ours offers, those excluded left out.
fn total(pool: &Pool) -> Option<i64> {
    match &pool.owner {
        Owner::Ours(_, spec) => Some(clamped_count(spec.offered().count())),
        Owner::Foreign => None,
    }
}

fn node_of(change: &Change, world: &World) -> String {
    match change {
        Change::Create(target) | Change::Update(target) => target.origin.node.clone(),
        Change::Delete { name, .. } => match world.pools().get(name).map(|pool| &pool.owner) {
            Some(Owner::Ours(origin, _)) => origin.node.clone(),
            Some(Owner::Foreign) | None => String::new(),
        },
    }
}

fn sentence(change: &Change, world: &World) -> String {
    match change {
        Change::Create(target) => format!(
            "pool {} created with {} ({} of NIC {})",
            target.name, target.spec.ips, target.origin.interface, target.origin.nic
        ),
        Change::Update(target) => {
            let before = world.pools().get(&target.name).and_then(|pool| match &pool.owner {
                Owner::Ours(_, spec) => Some(spec.offered()),
                Owner::Foreign => None,
            });
            let (before, after) = (before.unwrap_or_default(), target.spec.offered());
            let (more, less) = (after.difference(&before), before.difference(&after));
            let part = |sign: &str, set: &model::AddressSet| {
                if set.is_empty() { String::new() } else { format!(" {sign}{set}") }
            };
            format!("pool {} changed:{}{}", target.name, part("+", &more), part("-", &less))
        }
        Change::Delete { name, why, .. } => format!("pool {name} deleted: {why}"),
    }
}

/// Where Events about a node's pools go: to its Node, which outlives them and which people look at first.
fn node_reference(plan: &Plan, node: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(v1::Node::kind(&()).into_owned()),
        name: Some(node.to_owned()),
        uid: plan.nodes.get(node).map(|report| report.node_uid.clone()),
        ..ObjectReference::default()
    }
}
