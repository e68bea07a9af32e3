//! The watches that keep the [`World`](crate::world::World): Kubernetes' stream of changes, converted at once to what
//! the plan looks at, so that the bulk of each object is dropped as it arrives.

use std::fmt::Debug;
use std::time::Duration;

use api::{
    NetworkAttachmentDefinition, SpiderCoordinator, SpiderIPPool, SpiderMultusConfig, SpiderNode, labels,
    view,
};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::admission::{Book, book};
use crate::shelf::Delta;
use crate::wait::backoff;
use crate::world::{NodeFacts, Seen};

/// Starts one watch for each kind. They end when `told` has no receiver any more, or with the set.
///
/// What people's pools give out goes into the `book` at once: an admission does not wait for the main loop.
pub(crate) fn start(client: &Client, told: &UnboundedSender<Seen>, book: Book) -> JoinSet<()> {
    let mut set = JoinSet::new();
    let nodes: Api<v1::Node> = Api::all(client.clone());
    set.spawn(follow(
        nodes,
        watcher::Config::default(),
        told.clone(),
        "Node",
        |node: &v1::Node| {
            let facts = NodeFacts {
                node: view::node(node),
                labels: node.labels().clone(),
                sight: api::reclaim::node(node),
            };
            (node.name_any(), facts)
        },
        Seen::Node,
    ));
    let pools: Api<SpiderIPPool> = Api::all(client.clone());
    set.spawn(follow(
        pools,
        watcher::Config::default(),
        told.clone(),
        "SpiderIPPool",
        |pool: &SpiderIPPool| {
            let view = view::pool(pool);
            let entry = book::entry(pool, &view.pool.owner);
            (pool.name_any(), (view, entry))
        },
        move |delta| {
            let (view, entry) = delta.split();
            book.see(entry);
            Seen::Pool(view)
        },
    ));
    let multus: Api<SpiderMultusConfig> = Api::all(client.clone());
    set.spawn(follow(
        multus,
        watcher::Config::default(),
        told.clone(),
        "SpiderMultusConfig",
        |config: &SpiderMultusConfig| {
            let key = format!("{}/{}", config.namespace().unwrap_or_default(), config.name_any());
            (key, without_fields(config))
        },
        Seen::Multus,
    ));
    let nodes: Api<SpiderNode> = Api::all(client.clone());
    set.spawn(follow(
        nodes,
        watcher::Config::default(),
        told.clone(),
        "SpiderNode",
        |node: &SpiderNode| (node.name_any(), node.clone()),
        Seen::SpiderNode,
    ));
    set
}

/// Follows the SpiderCoordinator of this name.
pub(crate) async fn follow_coordinator(client: Client, name: String, told: UnboundedSender<Seen>) {
    let api: Api<SpiderCoordinator> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let look = |object: &SpiderCoordinator| (object.name_any(), without_fields(object));
    follow(api, config, told, "SpiderCoordinator", look, Seen::Coordinator).await;
}

/// Shortest and longest wait before a kind that the cluster does not know is asked for again.
const MISSING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Follows the definitions that carry our label. The cluster may not know the kind, now or later: that is told too, and
/// asked again less and less often.
pub(crate) async fn follow_definitions(client: Client, told: UnboundedSender<Seen>) {
    let api: Api<NetworkAttachmentDefinition> = Api::all(client);
    let config = watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let look = |definition: &NetworkAttachmentDefinition| {
        let key = format!("{}/{}", definition.namespace().unwrap_or_default(), definition.name_any());
        (key, without_fields(definition))
    };
    let mut missed = 0;
    loop {
        let mut stream = watch(api.clone(), config.clone()).default_backoff().boxed();
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => {
                    // A listing begins before it is known to fail.
                    if matches!(event, Event::InitDone) {
                        missed = 0;
                    }
                    if told.send(Seen::Definition(delta(event, look))).is_err() {
                        return;
                    }
                }
                Err(error) if is_unknown(&error) => break,
                Err(error) => {
                    warn!(kind = "NetworkAttachmentDefinition", "watch interrupted, going on: {error}");
                }
            }
        }
        if missed == 0 {
            info!("the cluster does not know NetworkAttachmentDefinitions: none are made until it does");
        }
        if told.send(Seen::NoDefinitions).is_err() {
            return;
        }
        tokio::time::sleep(backoff(MISSING, missed)).await;
        missed = missed.saturating_add(1);
    }
}

/// Whether the API server says that it has no such kind.
fn is_unknown(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    let (InitialListFailed(kube::Error::Api(status))
    | WatchStartFailed(kube::Error::Api(status))
    | WatchFailed(kube::Error::Api(status))
    | WatchError(status)) = error
    else {
        return false;
    };
    status.code == 404
}

/// An object without the record of who wrote which of its fields, which is often the larger half of it.
fn without_fields<K: Resource + Clone>(object: &K) -> K {
    let mut object = object.clone();
    object.meta_mut().managed_fields = None;
    object
}

fn delta<K, T>(event: Event<K>, look: impl Fn(&K) -> (String, T)) -> Delta<T> {
    match event {
        Event::Init => Delta::Begin,
        Event::InitApply(object) | Event::Apply(object) => {
            let (key, item) = look(&object);
            Delta::Here(key, item)
        }
        Event::InitDone => Delta::End,
        Event::Delete(object) => Delta::Gone(look(&object).0),
    }
}

async fn follow<K, T>(
    api: Api<K>,
    config: watcher::Config,
    told: UnboundedSender<Seen>,
    kind: &'static str,
    look: impl Fn(&K) -> (String, T) + Send + 'static,
    wrap: impl Fn(Delta<T>) -> Seen + Send + 'static,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
    T: Send + 'static,
{
    let mut stream = watch(api, config)
        .inspect_err(|error| warn!(kind, "watch interrupted, going on: {error}"))
        .default_backoff()
        .boxed();
    while let Some(event) = stream.next().await {
        let Ok(event) = event else { continue };
        if told.send(wrap(delta(event, &look))).is_err() {
            return;
        }
    }
}
