//! Who is behind a pod: the controller at the top of its owners, and the name that its addresses may outlive it by.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use model::PodName;
use model::select::Application;
use tokio::time::timeout;
use tracing::debug;

use crate::pods::{Pod, PodOwner};
use crate::settings::Keep;

/// How many owners are remembered: a node runs pods of some hundred at most.
const REMEMBERED: usize = 512;

/// How long an owner is asked for. Who is at the top is good to know, and no pod waits long for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the addresses of a pod may outlive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It is of a `StatefulSet`: the next pod of its name gets its addresses.
    StatefulSet,
    /// It runs a virtual machine of `KubeVirt`: whichever pod runs that machine next gets them.
    VirtualMachine,
}

/// The name under which the addresses of a pod outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// The name: the pod's, or the virtual machine's.
    pub name: PodName,
    /// Why.
    pub stays: Stays,
}

/// Returns the name under which the addresses of a pod outlive it, if they may.
#[must_use]
pub fn fixed(pod: &Pod, stateful_set: Keep, kubevirt: Keep) -> Option<Fixed> {
    let owner = pod.owner.as_ref()?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, owner.kind.as_str()) {
        ("apps", "StatefulSet") if stateful_set == Keep::Fixed => {
            Some(Fixed { name: pod.name.clone(), stays: Stays::StatefulSet })
        }
        ("kubevirt.io", "VirtualMachineInstance") if kubevirt == Keep::Fixed => {
            let name = PodName { namespace: pod.name.namespace.clone(), name: owner.name.clone() };
            Some(Fixed { name, stays: Stays::VirtualMachine })
        }
        _ => None,
    }
}

/// Finds the controllers at the top, and remembers them. Clones share what is remembered.
#[derive(Clone)]
pub struct Owners {
    client: Client,
    /// The controller of each `ReplicaSet` and `Job` by their UID; oldest first.
    known: Arc<Mutex<VecDeque<(String, Application)>>>,
}

impl Owners {
    /// Makes one that remembers nothing.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    /// Returns the controller at the top of a pod's owners: the pod itself when it has none. When the API server does not say
    /// who is behind a `ReplicaSet` or a `Job`, that is it.
    pub async fn top(&self, pod: &Pod) -> Application {
        let Some(owner) = &pod.owner else {
            return application("v1", "Pod", &pod.name);
        };
        let name = PodName { namespace: pod.name.namespace.clone(), name: owner.name.clone() };
        let own = application(&owner.api_version, &owner.kind, &name);
        if !matches!((own.group.as_str(), own.kind.as_str()), ("apps", "ReplicaSet") | ("batch", "Job")) {
            return own;
        }
        if let Some(known) = self.recall(&owner.uid) {
            return known;
        }
        let top = match timeout(PATIENCE, self.controller(owner, &own)).await {
            Ok(Ok(top)) => top,
            Ok(Err(error)) => {
                debug!(kind = own.kind, name = own.name, "its owner is not known: {error}");
                return own;
            }
            Err(_) => return own,
        };
        self.remember(&owner.uid, &top);
        top
    }

    async fn controller(&self, owner: &PodOwner, own: &Application) -> Result<Application, kube::Error> {
        let kind = GroupVersionKind::gvk(&own.group, &own.version, &own.kind);
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &own.namespace, &resource);
        let object = api.get_metadata_opt(&own.name).await?;
        let object = object.filter(|object| object.metadata.uid.as_deref() == Some(owner.uid.as_str()));
        let owners = object.and_then(|object| object.metadata.owner_references).unwrap_or_default();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
        Ok(controller.map_or_else(
            || own.clone(),
            |OwnerReference { api_version, kind, name, .. }| {
                application(&api_version, &kind, &PodName { namespace: own.namespace.clone(), name })
            },
        ))
    }

    fn recall(&self, uid: &str) -> Option<Application> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(known, _)| known == uid).map(|(_, top)| top.clone())
    }

    fn remember(&self, uid: &str, top: &Application) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.pop_front();
        }
        known.push_back((uid.to_owned(), top.clone()));
    }
}

fn application(api_version: &str, kind: &str, name: &PodName) -> Application {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Application {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}
