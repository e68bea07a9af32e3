//! The watches behind [`Pools`]: two of pools, one of reserved addresses, and the task that reads pools whose spec is new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::labels::{MANAGED_BY, MANAGER, NODE, label_value};
use api::{SpiderIPPool, SpiderReservedIP};
use futures::{StreamExt, TryStreamExt};
use kube::api::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use model::AddressSet;
use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::{Inner, Pools, Spec, Watched};
use crate::desk::Notice;

/// How many pools are read at once: at the start there may be hundreds that people wrote.
const READERS: usize = 8;
/// How long after a failure a pool is read again; no caller waits for it, its desk reads by itself.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the tasks.
pub(super) fn start(pools: &Pools, to_read: UnboundedReceiver<String>) {
    let inner = &pools.inner;
    let node = label_value(&inner.node);
    let made = format!("{MANAGED_BY}={MANAGER},{NODE}={node}");
    let written = format!("{MANAGED_BY}!={MANAGER}");
    let stop = &inner.stop;
    for (by, labels) in [made, written].into_iter().enumerate() {
        let task = follow(Arc::clone(inner), by, labels);
        inner.tasks.spawn(stop.clone().run_until_cancelled_owned(task));
    }
    inner.tasks.spawn(stop.clone().run_until_cancelled_owned(reserve(Arc::clone(inner))));
    let reader = read_all(Arc::clone(inner), to_read, inner.wanted.downgrade());
    inner.tasks.spawn(stop.clone().run_until_cancelled_owned(reader));
}

async fn follow(inner: Arc<Inner>, by: usize, labels: String) {
    let api: Api<PartialObjectMeta<SpiderIPPool>> = Api::all(inner.client.clone());
    let config = watcher::Config::default().labels(&labels);
    let mut stream = watcher::watcher(api, config)
        .inspect_err(|error| warn!(kind = "SpiderIPPool", labels, "watch interrupted, going on: {error}"))
        .default_backoff()
        .boxed();
    let mut listing = BTreeSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(pool)) => {
                listing.insert(pool.name_any());
                inner.seen(by, pool);
            }
            Ok(Event::InitDone) => inner.listed(by, &std::mem::take(&mut listing)),
            Ok(Event::Apply(pool)) => inner.seen(by, pool),
            Ok(Event::Delete(pool)) => inner.gone(by, &pool.name_any()),
            Err(_) => {}
        }
    }
}

impl Inner {
    /// A watch told of a pool.
    fn seen(&self, by: usize, pool: PartialObjectMeta<SpiderIPPool>) {
        let name = pool.name_any();
        let metadata = pool.metadata;
        let now = Instant::now();
        let spec = Spec {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            annotations: metadata.annotations.clone(),
        };
        let mut state = self.state();
        let entry = state.pools.entry(name.clone()).or_default();
        if let Some(watched) = &mut entry.watched {
            watched.by = by;
            watched.notices.send_modify(|notice| notice.hear(&metadata, now));
            if watched.spec == spec {
                // Somebody else may have freed addresses.
                if let Some(known) = entry.candidate.as_mut().filter(|known| known.free == Some(0)) {
                    Arc::make_mut(known).free = None;
                }
                return;
            }
            watched.spec = spec;
            watched.pending = true;
        } else {
            let mut notice = Notice::default();
            notice.hear(&metadata, now);
            let notices = watch::Sender::new(notice);
            entry.watched = Some(Watched { by, spec, pending: true, notices });
            // One that was made without a watch does not hear it: the next job gets another, and it ends.
            entry.desk = None;
        }
        // The reader lives as long as we do.
        let _ = self.wanted.send(name);
    }

    fn gone(&self, by: usize, name: &str) {
        let mut state = self.state();
        if let Some(entry) = state.pools.get_mut(name)
            && entry.watched.as_ref().is_some_and(|watched| watched.by == by)
        {
            // Its desk still answers, and ends when it is idle.
            entry.watched = None;
            entry.candidate = None;
        }
        drop(state);
        self.look_ready();
    }

    /// A watch has listed: what it did not name is gone.
    fn listed(&self, by: usize, names: &BTreeSet<String>) {
        let mut state = self.state();
        for (name, entry) in &mut state.pools {
            if entry.watched.as_ref().is_some_and(|watched| watched.by == by) && !names.contains(name) {
                entry.watched = None;
                entry.candidate = None;
            }
        }
        if let Some(listed) = state.listed.get_mut(by) {
            *listed = true;
        }
        drop(state);
        self.look_ready();
    }

    fn look_ready(&self) {
        let mut state = self.state();
        let pending = |entry: &super::Entry| entry.watched.as_ref().is_some_and(|watched| watched.pending);
        if state.listed == [true; 2] && !state.pools.values().any(pending) {
            self.ready.send_replace(true);
        }
        // What is neither watched nor asked for any more.
        state.pools.retain(|_, entry| {
            entry.watched.is_some() || entry.desk.as_ref().is_some_and(|desk| !desk.jobs.is_closed())
        });
    }

    /// Takes note of a pool that was read because its spec is new.
    fn was_read(&self, name: &str, pool: Option<&SpiderIPPool>) {
        let mut state = self.state();
        if let Some(entry) = state.pools.get_mut(name)
            && let Some(watched) = &mut entry.watched
        {
            watched.pending = false;
            let serves = |pool: &&SpiderIPPool| {
                pool.spec.node_name.is_empty() || pool.spec.node_name.contains(&self.node)
            };
            entry.candidate = pool.filter(serves).map(|pool| Arc::new(api::candidate(pool)));
        }
        drop(state);
        self.look_ready();
    }
}

/// Reads the pools that are asked for.
async fn read_all(
    inner: Arc<Inner>,
    mut wanted: UnboundedReceiver<String>,
    again: WeakUnboundedSender<String>,
) {
    let api: Api<SpiderIPPool> = Api::all(inner.client.clone());
    let names = futures::stream::poll_fn(move |context| wanted.poll_recv(context));
    names
        .for_each_concurrent(READERS, |name| {
            let (inner, api, again) = (Arc::clone(&inner), api.clone(), again.clone());
            async move {
                match api.get_opt(&name).await {
                    Ok(pool) => inner.was_read(&name, pool.as_ref()),
                    Err(error) => {
                        debug!(pool = name, "cannot be read, trying again: {error}");
                        sleep(RETRY).await;
                        if let Some(again) = again.upgrade() {
                            // We are its receiver.
                            let _ = again.send(name);
                        }
                    }
                }
            }
        })
        .await;
}

/// Keeps the union of all reserved addresses.
async fn reserve(inner: Arc<Inner>) {
    let api: Api<SpiderReservedIP> = Api::all(inner.client.clone());
    let mut stream = watcher::watcher(api, watcher::Config::default())
        .inspect_err(|error| warn!(kind = "SpiderReservedIP", "watch interrupted, going on: {error}"))
        .default_backoff()
        .boxed();
    let mut all: BTreeMap<String, AddressSet> = BTreeMap::new();
    let mut listing = BTreeMap::new();
    let read = |object: &SpiderReservedIP| {
        let (addresses, unreadable) = AddressSet::parse_lenient(&object.spec.ips);
        for error in unreadable {
            warn!(reserved = object.name_any(), "an item of spec.ips is left out: {error}");
        }
        (object.name_any(), addresses)
    };
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => {
                listing = BTreeMap::new();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listing.extend([read(&object)]);
                continue;
            }
            Ok(Event::InitDone) => all = std::mem::take(&mut listing),
            Ok(Event::Apply(object)) => all.extend([read(&object)]),
            Ok(Event::Delete(object)) => drop(all.remove(&object.name_any())),
            Err(_) => continue,
        }
        let ranges = all.values().flat_map(AddressSet::ranges).copied();
        inner.reserved.send_replace(Some(Arc::new(ranges.collect())));
    }
}
