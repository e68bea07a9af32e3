//! Reclaim: what this node's pods left behind, found and freed.
//!
//! A DEL frees an address as long as it comes, finds this agent and says whose it is. For all else this looks at every
//! record of this node whenever a pod ends and every [`INTERVAL`]. The records are read before the pods, so that a record
//! without a pod is one whose pod is gone; and before anything is freed, the API server is asked about the pod itself,
//! because the watch may lag.

mod facts;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use model::ledger::Release;
use model::reclaim::{DEL_GRACE, Verdict};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::agent::Agent;
use crate::desk::{Filter, Record};
use crate::pods::Change;
use crate::pools::Records;
use facts::Found;

/// How often all records of this node are looked at. With [`DEL_GRACE`] after a pod's end, and what reading and writing
/// take, an address is free again at most 25 s after the pod that left it.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// How long changes gather: pods end in crowds.
const GATHER: Duration = Duration::from_millis(200);

/// How long a reading or a write may take; the next look tries again.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many records are asked about and freed at once: those that are freed together share a write.
const CONCURRENCY: usize = 16;

/// One record: pool, address, and the UID that it names.
type Key = (String, IpAddr, String);

/// Looks after the records of this node.
pub struct Reclaim {
    agent: Arc<Agent>,
    wake: Arc<Notify>,
    /// Since when each record is without its pod.
    ended: BTreeMap<Key, Instant>,
}

impl Reclaim {
    /// Makes one that has seen nothing. Whoever notifies `wake` asks for a look at once: the runtime listed its sandboxes,
    /// say.
    #[must_use]
    pub fn new(agent: Arc<Agent>, wake: Arc<Notify>) -> Self {
        Self { agent, wake, ended: BTreeMap::new() }
    }

    /// Looks after the records until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.agent.pods.changes();
        let all_read = async {
            self.agent.pods.ready().await;
            self.agent.pools.ready().await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = all_read => {}
        }
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = self.look() => next,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(next) => {}
                () = self.wake.notified() => {}
                () = pod_ends(&mut changes) => sleep(GATHER).await,
            }
        }
    }

    /// Looks at all records of this node once, and frees those that are nobody's; returns when to look again.
    pub async fn look(&mut self) -> Instant {
        let began = Instant::now();
        let node = self.agent.node.name().to_owned();
        let Records { found, unknown } =
            self.agent.pools.records(&Filter::Node(node), began + DEADLINE).await;
        for error in &unknown {
            debug!("records not known, nothing of them is freed: {error}");
        }
        let pods = facts::Pods::of(&self.agent.pods.all());
        let mut cases = Vec::new();
        for record in found {
            let sight = pods.sight(&record.holder);
            if facts::lives(&record.holder, &sight) {
                continue;
            }
            let key = (record.pool.clone(), record.address, record.holder.uid.clone());
            let since = self.ended.get(&key).copied().unwrap_or(began);
            let this = &*self;
            cases.push(async move {
                let verdict = this.one(&record, sight, began.saturating_duration_since(since)).await;
                (key, since, record, verdict)
            });
        }
        let judged: Vec<_> = stream::iter(cases).buffer_unordered(CONCURRENCY).collect().await;
        let mut ended = BTreeMap::new();
        let mut next = began + INTERVAL;
        for (key, since, record, verdict) in judged {
            match verdict {
                Some(Verdict::Free(why)) => {
                    info!(pool = record.pool, address = %record.address, "address freed: {why}");
                }
                Some(Verdict::Keep(why)) => {
                    debug!(pool = record.pool, address = %record.address, "kept: {why}");
                    ended.insert(key, since);
                    let grace = since + DEL_GRACE;
                    if grace > began {
                        next = next.min(grace);
                    }
                }
                None => {
                    ended.insert(key, since);
                }
            }
        }
        self.ended = ended;
        next
    }

    /// Judges a record whose pod the watch does not show as alive, and frees it if it is nobody's; `None`: that failed.
    async fn one(&self, record: &Record, watched: Found, ended: Duration) -> Option<Verdict> {
        let Record { pool, address, holder } = record;
        let judged = timeout(DEADLINE, facts::judge(&self.agent, record, watched, ended)).await;
        let verdict = match judged {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => {
                warn!(pool, %address, pod = %holder.pod, "kept, the API server did not say whether it is used: {error}");
                return None;
            }
            Err(_) => {
                warn!(pool, %address, pod = %holder.pod, "kept, the API server did not answer within {DEADLINE:?}");
                return None;
            }
        };
        if !verdict.frees() {
            return Some(verdict);
        }
        let release = Release::Record { address: *address, uid: holder.uid.clone() };
        match self.agent.pools.free(pool, release, Instant::now() + DEADLINE).await {
            Ok(_) => {
                self.agent.endpoints.lost(&holder.pod, &holder.uid, &holder.nic);
                Some(verdict)
            }
            Err(error) => {
                warn!(pool, %address, pod = %holder.pod, "not freed, tried again soon: {error}");
                None
            }
        }
    }
}

/// Waits until a pod is not alive any more, or some changes were missed.
async fn pod_ends(changes: &mut broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Here(pod)) if pod.is_alive() => {}
            Ok(Change::Here(_) | Change::Gone(_)) | Err(RecvError::Lagged(_)) => return,
            // The watch has ended, and this ends with it.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
