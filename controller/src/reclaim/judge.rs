//! One record: what the API server says of its pod, and what becomes of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use api::SpiderEndpoint;
use api::reclaim as read;
use jiff::Timestamp;
use k8s_openapi::api::core::v1;
use kube::{Api, Client};
use model::reclaim::{
    Binding, Endpoint, Facts, Fixed, NodeSight, Sandbox, Sight, Verdict, Why, Zombies, verdict,
};
use model::{Holder, PodName};
use tokio::time::timeout;

use super::Reach;

/// Longest wait for one reading: what takes longer is not known.
const DEADLINE: Duration = Duration::from_secs(5);

/// A reading that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} at the API server: {why}")]
pub(super) struct Unread {
    /// What was to be read.
    what: String,
    /// Why it could not be.
    why: String,
}

/// Makes one reading, within [`DEADLINE`].
pub(super) async fn get<T>(
    what: impl FnOnce() -> String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Unread> {
    match timeout(DEADLINE, request).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(Unread { what: what(), why: error.to_string() }),
        Err(_) => Err(Unread { what: what(), why: format!("no answer within {DEADLINE:?}") }),
    }
}

/// A record, where it is, and what is known of its node.
#[derive(Clone, Debug)]
pub(super) struct Case<'a> {
    pub(super) address: IpAddr,
    pub(super) holder: &'a Holder,
    pub(super) binding: Binding<'a>,
    pub(super) node: NodeSight,
    /// For how long it is known to be without its pod; `None`: this is the first look.
    pub(super) ended: Option<Duration>,
}

/// What became of a case.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It stays.
    Keep(Why),
    /// It would go, but it was looked at for the first time: the next pass looks again.
    Wait,
    /// It goes.
    Free(Why),
}

impl Case<'_> {
    /// Asks and judges. Asks no more than the verdict needs: of a pod that is alive one question.
    pub(super) async fn judge(&self, client: &Client) -> Result<Outcome, Unread> {
        let pod = self.pod(client).await?;
        let mut facts = Facts {
            holder: self.holder,
            binding: self.binding,
            pod: &pod,
            ended: self.ended.unwrap_or_default(),
            sandbox: Sandbox::Unknown,
            node: self.node,
            fixed: Fixed::No,
            endpoint: Endpoint::Silent,
            zombies: Zombies::default(),
        };
        // As if waiting were over: what stays now stays whatever its owner is.
        facts.ended = Duration::MAX;
        if let Verdict::Keep(why) = verdict(&facts) {
            return Ok(Outcome::Keep(why));
        }
        let name = &self.holder.pod;
        facts.fixed = get(|| format!("the owner of {name}"), read::fixed(client, name)).await?;
        if facts.fixed == Fixed::Valid
            && let Sight::Present(there) = &pod
        {
            let status = endpoint(client, name).await?.and_then(|endpoint| endpoint.status);
            facts.endpoint =
                status.map_or(Endpoint::Silent, |status| read::endpoint(&status, there, self.address));
        }
        if let Verdict::Keep(why) = verdict(&facts) {
            return Ok(Outcome::Keep(why));
        }
        let Some(ended) = self.ended else { return Ok(Outcome::Wait) };
        facts.ended = ended;
        Ok(match verdict(&facts) {
            Verdict::Free(why) => Outcome::Free(why),
            Verdict::Keep(_) => Outcome::Wait,
        })
    }

    async fn pod(&self, client: &Client) -> Result<Sight, Unread> {
        let PodName { namespace, name } = &self.holder.pod;
        // Nobody can be asked about a record without a name.
        if namespace.is_empty() || name.is_empty() {
            return Ok(Sight::Unknown);
        }
        let api: Api<v1::Pod> = Api::namespaced(client.clone(), namespace);
        let found = get(|| format!("pod {namespace}/{name}"), api.get_opt(name)).await?;
        Ok(found.map_or(Sight::Absent, |pod| Sight::Present(read::pod(&pod, Timestamp::now()))))
    }
}

/// Reads the endpoint of a pod's name.
pub(super) async fn endpoint(client: &Client, name: &PodName) -> Result<Option<SpiderEndpoint>, Unread> {
    let api: Api<SpiderEndpoint> = Api::namespaced(client.clone(), &name.namespace);
    get(|| format!("SpiderEndpoint {name}"), api.get_opt(&name.name)).await
}

/// The nodes of one pass: asked at the API server itself before one is taken for gone, because a watch may lag.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    watched: BTreeMap<String, NodeSight>,
    asked: BTreeMap<String, NodeSight>,
}

impl Nodes {
    pub(super) fn new(watched: BTreeMap<String, NodeSight>) -> Self {
        Self { watched, asked: BTreeMap::new() }
    }

    /// Returns the node whose agent looks after a record, as far as the watch shows it: that of a node that is there,
    /// and of a pool that serves others as well only if it reports.
    pub(super) fn watched(&self, name: &str, reach: Reach) -> Option<NodeSight> {
        let sight = *self.watched.get(name)?;
        (reach == Reach::Node || sight != NodeSight::NotReady).then_some(sight)
    }

    /// Returns what is known of a node; no name, nothing known.
    pub(super) async fn sight(&mut self, client: &Client, name: &str) -> Result<NodeSight, Unread> {
        if name.is_empty() {
            return Ok(NodeSight::Unknown);
        }
        if let Some(sight) = self.watched.get(name).or_else(|| self.asked.get(name)) {
            return Ok(*sight);
        }
        let api: Api<v1::Node> = Api::all(client.clone());
        let found = get(|| format!("Node {name}"), api.get_opt(name)).await?;
        let sight = found.map_or(NodeSight::Absent, |node| read::node(&node));
        self.asked.insert(name.to_owned(), sight);
        Ok(sight)
    }
}
