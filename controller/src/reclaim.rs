//! Reclaim: addresses whose node cannot give them back, because it is gone, does not answer, or was never recorded.
//!
//! An agent frees what its own node's pods left; this is for the rest. The leader looks at it every [`INTERVAL`]. A
//! record goes only when two passes in a row find it without its pod, each by asking the API server itself; its pool is
//! read before the pod, and written with the version that was read.

mod endpoints;
mod judge;
mod metrics;
mod pass;
mod suspects;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

pub(crate) use metrics::Metrics;

use crate::events::Events;
use crate::world::World;
use crate::writer::Writer;

/// How often the leader looks. Two passes and the reading make at most 25 s from the end of a node to a free address.
const INTERVAL: Duration = Duration::from_secs(10);

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
    tick: Interval,
    memory: Option<Memory>,
    /// The pass under way: one at most.
    pass: JoinSet<Memory>,
}

impl Reclaim {
    pub(crate) fn new(metrics: Metrics) -> Self {
        let mut tick = interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { metrics, tick, memory: Some(Memory::default()), pass: JoinSet::new() }
    }

    /// Waits until the next pass is due.
    pub(crate) async fn due(&mut self) {
        self.tick.tick().await;
    }

    /// Forgets all that was seen: another process may lead, and what it does is not known here.
    pub(crate) fn reset(&mut self) {
        self.pass.abort_all();
        self.pass.detach_all();
        self.memory = Some(Memory::default());
    }

    /// Begins a pass over what `world` shows, unless one is still under way. It writes only what `writer` lets it.
    pub(crate) fn begin(&mut self, world: &World, writer: Writer, events: &Events) {
        match self.pass.try_join_next() {
            Some(Ok(memory)) => self.memory = Some(memory),
            // It panicked and said so itself: as after a start.
            Some(Err(_)) => self.memory = Some(Memory::default()),
            None => {}
        }
        let Some(memory) = self.memory.take() else { return };
        let suspects = suspects::of(world);
        let (events, metrics) = (events.clone(), self.metrics.clone());
        self.pass.spawn(pass::run(suspects, memory, writer, events, metrics));
    }
}
