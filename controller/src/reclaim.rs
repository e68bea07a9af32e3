//! Reclaim: addresses whose node cannot give them back, because it is gone, does not answer, or was never recorded.
//!
//! An agent frees what its own node's pods left; this is for the rest. The leader looks at it again and again, with
//! [`PAUSE`] between two passes. A record goes only when two passes in a row find it without its pod, each by asking the
//! API server itself; its pool is read before the pod, and written with the version that was read.

mod endpoints;
mod judge;
mod metrics;
mod pass;
mod suspects;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use model::reclaim::DEL_GRACE;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub(crate) use metrics::Metrics;

use crate::events::Events;
use crate::world::World;
use crate::writer::Writer;

/// From the end of a pass to the beginning of the next: all of [`DEL_GRACE`], so that what one pass found without its pod
/// never has to wait for a third. Two pauses and the reading make at most 25 s from the end of a node to a free address.
const PAUSE: Duration = DEL_GRACE;

/// One record: pool, address, and the UID that it names.
type Key = (String, IpAddr, String);

/// Whose records a pool held in one of its versions: enough to know whether it has to be read again.
#[derive(Clone, Debug)]
struct Seen {
    /// The version.
    version: String,
    /// The nodes of its records, or its own node; an empty name for records that name none.
    nodes: BTreeSet<String>,
    /// Whether it serves several nodes.
    reach: Reach,
}

/// Whom a pool serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// One node.
    Node,
    /// Several.
    Shared,
}

/// What a pass leaves for the next one.
#[derive(Debug, Default)]
struct Memory {
    /// Since when each record is without its pod.
    ended: BTreeMap<Key, Instant>,
    /// Where the next pass goes on: the last pool that was looked at, and the last of its addresses that was asked about
    /// if there are more.
    at: (String, Option<IpAddr>),
    /// Whose records the pools that people wrote hold.
    seen: BTreeMap<String, Seen>,
}

/// Reclaims for as long as this process leads.
pub(crate) struct Reclaim {
    metrics: Metrics,
    /// When the next pass may begin.
    next: Instant,
    memory: Memory,
    /// The pass under way: one at most.
    pass: JoinSet<Memory>,
}

impl Reclaim {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, next: Instant::now(), memory: Memory::default(), pass: JoinSet::new() }
    }

    /// Waits until the next pass is due: for the end of the one under way, and for [`PAUSE`].
    pub(crate) async fn due(&mut self) {
        if let Some(ended) = self.pass.join_next().await {
            // One that panicked said so itself: as after a start.
            self.memory = ended.unwrap_or_default();
            self.next = Instant::now() + PAUSE;
        }
        sleep_until(self.next).await;
    }

    /// Forgets all that was seen: another process may lead, and what it does is not known here.
    pub(crate) fn reset(&mut self) {
        self.pass.abort_all();
        self.pass.detach_all();
        self.memory = Memory::default();
    }

    /// Begins the pass that is [due](Self::due), over what `world` shows. It writes only what `writer` lets it.
    pub(crate) fn begin(&mut self, world: &World, writer: Writer, events: &Events) {
        let suspects = suspects::of(world);
        let memory = mem::take(&mut self.memory);
        let (events, metrics) = (events.clone(), self.metrics.clone());
        self.pass.spawn(pass::run(suspects, memory, writer, events, metrics));
    }
}
