//! One write of one endpoint.

use api::{EndpointAllocation, SpiderEndpoint, SpiderEndpointStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use model::PodName;
use serde_json::json;

use super::book::{Holds, Job, Want};
use crate::owners::{self, Owners};
use crate::settings::Keep;

/// Writes endpoints.
pub(super) struct Writer {
    client: Client,
    node: String,
    owners: Owners,
}

/// A write that did not happen.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) why: String,
    /// Whether it may succeed later.
    pub(super) again: bool,
}

impl Failed {
    pub(super) fn later(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: true }
    }
}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        // What is invalid now is so tomorrow.
        let again = !matches!(&error, kube::Error::Api(status) if matches!(status.code, 400 | 422));
        Self { why: error.to_string(), again }
    }
}

impl Writer {
    pub(super) fn new(client: Client, node: &str, owners: Owners) -> Self {
        Self { client, node: node.to_owned(), owners }
    }

    /// Makes the write, and returns the version of the object that is there then.
    pub(super) async fn write(&self, job: &Job) -> Result<Option<String>, Failed> {
        let api: Api<SpiderEndpoint> = Api::namespaced(self.client.clone(), &job.name.namespace);
        match &job.want {
            Want::Holds(holds) => self.put(&api, &job.name, holds, job.object.is_some()).await,
            Want::Nothing { uid } => delete(&api, &job.name, uid, job.object.clone()).await,
        }
    }

    async fn put(
        &self,
        api: &Api<SpiderEndpoint>,
        name: &PodName,
        holds: &Holds,
        ours: bool,
    ) -> Result<Option<String>, Failed> {
        let object = self.object(name, holds).await;
        if !ours {
            match api.create(&PostParams::default(), &object).await {
                Ok(created) => return Ok(created.resource_version()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                // The namespace is gone or about to go, and the pod with it.
                Err(kube::Error::Api(status)) if status.code == 404 || is_ending(&status.message) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let Some(there) = api.get_opt(&name.name).await? else {
            return Err(Failed::later("it was deleted meanwhile"));
        };
        if there.metadata.deletion_timestamp.is_some() {
            // Of a pod that is gone, and held by the finalizer of another installation.
            release(api, &there).await?;
            return Err(Failed::later("the endpoint of a former pod of that name is about to go"));
        }
        let mut wanted = object;
        keep_details(&mut wanted, &there);
        let same = there.status == wanted.status
            && there.metadata.owner_references == wanted.metadata.owner_references
            && there.finalizers().is_empty();
        if same {
            return Ok(there.resource_version());
        }
        wanted.metadata.resource_version = there.resource_version();
        wanted.metadata.labels.clone_from(&there.metadata.labels);
        wanted.metadata.annotations.clone_from(&there.metadata.annotations);
        Ok(api.replace(&name.name, &PostParams::default(), &wanted).await?.resource_version())
    }

    async fn object(&self, name: &PodName, holds: &Holds) -> SpiderEndpoint {
        let Holds { pod, ips } = holds;
        let top = self.owners.top(pod).await;
        // Addresses that outlive the pod have an endpoint that does; whatever the settings, whose pod it is does not change.
        let owner = match owners::fixed(pod, Keep::Fixed, Keep::Fixed) {
            Some(_) if pod.uid == pod.sandbox_uid() => None,
            _ => Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                name: pod.name.name.clone(),
                uid: pod.uid.clone(),
                controller: Some(true),
                // Would ask for the right to change pods, where that is enforced; and nobody waits for an endpoint.
                block_owner_deletion: None,
            }]),
        };
        SpiderEndpoint {
            metadata: ObjectMeta {
                name: Some(name.name.clone()),
                namespace: Some(name.namespace.clone()),
                owner_references: owner,
                ..ObjectMeta::default()
            },
            status: Some(SpiderEndpointStatus {
                current: EndpointAllocation {
                    uid: pod.sandbox_uid().to_owned(),
                    node: self.node.clone(),
                    ips: ips.clone(),
                },
                owner_controller_type: top.kind,
                owner_controller_name: top.name,
            }),
            ..SpiderEndpoint::default()
        }
    }
}

/// Keeps what only the endpoint knows: after a restart, the pools tell the addresses of a NIC but not how it was wanted.
fn keep_details(wanted: &mut SpiderEndpoint, there: &SpiderEndpoint) {
    let (Some(wanted), Some(there)) = (&mut wanted.status, &there.status) else { return };
    if wanted.current.uid != there.current.uid {
        return;
    }
    for ip in &mut wanted.current.ips {
        let before = there.current.ips.iter().find(|before| {
            before.interface == ip.interface && before.ipv4 == ip.ipv4 && before.ipv6 == ip.ipv6
        });
        if let (Some(before), None) = (before, ip.clean_gateway) {
            ip.clone_from(before);
        }
    }
}

async fn delete(
    api: &Api<SpiderEndpoint>,
    name: &PodName,
    uid: &str,
    object: Option<String>,
) -> Result<Option<String>, Failed> {
    let object = if let Some(object) = object {
        object
    } else {
        let Some(there) = api.get_opt(&name.name).await? else { return Ok(None) };
        let current = there.status.as_ref().map(|status| status.current.uid.as_str());
        if current != Some(uid) {
            return Ok(None);
        }
        release(api, &there).await?;
        there.resource_version().unwrap_or_default()
    };
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: None, resource_version: Some(object) }),
        ..DeleteParams::default()
    };
    match api.delete(&name.name, &params).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        // Somebody wrote it since: the agent of the node where the next pod of a fixed name runs, say. Then it stays.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Err(Failed::later("it was changed meanwhile: looking whose it is now"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes upstream's finalizer off: nobody else would, in a cluster that upstream's agents have left.
async fn release(api: &Api<SpiderEndpoint>, there: &SpiderEndpoint) -> Result<(), Failed> {
    if there.finalizers().is_empty() {
        return Ok(());
    }
    let left: Vec<_> = there.finalizers().iter().filter(|name| *name != api::labels::FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": there.resource_version(), "finalizers": left}});
    match api.patch(&there.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether the API server's words mean that the namespace is being deleted: it has no code of its own for that.
fn is_ending(message: &str) -> bool {
    message.contains("because it is being terminated")
}
