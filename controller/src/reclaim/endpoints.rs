//! The `SpiderEndpoint` of a pod whose addresses were freed.

use api::{SpiderEndpoint, labels};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use model::PodName;
use serde_json::json;

use super::judge::{Unread, endpoint};
use crate::metrics::{Kind, Verb};
use crate::writer::{Failure, Writer};

/// Why an endpoint stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It could not be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// It could not be written.
    #[error(transparent)]
    Unwritten(#[from] Failure),
}

/// Removes the endpoint of a name if it is about this UID: one that is about another pod is that pod's.
pub(super) async fn remove(writer: &Writer, pod: &PodName, uid: &str) -> Result<(), Trouble> {
    let Some(there) = endpoint(&writer.client, pod).await? else { return Ok(()) };
    if uid.is_empty() || there.status.as_ref().is_none_or(|status| status.current.uid != uid) {
        return Ok(());
    }
    let api: Api<SpiderEndpoint> = Api::namespaced(writer.client.clone(), &pod.namespace);
    let mut version = there.resource_version();
    let rest: Vec<&String> = there.finalizers().iter().filter(|it| *it != labels::FINALIZER).collect();
    if rest.len() < there.finalizers().len() {
        let patch = json!({"metadata": {"resourceVersion": version, "finalizers": rest}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let request = api.patch(&pod.name, &params, &patch);
        match writer.write(Kind::Endpoint, Verb::Patch, request).await {
            Ok(object) => version = object.resource_version(),
            Err(Failure::Gone(_)) => return Ok(()),
            Err(failure) => return Err(failure.into()),
        }
    }
    let preconditions = Preconditions { resource_version: version, uid: there.uid() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match writer.write(Kind::Endpoint, Verb::Delete, api.delete(&pod.name, &params)).await {
        Ok(_) | Err(Failure::Gone(_)) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}
