//! The watches that keep the [`World`](crate::world::World): Kubernetes' stream of changes, converted at once to what
//! the plan looks at, so that the bulk of each object is dropped as it arrives.

use std::fmt::Debug;

use api::{SpiderIPPool, SpiderMultusConfig, SpiderNode, view};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tracing::warn;

use crate::world::{Delta, NodeFacts, Seen};

/// Starts one watch for each kind. They end when `told` has no receiver any more, or with the set.
pub(crate) fn start(client: &Client, told: &UnboundedSender<Seen>) -> JoinSet<()> {
    let mut set = JoinSet::new();
    let nodes: Api<v1::Node> = Api::all(client.clone());
    set.spawn(follow(
        nodes,
        told.clone(),
        "Node",
        |node: &v1::Node| {
            let facts = NodeFacts { node: view::node(node), labels: node.labels().clone() };
            (node.name_any(), facts)
        },
        Seen::Node,
    ));
    let pools: Api<SpiderIPPool> = Api::all(client.clone());
    set.spawn(follow(
        pools,
        told.clone(),
        "SpiderIPPool",
        |pool: &SpiderIPPool| (pool.name_any(), view::pool(pool)),
        Seen::Pool,
    ));
    let multus: Api<SpiderMultusConfig> = Api::all(client.clone());
    set.spawn(follow(
        multus,
        told.clone(),
        "SpiderMultusConfig",
        |config: &SpiderMultusConfig| {
            let key = format!("{}/{}", config.namespace().unwrap_or_default(), config.name_any());
            (key, config.clone())
        },
        Seen::Multus,
    ));
    let nodes: Api<SpiderNode> = Api::all(client.clone());
    set.spawn(follow(
        nodes,
        told.clone(),
        "SpiderNode",
        |node: &SpiderNode| (node.name_any(), node.clone()),
        Seen::SpiderNode,
    ));
    set
}

async fn follow<K, T>(
    api: Api<K>,
    told: UnboundedSender<Seen>,
    kind: &'static str,
    look: impl Fn(&K) -> (String, T) + Send + 'static,
    wrap: impl Fn(Delta<T>) -> Seen + Send + 'static,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
    T: Send + 'static,
{
    let here = |object: &K| {
        let (key, item) = look(object);
        Delta::Here(key, item)
    };
    let mut stream = watch(api, watcher::Config::default())
        .inspect_err(|error| warn!(kind, "watch interrupted, going on: {error}"))
        .default_backoff()
        .boxed();
    while let Some(event) = stream.next().await {
        let delta = match event {
            Ok(Event::Init) => Delta::Begin,
            Ok(Event::InitApply(object) | Event::Apply(object)) => here(&object),
            Ok(Event::InitDone) => Delta::End,
            Ok(Event::Delete(object)) => Delta::Gone(look(&object).0),
            Err(_) => continue,
        };
        if told.send(wrap(delta)).is_err() {
            return;
        }
    }
}
