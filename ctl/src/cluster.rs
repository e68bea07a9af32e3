//! What the cluster holds, read once.

use std::collections::BTreeMap;
use std::fmt::Debug;

use api::view::{self, PoolView};
use api::{SpiderIPPool, SpiderMultusConfig, SpiderNode};
use k8s_openapi::api::core::v1;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use model::Pool;
use serde::de::DeserializeOwned;

use crate::failure::{Failure, with_causes};
use crate::nodes::NodeFacts;

/// Objects in one reply: what kubectl asks for, too.
const PAGE: u32 = 500;

/// The objects that a plan looks at.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// The nodes by name.
    pub(crate) nodes: BTreeMap<String, NodeFacts>,
    /// All pools by name, whoever wrote them.
    pub(crate) pools: BTreeMap<String, Pool>,
    /// The attachments by `namespace/name`.
    pub(crate) multus: BTreeMap<String, SpiderMultusConfig>,
    /// What the controller said of the nodes, by name.
    pub(crate) spider_nodes: BTreeMap<String, SpiderNode>,
    /// What is odd in it, one sentence each.
    pub(crate) problems: Vec<String>,
}

impl Cluster {
    /// Returns a cluster that has these nodes, and nothing of ours yet.
    pub(crate) fn of(nodes: BTreeMap<String, NodeFacts>) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// Reads the cluster that kubectl would speak to, or the one that this program runs in.
    pub(crate) async fn read() -> Result<Self, Failure> {
        let client = Client::try_default().await.map_err(|error| {
            Failure::Failed(format!(
                "no cluster to read nodes from (set KUBECONFIG, or give --nodes FILE): {}",
                with_causes(&error)
            ))
        })?;
        let (nodes, pools, multus, spider_nodes) = tokio::try_join!(
            all::<v1::Node>(&client, "Nodes"),
            all::<SpiderIPPool>(&client, "SpiderIPPools"),
            all::<SpiderMultusConfig>(&client, "SpiderMultusConfigs"),
            all::<SpiderNode>(&client, "SpiderNodes"),
        )?;
        let mut cluster = Self::default();
        let unknown = [("SpiderIPPool", pools.is_none()), ("SpiderMultusConfig", multus.is_none())];
        let unknown = unknown.into_iter().chain([("SpiderNode", spider_nodes.is_none())]);
        for (kind, _) in unknown.filter(|(_, unknown)| *unknown) {
            cluster.problems.push(format!("the cluster does not know kind {kind}: install the CRDs first"));
        }
        let nodes = nodes.unwrap_or_default();
        cluster.nodes = nodes.iter().map(|node| (node.name_any(), NodeFacts::from(node))).collect();
        for object in pools.unwrap_or_default() {
            let PoolView { pool, problems } = view::pool(&object);
            let problems = problems.into_iter().map(|problem| format!("pool {}: {problem}", pool.name));
            cluster.problems.extend(problems);
            cluster.pools.insert(pool.name.clone(), pool);
        }
        let key =
            |it: &SpiderMultusConfig| format!("{}/{}", it.namespace().unwrap_or_default(), it.name_any());
        cluster.multus = multus.unwrap_or_default().into_iter().map(|it| (key(&it), it)).collect();
        let spider_nodes = spider_nodes.unwrap_or_default().into_iter();
        cluster.spider_nodes = spider_nodes.map(|node| (node.name_any(), node)).collect();
        Ok(cluster)
    }
}

/// Lists a kind, page by page; `None` when the API server does not know it.
pub(crate) async fn all<K>(client: &Client, what: &str) -> Result<Option<Vec<K>>, Failure>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::all(client.clone());
    let (mut items, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(kube::Error::Api(status)) => {
                return Err(Failure::Failed(format!(
                    "the API server does not let {what} be listed: {}",
                    status.message
                )));
            }
            Err(error) => {
                return Err(Failure::Failed(format!(
                    "cannot list {what} at the API server: {}",
                    with_causes(&error)
                )));
            }
        };
        items.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(Some(items)),
        }
    }
}
