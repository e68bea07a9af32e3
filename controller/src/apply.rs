//! From a plan to the cluster: the writes in their order, as many at once as the order allows.
//!
//! Every write that changes or deletes names the version that the plan looked at, so that whatever happened since (an
//! allocation above all) makes it fail, and the next pass plans anew.

mod attachments;
mod nodes;
mod pools;

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::Plan;

use crate::events::Events;
use crate::world::{Seen, World};
use crate::writer::{Failure, Writer};

/// Most pool writes of one pass, totals included: a large cluster's first ones are spread over several, so that what
/// changes meanwhile is seen in between. At some 300 writes a second (docs/performance.md) a few seconds' worth.
pub(crate) const MOST_POOL_WRITES: usize = 1000;

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// What the API server answered, to be taken into the world before the next pass.
    pub(crate) seen: Vec<Seen>,
    /// How many writes succeeded.
    pub(crate) writes: usize,
    /// How many did not.
    pub(crate) failures: usize,
    /// Whether more is to be written than one pass may.
    pub(crate) more: bool,
    /// Whether we stopped leading on the way.
    pub(crate) interrupted: bool,
}

impl Applied {
    fn note(&mut self, failure: &Failure) {
        self.failures += 1;
        self.interrupted |= matches!(failure, Failure::NotLeader);
    }

    fn done(&mut self, seen: impl IntoIterator<Item = Seen>) {
        self.writes += 1;
        self.seen.extend(seen);
    }
}

/// What went wrong with the pools of each node, one sentence each.
type Troubles = BTreeMap<String, Vec<String>>;

/// Carries out a plan that was made from `world`.
pub(crate) async fn apply(
    plan: &Plan,
    world: &World,
    writer: &Writer,
    events: &Events,
    now: Timestamp,
) -> Applied {
    let mut applied = Applied::default();
    let mut troubles = Troubles::new();
    attachments::write(plan, world, writer, events, &mut applied).await;
    let written = pools::write(plan, world, writer, events, &mut applied, &mut troubles).await;
    if !applied.interrupted {
        nodes::write(plan, world, writer, events, &troubles, now, &mut applied).await;
        // Last, and with what the steps leave of the pass, because nothing waits for them.
        let most = MOST_POOL_WRITES.saturating_sub(plan.steps.len());
        pools::count(plan, world, writer, written, most, &mut applied).await;
    }
    applied
}
