//! The pods of this node, and nobody else's: what the agent has to know of each.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use model::PodName;
use serde::Deserialize;
use tokio::sync::{broadcast, watch};
use tracing::warn;

/// Annotation of a mirror pod: says that kubelet made it for a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation of a static pod: the UID under which kubelet runs it, and which the runtime therefore tells plugins.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// What annotations the agent reads begin with; all others are dropped as they arrive.
const ANNOTATIONS: [&str; 6] = [
    "ipam.spidernet.io/",
    "cni.spidernet.io/",
    "v1.multus-cni.io/",
    "k8s.v1.cni.cncf.io/networks",
    "kubernetes.io/config.",
    "kubevirt.io/",
];

/// How many changes a slow listener may lag behind before it is told to look at everything again.
const CHANGES: usize = 256;

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: PodName,
    /// Its `metadata.uid`.
    pub uid: String,
    /// Its node.
    pub node: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Those of its annotations that the agent reads.
    pub annotations: BTreeMap<String, String>,
    /// Its direct controller.
    pub owner: Option<PodOwner>,
    /// Where it is in its life.
    pub life: Life,
    /// Whether its status names an address.
    pub has_address: bool,
}

/// The controller that made a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodOwner {
    /// `group/version`, or the version alone.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The name, in the pod's namespace.
    pub name: String,
    /// The `metadata.uid`.
    pub uid: String,
}

/// Where a pod is in its life. Only a pod that is alive gets addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Pending or running.
    Alive,
    /// It was told to go; its containers are killed at this time at the latest (the grace period is in it already).
    Terminating(Timestamp),
    /// All its containers have ended for good: it succeeded or failed, as evicted pods do.
    Finished,
}

impl Pod {
    /// Returns the UID by which the runtime, and so a pool's record, knows the pod. A static pod's is not that of its
    /// mirror in the API: the mirror may be made anew while the pod runs on.
    #[must_use]
    pub fn sandbox_uid(&self) -> &str {
        match (self.annotations.contains_key(MIRROR), self.annotations.get(CONFIG_HASH)) {
            (true, Some(hash)) => hash,
            _ => &self.uid,
        }
    }

    /// Returns whether `uid`, as a plugin or a pool's record says it, is this pod's.
    #[must_use]
    pub fn is(&self, uid: &str) -> bool {
        uid == self.uid || uid == self.sandbox_uid()
    }

    /// Returns whether the pod may get addresses and keeps those it has.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.life == Life::Alive
    }
}

/// What happened to a pod.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is new, or some of what we know of it changed.
    Here(Arc<Pod>),
    /// It is gone from the API; this is what was last known.
    Gone(Arc<Pod>),
}

/// The pods of this node. Clones share them.
#[derive(Clone)]
pub struct Pods(Arc<Shared>);

struct Shared {
    client: Client,
    known: Mutex<BTreeMap<PodName, Arc<Pod>>>,
    listed: watch::Sender<bool>,
    changes: broadcast::Sender<Change>,
}

impl Pods {
    /// Makes the handle, and the task that follows the pods of `node` for as long as it is polled.
    pub fn follow(client: Client, node: &str) -> (Self, impl Future<Output = ()> + use<>) {
        let shared = Arc::new(Shared {
            client: client.clone(),
            known: Mutex::default(),
            listed: watch::Sender::new(false),
            changes: broadcast::Sender::new(CHANGES),
        });
        let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
        (Self(Arc::clone(&shared)), follow(shared, Api::all(client), config))
    }

    /// Waits until the first listing is complete.
    pub async fn ready(&self) {
        // The sender lives as long as we do.
        let _ = self.0.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// Returns whether the first listing is complete. Before, a pod that is not here may well be in the API.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.listed.borrow()
    }

    /// Returns what the watch last said of a pod of this node.
    #[must_use]
    pub fn get(&self, name: &PodName) -> Option<Arc<Pod>> {
        self.known().get(name).cloned()
    }

    /// Returns the pod of this node that a plugin or a record means by this UID, if the watch knows it.
    #[must_use]
    pub fn of(&self, uid: &str) -> Option<Arc<Pod>> {
        self.known().values().find(|pod| pod.is(uid)).cloned()
    }

    /// Returns all pods of this node that the watch knows.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.known().values().cloned().collect()
    }

    /// Asks the API server for a pod, of whatever node. `None`: it says that there is none.
    ///
    /// # Errors
    /// When it cannot be asked: unknown is not gone.
    pub async fn read(&self, name: &PodName) -> Result<Option<Pod>, kube::Error> {
        let api: Api<Object> = Api::namespaced(self.0.client.clone(), &name.namespace);
        Ok(api.get_opt(&name.name).await?.map(Pod::from))
    }

    /// Returns the changes from now on. A listener that is too slow loses some, is told so, and looks at [`Self::all`].
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<PodName, Arc<Pod>>> {
        self.0.known()
    }
}

impl Shared {
    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<PodName, Arc<Pod>>> {
        // Every change under the lock is one insert, remove or swap: a panic leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn here(&self, pod: Pod) {
        let pod = Arc::new(pod);
        let before = self.known().insert(pod.name.clone(), Arc::clone(&pod));
        if let Some(before) = before.as_ref().filter(|before| before.uid != pod.uid) {
            self.tell(Change::Gone(Arc::clone(before)));
        }
        if before.is_none_or(|before| *before != *pod) {
            self.tell(Change::Here(pod));
        }
    }

    fn gone(&self, pod: &Pod) {
        let mut known = self.known();
        // The delete of a former pod of that name may arrive late.
        if known.get(&pod.name).is_some_and(|here| here.uid == pod.uid)
            && let Some(pod) = known.remove(&pod.name)
        {
            drop(known);
            self.tell(Change::Gone(pod));
        }
    }

    /// Forgets the pods that a complete listing did not show.
    fn complete(&self, listed: &BTreeMap<PodName, String>) {
        let lost: Vec<_> = {
            let known = self.known();
            let lost = known.values().filter(|pod| listed.get(&pod.name) != Some(&pod.uid));
            lost.cloned().collect()
        };
        for pod in lost {
            self.gone(&pod);
        }
        self.listed.send_replace(true);
    }

    fn tell(&self, change: Change) {
        // Nobody may be listening.
        let _ = self.changes.send(change);
    }
}

async fn follow(shared: Arc<Shared>, api: Api<Object>, config: watcher::Config) {
    let mut stream = watcher::watcher(api, config)
        .inspect_err(|error| warn!(kind = "Pod", "watch interrupted, going on: {error}"))
        .default_backoff()
        .boxed();
    let mut listed = BTreeMap::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                let pod = Pod::from(object);
                listed.insert(pod.name.clone(), pod.uid.clone());
                shared.here(pod);
            }
            Ok(Event::InitDone) => shared.complete(&std::mem::take(&mut listed)),
            Ok(Event::Apply(object)) => shared.here(Pod::from(object)),
            Ok(Event::Delete(object)) => shared.gone(&Pod::from(object)),
            // Said above; the watcher goes on by itself.
            Err(_) => {}
        }
    }
}

/// A pod as it is read from the API: the few fields of it that count, so that the bulk is never built.
#[derive(Clone, Debug, Default, Deserialize)]
struct Object {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    phase: String,
    #[serde(default, rename = "podIP")]
    pod_ip: String,
}

impl From<Object> for Pod {
    fn from(object: Object) -> Self {
        let Object { metadata, spec, status } = object;
        let Spec { node_name } = spec;
        let Status { phase, pod_ip } = status;
        // Kubernetes' two last phases: whatever the restart policy, nothing leaves them, and kubelet reports them when
        // all containers have ended. (Upstream takes a failed pod for alive unless it was evicted or never restarts,
        // and so lets pods that were shut down with their node, or rejected, keep their addresses.)
        let ends = matches!(phase.as_str(), "Succeeded" | "Failed");
        let life = match metadata.deletion_timestamp {
            Some(at) => Life::Terminating(at.0),
            None if ends => Life::Finished,
            None => Life::Alive,
        };
        let owners = metadata.owner_references.unwrap_or_default();
        let owner = owners.into_iter().find(|owner| owner.controller == Some(true));
        let mut annotations = metadata.annotations.unwrap_or_default();
        annotations.retain(|key, _| ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix)));
        Self {
            name: PodName {
                namespace: metadata.namespace.unwrap_or_default(),
                name: metadata.name.unwrap_or_default(),
            },
            uid: metadata.uid.unwrap_or_default(),
            node: node_name,
            labels: metadata.labels.unwrap_or_default(),
            annotations,
            owner: owner.map(|owner| PodOwner {
                api_version: owner.api_version,
                kind: owner.kind,
                name: owner.name,
                uid: owner.uid,
            }),
            life,
            has_address: !pod_ip.is_empty(),
        }
    }
}

impl kube::Resource for Object {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(metadata: &Value, status: &Value) -> Pod {
        Pod::from(serde_json::from_value::<Object>(json!({"metadata": metadata, "status": status})).unwrap())
    }

    #[test]
    fn a_pod_that_ended_for_good_is_not_alive() {
        for (phase, life) in [
            ("Running", Life::Alive),
            ("Pending", Life::Alive),
            ("Unknown", Life::Alive),
            ("Succeeded", Life::Finished),
            ("Failed", Life::Finished),
        ] {
            assert_eq!(pod(&json!({"name": "a"}), &json!({"phase": phase})).life, life, "{phase}");
        }
    }

    #[test]
    fn a_pod_that_was_told_to_go_is_not_alive() {
        let pod = pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), &json!({}));
        assert!(matches!(pod.life, Life::Terminating(_)));
    }

    #[test]
    fn a_static_pod_is_known_by_the_hash_of_its_file() {
        let annotations = json!({MIRROR: "h", CONFIG_HASH: "hash", "other": "dropped"});
        let pod = pod(&json!({"uid": "mirror", "annotations": annotations}), &json!({}));
        assert_eq!(pod.sandbox_uid(), "hash");
        assert!(pod.is("hash") && pod.is("mirror") && !pod.is("other"));
        assert!(!pod.annotations.contains_key("other"));
    }

    #[test]
    fn only_the_controller_among_the_owners_counts() {
        let owners = json!([
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "2", "controller": true},
        ]);
        let pod = pod(&json!({"ownerReferences": owners}), &json!({}));
        assert_eq!(pod.owner.map(|owner| owner.kind).as_deref(), Some("StatefulSet"));
    }
}
