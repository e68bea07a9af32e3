//! One pass: the pools one after the other, the records of each some at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::{Allocation, SpiderIPPool, allocations, allocations_text, reclaim as read};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use model::Holder;
use model::reclaim::{Binding, NodeSight, Why};
use serde_json::json;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::judge::{Case, Nodes, Outcome, Unread, get};
use super::suspects::{Suspect, Suspects};
use super::{Memory, Metrics, Reach, Seen, endpoints};
use crate::events::{Events, Severity};
use crate::metrics::{Kind, Verb};
use crate::writer::{Failure, Writer};

/// How many records are asked about at once.
const CONCURRENCY: usize = 16;

/// How many records one pass asks about: at 16 at once and some 5 ms each a fraction of a second, and 50 requests a
/// second on average at most. What is left is the next pass's.
const BUDGET: usize = 512;

/// Why a pool was not dealt with.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// Something could not be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The pool's records cannot be read.
    #[error(transparent)]
    Unreadable(#[from] api::AllocationsError),
    /// The pool could not be written.
    #[error("the pool could not be written: {0}")]
    Unwritten(#[from] Failure),
}

/// Looks at all suspects, as far as the budget goes; returns what the next pass has to know.
pub(super) async fn run(
    suspects: Suspects,
    memory: Memory,
    writer: Writer,
    events: Events,
    metrics: Metrics,
) -> Memory {
    let Suspects { mut pools, nodes } = suspects;
    let Memory { ended, at, seen } = memory;
    // On from where the last pass ended, so that no pool waits for ever.
    let (last, resume) = at;
    let done = |pool: &str| if resume.is_some() { pool < last.as_str() } else { pool <= last.as_str() };
    let first = pools.partition_point(|suspect| done(suspect.pool()));
    pools.rotate_left(first);
    let mut resume = resume.map(|address| (last, address));
    let nodes = Nodes::new(nodes);
    let left = Memory::default();
    let mut pass = Pass { writer, events, metrics, nodes, before: ended, seen, budget: BUDGET, left };
    for suspect in &pools {
        if pass.budget == 0 || pass.is_clean(suspect) {
            pass.keep(suspect.pool());
            continue;
        }
        let after = resume.take().filter(|(pool, _)| pool == suspect.pool()).map(|(_, address)| address);
        pass.left.at = (suspect.pool().to_owned(), None);
        match pass.pool(suspect, after).await {
            Ok(()) => {}
            // Nothing may be written any more, so nothing is worth reading.
            Err(Trouble::Unwritten(Failure::NotLeader)) => break,
            // It changed since it was read: as every allocation does.
            Err(Trouble::Unwritten(Failure::Conflict)) => pass.keep(suspect.pool()),
            Err(trouble) => {
                warn!(pool = suspect.pool(), "nothing reclaimed, the next pass tries again: {trouble}");
                pass.metrics.failed();
                pass.keep(suspect.pool());
            }
        }
    }
    pass.left
}

struct Pass {
    writer: Writer,
    events: Events,
    metrics: Metrics,
    nodes: Nodes,
    /// Since when records were without their pods before this pass.
    before: BTreeMap<super::Key, Instant>,
    /// What was seen of pools before this pass.
    seen: BTreeMap<String, Seen>,
    /// How many records may still be asked about.
    budget: usize,
    /// What the next pass has to know.
    left: Memory,
}

impl Pass {
    fn client(&self) -> Client {
        self.writer.client.clone()
    }

    /// Whether a pool was seen, has not changed since, and held only records of nodes that look after them.
    fn is_clean(&self, suspect: &Suspect) -> bool {
        let Suspect::Foreign { pool, version } = suspect else { return false };
        self.seen.get(pool).is_some_and(|seen| {
            seen.version == *version
                && seen.nodes.iter().all(|node| self.nodes.watched(node, seen.reach).is_some())
        })
    }

    /// Keeps what was known of a pool.
    fn keep(&mut self, pool: &str) {
        let kept: Vec<_> = self.before.iter().filter(|((name, ..), _)| name == pool).collect();
        self.left.ended.extend(kept.into_iter().map(|(key, since)| (key.clone(), *since)));
        if let Some(seen) = self.seen.remove(pool) {
            self.left.seen.insert(pool.to_owned(), seen);
        }
    }

    /// Deals with one pool, from the address `after` on if it was not finished before.
    async fn pool(&mut self, suspect: &Suspect, after: Option<IpAddr>) -> Result<(), Trouble> {
        let name = suspect.pool();
        let client = self.client();
        let api: Api<SpiderIPPool> = Api::all(client.clone());
        // The records before the pods: see the module's doc.
        let Some(pool) = get(|| format!("pool {name}"), api.get_opt(name)).await? else { return Ok(()) };
        let text = pool.status.as_ref().and_then(|status| status.allocated_ips.as_deref());
        let records = allocations(text)?;
        let records: BTreeMap<IpAddr, Holder> =
            records.into_iter().map(|(address, record)| (address, record.into())).collect();
        let binding = read::binding(&pool);
        self.note(&pool, binding, &records);
        let freed = self.judge(name, binding, &records, after).await?;
        if freed.is_empty() {
            return Ok(());
        }
        self.write(&pool, &records, &freed).await?;
        for (address, why) in &freed {
            info!(pool = name, %address, "address freed: {why}");
        }
        self.metrics.freed(freed.len());
        let sentences: Vec<String> =
            freed.iter().map(|(address, why)| format!("{address} freed: {why}")).collect();
        self.events.report(
            reference(&pool),
            Severity::Normal,
            "AddressesReclaimed",
            "Reclaim",
            &sentences.join("; "),
        );
        let holders: BTreeSet<_> =
            freed.keys().filter_map(|address| records.get(address)).map(|it| (&it.pod, &it.uid)).collect();
        for (pod, uid) in holders {
            if let Err(trouble) = endpoints::remove(&self.writer, pod, uid).await {
                // The agent of the next pod of that name replaces it.
                debug!(%pod, "SpiderEndpoint stays: {trouble}");
            }
        }
        Ok(())
    }

    /// Remembers whose records a pool holds.
    fn note(&mut self, pool: &SpiderIPPool, binding: Binding<'_>, records: &BTreeMap<IpAddr, Holder>) {
        let (nodes, reach) = match binding {
            Binding::Node(node) => (BTreeSet::from([node.to_owned()]), Reach::Node),
            Binding::Shared => (records.values().map(|it| it.node.clone()).collect(), Reach::Shared),
        };
        let seen = Seen { version: pool.resource_version().unwrap_or_default(), nodes, reach };
        self.left.seen.insert(pool.name_any(), seen);
    }

    /// Returns the addresses that go.
    async fn judge(
        &mut self,
        pool: &str,
        binding: Binding<'_>,
        records: &BTreeMap<IpAddr, Holder>,
        after: Option<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Why>, Unread> {
        let client = self.client();
        let now = Instant::now();
        let key = |address: &IpAddr, holder: &Holder| (pool.to_owned(), *address, holder.uid.clone());
        // What was without its pod before comes first: it waits for this look.
        let (known, fresh): (Vec<_>, Vec<_>) =
            records.iter().partition(|(address, holder)| self.before.contains_key(&key(address, holder)));
        let fresh = fresh.into_iter().filter(|(address, _)| after.is_none_or(|after| **address > after));
        let mut cases = Vec::new();
        let (mut asked_last, mut unfinished) = (after, false);
        for (address, holder) in known.into_iter().chain(fresh) {
            let (node, reach) = match binding {
                Binding::Node(node) => (node, Reach::Node),
                Binding::Shared => (holder.node.as_str(), Reach::Shared),
            };
            // Its own agent looks after it.
            if self.nodes.watched(node, reach).is_some() {
                continue;
            }
            let node = self.nodes.sight(&client, node).await?;
            if matches!(binding, Binding::Node(_)) && node != NodeSight::Absent {
                // The watch was wrong.
                return Ok(BTreeMap::new());
            }
            let key = key(address, holder);
            let since = self.before.get(&key).copied();
            if self.budget == 0 {
                // What is known stays known until its turn comes.
                self.left.ended.extend(since.map(|since| (key, since)));
                unfinished = true;
                continue;
            }
            self.budget -= 1;
            if since.is_none() {
                asked_last = Some(*address);
            }
            let ended = since.map(|since| now.saturating_duration_since(since));
            cases.push((key, Case { address: *address, holder, binding, node, ended }));
        }
        if unfinished {
            self.left.at.1 = asked_last;
        }
        let mut asked = Vec::new();
        for (key, case) in &cases {
            let client = &client;
            asked.push(async move { (key, case.judge(client).await) });
        }
        let outcomes: Vec<_> = stream::iter(asked).buffer_unordered(CONCURRENCY).collect().await;
        let mut freed = BTreeMap::new();
        for (key, outcome) in outcomes {
            match outcome {
                Ok(Outcome::Keep(why)) => debug!(pool, address = %key.1, "kept: {why}"),
                Ok(Outcome::Wait) => {
                    let since = self.before.get(key).copied().unwrap_or(now);
                    self.left.ended.insert(key.clone(), since);
                }
                Ok(Outcome::Free(why)) => {
                    // Until it is written.
                    self.left.ended.insert(key.clone(), self.before.get(key).copied().unwrap_or(now));
                    freed.insert(key.1, why);
                }
                Err(trouble) => {
                    warn!(pool, address = %key.1, "kept: {trouble}");
                    self.metrics.failed();
                }
            }
        }
        Ok(freed)
    }

    /// Writes the records that stay, if nobody wrote the pool since it was read.
    async fn write(
        &self,
        pool: &SpiderIPPool,
        records: &BTreeMap<IpAddr, Holder>,
        freed: &BTreeMap<IpAddr, Why>,
    ) -> Result<(), Trouble> {
        let staying = records.iter().filter(|(address, _)| !freed.contains_key(address));
        let staying: BTreeMap<IpAddr, Allocation> =
            staying.map(|(address, holder)| (*address, Allocation::from(holder))).collect();
        let text = allocations_text(&staying)?;
        let patch = json!({
            "metadata": {"resourceVersion": pool.resource_version()},
            "status": {"allocatedIPs": text, "allocatedIPCount": staying.len()},
        });
        let (name, params, patch) = (pool.name_any(), PatchParams::default(), Patch::Merge(&patch));
        let api: Api<SpiderIPPool> = Api::all(self.client());
        let request = api.patch_status(&name, &params, &patch);
        self.writer.write(Kind::Pool, Verb::Status, request).await?;
        Ok(())
    }
}

fn reference(pool: &SpiderIPPool) -> ObjectReference {
    ObjectReference {
        api_version: Some(SpiderIPPool::api_version(&()).into_owned()),
        kind: Some(SpiderIPPool::kind(&()).into_owned()),
        name: Some(pool.name_any()),
        uid: pool.uid(),
        ..ObjectReference::default()
    }
}
