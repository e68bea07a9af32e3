//! The namespaces: of each only its labels and its default pools.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use kube::api::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tracing::warn;

/// What the annotations that the agent reads begin with.
const ANNOTATIONS: &str = "ipam.spidernet.io/";

/// What counts of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Those of its annotations that the agent reads: the default pools.
    pub annotations: BTreeMap<String, String>,
}

/// All namespaces. Clones share them.
#[derive(Clone)]
pub struct Namespaces(Arc<Shared>);

struct Shared {
    api: Api<PartialObjectMeta<v1::Namespace>>,
    known: Mutex<BTreeMap<String, Arc<Namespace>>>,
    listed: watch::Sender<bool>,
}

impl Namespaces {
    /// Makes the handle, and the task that follows the namespaces for as long as it is polled.
    pub fn follow(client: Client) -> (Self, impl Future<Output = ()> + use<>) {
        let shared = Arc::new(Shared {
            api: Api::all(client),
            known: Mutex::default(),
            listed: watch::Sender::new(false),
        });
        (Self(Arc::clone(&shared)), follow(shared))
    }

    /// Waits until the first listing is complete.
    pub async fn ready(&self) {
        // The sender lives as long as we do.
        let _ = self.0.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// Returns a namespace, and asks the API server for one that the watch has not shown yet. `None`: there is none.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn get(&self, name: &str) -> Result<Option<Arc<Namespace>>, kube::Error> {
        if let Some(known) = self.0.known().get(name) {
            return Ok(Some(Arc::clone(known)));
        }
        let read = self.0.api.get_opt(name).await?;
        Ok(read.map(|object| Arc::new(Namespace::from(object))))
    }
}

impl Shared {
    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Namespace>>> {
        // Every change under the lock is one insert, remove or swap: a panic leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(shared: Arc<Shared>) {
    let mut stream = watcher::watcher(shared.api.clone(), watcher::Config::default())
        .inspect_err(|error| warn!(kind = "Namespace", "watch interrupted, going on: {error}"))
        .default_backoff()
        .boxed();
    let mut listed = BTreeMap::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(object.name_any(), Arc::new(Namespace::from(object)));
            }
            Ok(Event::InitDone) => {
                *shared.known() = std::mem::take(&mut listed);
                shared.listed.send_replace(true);
            }
            Ok(Event::Apply(object)) => {
                shared.known().insert(object.name_any(), Arc::new(Namespace::from(object)));
            }
            Ok(Event::Delete(object)) => {
                shared.known().remove(&object.name_any());
            }
            // Said above; the watcher goes on by itself.
            Err(_) => {}
        }
    }
}

impl From<PartialObjectMeta<v1::Namespace>> for Namespace {
    fn from(object: PartialObjectMeta<v1::Namespace>) -> Self {
        let mut annotations = object.metadata.annotations.unwrap_or_default();
        annotations.retain(|key, _| key.starts_with(ANNOTATIONS));
        Self { labels: object.metadata.labels.unwrap_or_default(), annotations }
    }
}
