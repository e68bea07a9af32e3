//! The writes to a definition.

use std::collections::BTreeMap;

use api::{NetworkAttachmentDefinition, SpiderMultusConfig, attachment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use model::{Truth, Verdict};
use serde_json::{Value, json};

use super::judge::{self, Judgement, judge};
use crate::metrics::{Kind, Verb};
use crate::world::World;
use crate::writer::{Failure, Writer};

/// What a pass made of one object.
pub(super) struct Made {
    /// What is to be said of it.
    pub(super) verdict: Verdict,
    /// The definition, if it is there and the object's.
    pub(super) definition: Option<NetworkAttachmentDefinition>,
    /// What was written, if anything.
    pub(super) written: Option<Written>,
    /// What failed.
    pub(super) failure: Option<Failure>,
}

/// What was done to a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Created,
    Repaired,
}

impl Written {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Repaired => "Updated",
        }
    }

    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Repaired => "made to say again what this object says",
        }
    }
}

/// Returns what the index calls a definition.
pub(super) fn key(definition: &NetworkAttachmentDefinition) -> String {
    format!("{}/{}", definition.namespace().unwrap_or_default(), definition.name_any())
}

/// Creates or repairs the definition of an object, if it has to be and may be.
pub(super) async fn definition(config: &SpiderMultusConfig, world: &World, writer: &Writer) -> Made {
    let wanted = match attachment::definition(config) {
        Ok(wanted) => wanted,
        Err(error) => return Made::left(judge::not_ready(judge::INVALID, error.to_string())),
    };
    if world.definitions_missing() {
        let message = "the cluster does not know NetworkAttachmentDefinitions: install Multus, or the CRD \
                       k8s.cni.cncf.io_network-attachment-definitions.yaml of this chart";
        return Made::left(judge::not_ready(judge::UNKNOWN_KIND, message.to_owned()));
    }
    let key = key(&wanted);
    let namespace = wanted.namespace().unwrap_or_default();
    let api: Api<NetworkAttachmentDefinition> = Api::namespaced(writer.client.clone(), &namespace);
    let looked;
    let there = if let Some(there) = world.definition(&key) {
        Some(there)
    } else {
        // The watch shows those with our label only.
        match api.get_opt(&wanted.name_any()).await {
            Ok(found) => {
                looked = found;
                looked.as_ref()
            }
            Err(error) => return Made::failed(&key, Failure::Unreachable(error.to_string())),
        }
    };
    let ready = || Verdict {
        status: Truth::True,
        reason: judge::GENERATED,
        message: format!("NetworkAttachmentDefinition {key} says what this object says"),
    };
    let outcome = match there.map(|there| (there, judge(config, there, &wanted, world))) {
        None => {
            let params = PostParams::default();
            let create = api.create(&params, &wanted);
            writer
                .write(Kind::Definition, Verb::Create, create)
                .await
                .map(|object| (object, Written::Created))
        }
        Some((there, Judgement::Well)) => {
            return Made { verdict: ready(), definition: Some(there.clone()), written: None, failure: None };
        }
        Some((_, Judgement::Leave(verdict))) => return Made::left(verdict),
        Some((there, Judgement::Repair)) => {
            let (params, patch) = (PatchParams::default(), Patch::Merge(repair(there, &wanted)));
            let name = wanted.name_any();
            let patch = api.patch(&name, &params, &patch);
            writer.write(Kind::Definition, Verb::Patch, patch).await.map(|object| (object, Written::Repaired))
        }
    };
    match outcome {
        Ok((object, written)) => {
            Made { verdict: ready(), definition: Some(object), written: Some(written), failure: None }
        }
        Err(failure) => Made::failed(&key, failure),
    }
}

/// Deletes a definition that the object no longer asks for.
pub(super) async fn delete(there: &NetworkAttachmentDefinition, writer: &Writer) -> Result<(), Failure> {
    let namespace = there.namespace().unwrap_or_default();
    let api: Api<NetworkAttachmentDefinition> = Api::namespaced(writer.client.clone(), &namespace);
    let preconditions = Preconditions { resource_version: there.resource_version(), uid: there.uid() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match writer.write(Kind::Definition, Verb::Delete, api.delete(&there.name_any(), &params)).await {
        Ok(_) | Err(Failure::Gone(_)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Returns the merge patch that makes a definition say what is wanted and keeps what others added.
fn repair(there: &NetworkAttachmentDefinition, wanted: &NetworkAttachmentDefinition) -> Value {
    let mut annotations: BTreeMap<&str, Option<&str>> =
        attachment::stale_annotations(there, wanted).map(|key| (key, None)).collect();
    for (key, value) in wanted.annotations() {
        annotations.insert(key, Some(value));
    }
    let ours = wanted.owner_references();
    let same = |one: &OwnerReference, other: &OwnerReference| one.uid == other.uid;
    let others = there.owner_references().iter().filter(|there| !ours.iter().any(|owner| same(owner, there)));
    let owners: Vec<&OwnerReference> = others.chain(ours).collect();
    json!({
        "metadata": {
            "resourceVersion": there.resource_version(),
            "labels": wanted.labels(),
            "annotations": annotations,
            "ownerReferences": owners,
        },
        "spec": {"config": wanted.spec.config},
    })
}

impl Made {
    fn left(verdict: Verdict) -> Self {
        Self { verdict, definition: None, written: None, failure: None }
    }

    fn failed(key: &str, failure: Failure) -> Self {
        let message = format!("NetworkAttachmentDefinition {key} cannot be written: {failure}");
        let verdict = judge::not_ready(judge::WRITE_FAILED, message);
        Self { verdict, definition: None, written: None, failure: Some(failure) }
    }
}
