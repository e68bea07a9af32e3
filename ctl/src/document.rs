//! From a plan to the objects that the controller would write: the same ones, in the order in which it writes them.

use std::collections::BTreeSet;

use api::{SpiderMultusConfig, SpiderNode, labels, render};
use jiff::Timestamp;
use kube::ResourceExt;
use model::{Change, NodeReport, Owner, Plan, Pool, PoolTarget};
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::{Extent, Format};
use crate::cluster::Cluster;
use crate::failure::Failure;

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It does not exist yet.
    Create,
    /// It says something else.
    Update,
    /// It goes.
    Delete,
    /// It is as it should be.
    Keep,
}

impl Action {
    /// Returns the word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Keep => "keep",
        }
    }
}

/// An object, and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    action: Action,
    object: Value,
}

/// Returns every object that the controller would create, update or keep: attachments, pools, nodes.
pub(crate) fn documents(plan: &Plan, cluster: &Cluster, now: Timestamp) -> Result<Vec<Document>, Failure> {
    let mut documents = attachments(plan, cluster)?;
    documents.extend(pools(plan, cluster)?);
    documents.extend(nodes(plan, cluster, now)?);
    Ok(documents)
}

/// Returns the text of those objects that `extent` names; nothing, where there are none.
pub(crate) fn text(documents: &[Document], extent: Extent, format: Format) -> Result<String, Failure> {
    let wanted = |it: &&Document| extent == Extent::All || it.action != Action::Keep;
    let objects: Vec<&Value> = documents.iter().filter(wanted).map(|it| &it.object).collect();
    match format {
        Format::Json => pretty(&json!({"apiVersion": "v1", "kind": "List", "items": objects})),
        Format::Yaml | Format::Table => {
            let texts: Result<Vec<String>, Failure> = objects.into_iter().map(yaml).collect();
            Ok(texts?.join("---\n"))
        }
    }
}

/// Returns a value as YAML that readers of YAML 1.1, kubectl among them, take for the same.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|error| Failure::Failed(format!("cannot write YAML: {error}")))
}

/// Returns a value as JSON for people and programs.
pub(crate) fn pretty(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Failed(format!("cannot write JSON: {error}")))?;
    Ok(format!("{text}\n"))
}

fn attachments(plan: &Plan, cluster: &Cluster) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for target in plan.multus.values() {
        let wanted = render::multus_config(target);
        let there = cluster.multus.get(&target.name.to_string());
        let action = match there {
            None => Action::Create,
            Some(there) if !is_managed(there) => continue,
            Some(there) if says(there) == says(&wanted) => Action::Keep,
            Some(_) => Action::Update,
        };
        documents.push(document(action, &wanted, there.and_then(ResourceExt::resource_version))?);
    }
    Ok(documents)
}

fn pools(plan: &Plan, cluster: &Cluster) -> Result<Vec<Document>, Failure> {
    let (mut documents, mut written) = (Vec::new(), BTreeSet::new());
    for step in &plan.steps {
        let name = step.change.pool();
        let held = cluster.pools.get(name);
        // The first write gives it another version.
        let first = written.insert(name);
        let version = held.filter(|_| first).map(|pool| pool.version.clone());
        match &step.change {
            Change::Create(target) => documents.push(document(Action::Create, &render::pool(target), None)?),
            Change::Update(target) => documents.push(update(target, held, version)?),
            Change::Delete { .. } => {}
        }
    }
    for target in plan.pools.values().filter(|target| !written.contains(target.name.as_str())) {
        documents.push(document(Action::Keep, &render::pool(target), None)?);
    }
    Ok(documents)
}

/// Returns a pool so that applying it has the effect of the controller's patch: what is empty now is said to be.
fn update(target: &PoolTarget, held: Option<&Pool>, version: Option<String>) -> Result<Document, Failure> {
    let mut document = document(Action::Update, &render::pool(target), version)?;
    let object = &mut document.object;
    object["spec"]["excludeIPs"] = json!(target.spec.excluded.to_strings());
    object["spec"]["ips"] = json!(target.spec.ips.to_strings());
    if let Some(Owner::Ours(_, spec)) = held.map(|pool| &pool.owner) {
        if spec.gateway.is_some() && target.spec.gateway.is_none() {
            object["spec"]["gateway"] = Value::Null;
        }
        if !spec.denied.is_empty() && target.spec.denied.is_empty() {
            // Apply keeps annotations that it did not write itself; an empty one denies nothing.
            object["metadata"]["annotations"][labels::DENIED] = json!("");
        }
    }
    Ok(document)
}

fn nodes(plan: &Plan, cluster: &Cluster, now: Timestamp) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for report in plan.nodes.values() {
        let there = cluster.spider_nodes.get(&report.node);
        if there.is_some_and(|there| !is_ours(there, report)) {
            continue;
        }
        let wanted = render::node(report, there.and_then(|there| there.status.as_ref()), now);
        let action = match there {
            None => Action::Create,
            Some(there) if there.status == wanted.status && owners(there) == owners(&wanted) => Action::Keep,
            Some(_) => Action::Update,
        };
        documents.push(document(action, &wanted, there.and_then(ResourceExt::resource_version))?);
    }
    Ok(documents)
}

/// Returns an object with the version that an update starts from, so that applying it fails when it changed since.
fn document(action: Action, object: &impl Serialize, version: Option<String>) -> Result<Document, Failure> {
    let mut object = serde_json::to_value(object)
        .map_err(|error| Failure::Failed(format!("cannot write an object: {error}")))?;
    if let (Action::Update, Some(version)) = (action, version.filter(|version| !version.is_empty())) {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    Ok(Document { action, object })
}

fn is_managed(object: &impl ResourceExt) -> bool {
    object.labels().get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGER)
}

/// The part of an attachment that the controller owns; people may add to the rest.
fn says(object: &SpiderMultusConfig) -> impl PartialEq {
    let spec = &object.spec;
    (spec.cni_type, spec.ipvlan.as_ref().map(|ipvlan| ipvlan.master.clone()), spec.enable_coordinator)
}

/// Whether a node's object is the controller's to write: another may look after other clouds of the same cluster.
fn is_ours(there: &SpiderNode, report: &NodeReport) -> bool {
    let provider = there.status.as_ref().and_then(|status| status.provider.as_deref());
    is_managed(there) && (provider.is_none() || report.provider.is_some())
}

fn owners(object: &SpiderNode) -> Vec<&str> {
    object.owner_references().iter().map(|owner| owner.uid.as_str()).collect()
}
