//! All that answers a plugin: what is known of the cluster, and the pools.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use model::{Holder, PodName, short_container};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::endpoints::Endpoints;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::node::Node;
use crate::owners::{self, Fixed, Owners};
use crate::pods::{Pod, Pods};
use crate::pools::Pools;
use crate::sandboxes::Sandboxes;
use crate::settings::Settings;
use crate::upkeep::Told;

/// How long an ADD may take: below the 100 s that upstream's plugin waits.
pub const ADD_DEADLINE: Duration = Duration::from_mins(1);

/// How long anything else may take. A DEL that fails is kept by our plugin, and repeated by kubelet for upstream's.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What the requests of plugins are answered with. One for the whole process, behind an [`Arc`].
pub struct Agent {
    /// How to work.
    pub settings: Settings,
    /// The API server.
    pub client: Client,
    /// This node's pods.
    pub pods: Pods,
    /// The namespaces.
    pub namespaces: Namespaces,
    /// This node.
    pub node: Node,
    /// The pools.
    pub pools: Pools,
    /// What the runtime said.
    pub sandboxes: Sandboxes,
    /// Who is behind a pod.
    pub owners: Owners,
    /// What people see of a pod's addresses.
    pub endpoints: Endpoints,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether all that was read that an answer needs.
    pub health: Health,
    /// What goes on after an answer.
    pub after: TaskTracker,
    /// Asks the reclaim for a look at once.
    pub reclaim: Arc<Notify>,
    /// Whose network namespaces plugins told.
    pub told: Told,
}

/// Why there is no pod to serve.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Something that every request needs is missing.
    #[error(
        "the request has no {0}: does the runtime pass K8S_POD_NAMESPACE, K8S_POD_NAME and K8S_POD_INFRA_CONTAINER_ID?"
    )]
    Incomplete(&'static str),
    /// The agent has not read the cluster.
    #[error("{0}")]
    NotReady(String),
    /// The API server was asked and did not say.
    #[error("cannot read pod {pod} from the API server: {why}")]
    Unread {
        /// The pod.
        pod: PodName,
        /// Why.
        why: String,
    },
    /// There is no such pod.
    #[error(
        "there is no pod {0} in the API: it was deleted, or the API server that this agent asks is another one"
    )]
    Absent(PodName),
    /// Another pod has the name.
    #[error("pod {pod} with UID {asked} is gone: another pod with UID {there} has its name")]
    Other {
        /// The pod.
        pod: PodName,
        /// The UID that was asked for.
        asked: String,
        /// The UID that is there.
        there: String,
    },
    /// It is not ours.
    #[error("pod {pod} is bound to node {there:?} and not to {here:?}: is this agent's --node-name right?")]
    Elsewhere {
        /// The pod.
        pod: PodName,
        /// Its node.
        there: String,
        /// Ours.
        here: String,
    },
    /// It gets no address any more.
    #[error("pod {pod} gets no address: {why}")]
    Ended {
        /// The pod.
        pod: PodName,
        /// In what way it has ended.
        why: &'static str,
    },
}

impl Agent {
    /// Waits until the cluster was read.
    ///
    /// # Errors
    /// When that is not so at the deadline.
    pub async fn ready(&self, deadline: Instant) -> Result<(), PodError> {
        match timeout_at(deadline, self.health.is_ready()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(PodError::NotReady(self.health.unready().unwrap_or_default())),
        }
    }

    /// Returns the pod that a request is about: from the watch, or from the API server when the watch is behind.
    ///
    /// # Errors
    /// See [`PodError`].
    pub async fn pod(&self, name: &PodName, uid: &str, deadline: Instant) -> Result<Arc<Pod>, PodError> {
        let is = |pod: &Pod| uid.is_empty() || pod.is(uid);
        if let Some(pod) = self.pods.get(name).filter(|pod| is(pod)) {
            return Ok(pod);
        }
        let unread = |why: String| PodError::Unread { pod: name.clone(), why };
        let read = timeout_at(deadline, self.pods.read(name)).await;
        let read = read.map_err(|_| unread("it does not answer".to_owned()))?;
        let pod = read.map_err(|error| unread(error.to_string()))?;
        let pod = pod.ok_or_else(|| PodError::Absent(name.clone()))?;
        if !is(&pod) {
            return Err(PodError::Other { pod: name.clone(), asked: uid.to_owned(), there: pod.uid });
        }
        if pod.node != self.node.name() {
            let here = self.node.name().to_owned();
            return Err(PodError::Elsewhere { pod: name.clone(), there: pod.node, here });
        }
        Ok(Arc::new(pod))
    }

    /// Returns the name under which a pod's addresses outlive it, if they may.
    #[must_use]
    pub fn fixed(&self, pod: &Pod) -> Option<Fixed> {
        owners::fixed(pod, self.settings.stateful_set, self.settings.kubevirt)
    }

    /// Returns the record to write for a NIC of a pod.
    #[must_use]
    pub fn holder(&self, pod: &Pod, uid: &str, nic: &str, container: &str) -> Holder {
        Holder {
            pod: self.fixed(pod).map_or_else(|| pod.name.clone(), |fixed| fixed.name),
            uid: if uid.is_empty() { pod.sandbox_uid().to_owned() } else { uid.to_owned() },
            nic: nic.to_owned(),
            container: short_container(container).to_owned(),
            node: self.node.name().to_owned(),
            ..Holder::default()
        }
    }
}

/// Refuses a request that lacks what it cannot do without.
///
/// # Errors
/// Names the first field that is empty.
pub fn complete(fields: &[(&'static str, &str)]) -> Result<(), PodError> {
    match fields.iter().find(|(_, value)| value.is_empty()) {
        Some((name, _)) => Err(PodError::Incomplete(name)),
        None => Ok(()),
    }
}
