//! This node: its labels, for the pools that choose their nodes by them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use kube::api::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::warn;

/// What the API says of this node. Clones share it.
#[derive(Clone)]
pub struct Node {
    name: Arc<str>,
    said: Arc<watch::Sender<Said>>,
}

/// What the watch said last.
#[derive(Clone, Debug, Default)]
enum Said {
    /// Nothing yet.
    #[default]
    Nothing,
    /// There is no such Node.
    Absent,
    /// Its labels.
    Labels(Arc<BTreeMap<String, String>>),
}

impl Node {
    /// Makes the handle, and the task that follows the Node `name` for as long as it is polled.
    pub fn follow(client: Client, name: &str) -> (Self, impl Future<Output = ()> + use<>) {
        let node = Self { name: name.into(), said: Arc::default() };
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        (node.clone(), follow(node.said, Api::all(client), config))
    }

    /// Returns the node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the API server said something of the node, be it that there is none.
    pub async fn ready(&self) {
        // The sender lives as long as we do.
        let _ = self.said.subscribe().wait_for(|said| !matches!(said, Said::Nothing)).await;
    }

    /// Returns the node's labels: none when there is no such Node, which a static pod may precede.
    #[must_use]
    pub fn labels(&self) -> Arc<BTreeMap<String, String>> {
        match &*self.said.borrow() {
            Said::Labels(labels) => Arc::clone(labels),
            Said::Nothing | Said::Absent => Arc::default(),
        }
    }
}

async fn follow(
    said: Arc<watch::Sender<Said>>,
    api: Api<PartialObjectMeta<v1::Node>>,
    config: watcher::Config,
) {
    let mut stream = watcher::watcher(api, config)
        .inspect_err(|error| warn!(kind = "Node", "watch interrupted, going on: {error}"))
        .default_backoff()
        .boxed();
    let mut listed = Said::Absent;
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed = Said::Absent,
            Ok(Event::InitApply(node)) => listed = labels(node),
            Ok(Event::InitDone) => {
                said.send_replace(std::mem::take(&mut listed));
            }
            Ok(Event::Apply(node)) => {
                said.send_replace(labels(node));
            }
            Ok(Event::Delete(_)) => {
                said.send_replace(Said::Absent);
            }
            // Said above; the watcher goes on by itself.
            Err(_) => {}
        }
    }
}

fn labels(node: PartialObjectMeta<v1::Node>) -> Said {
    Said::Labels(Arc::new(node.metadata.labels.unwrap_or_default()))
}
