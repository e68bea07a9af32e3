//! What was done so far, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counts, and what was asked for.
pub(crate) struct Tally {
    /// How many ADDs and DELs there are to be.
    pub(crate) total: u64,
    begun: OnceLock<Instant>,
    pub(crate) pods: Count,
    pub(crate) removed: Count,
    /// ADDs that were answered with addresses.
    pub(crate) adds: Count,
    /// DELs that were answered with success.
    pub(crate) dels: Count,
    /// DELs that were left on the disk for the agent.
    pub(crate) queued: Count,
    /// Requests whose client went away.
    pub(crate) cancelled: Count,
    pub(crate) agents_killed: Count,
    pub(crate) agents_paused: Count,
    pub(crate) servers_killed: Count,
    /// Why requests failed, and how often.
    failed: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    pub(crate) fn of(total: u64) -> Self {
        Self {
            total,
            begun: OnceLock::new(),
            pods: Count::default(),
            removed: Count::default(),
            adds: Count::default(),
            dels: Count::default(),
            queued: Count::default(),
            cancelled: Count::default(),
            agents_killed: Count::default(),
            agents_paused: Count::default(),
            servers_killed: Count::default(),
            failed: Mutex::default(),
        }
    }

    /// The work begins now.
    pub(crate) fn begin(&self) {
        self.begun.get_or_init(Instant::now);
    }

    pub(crate) fn done(&self) -> u64 {
        self.adds.get() + self.dels.get() + self.queued.get()
    }

    pub(crate) fn failed(&self, why: String) {
        *self.failed.lock().unwrap().entry(why).or_default() += 1;
    }

    /// One line about all of it.
    pub(crate) fn line(&self) -> String {
        let seconds = self.begun.get_or_init(Instant::now).elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.done() as f64 / seconds;
        let failed: u64 = self.failed.lock().unwrap().values().sum();
        format!(
            "{seconds:.0} s: {} ADDs and DELs ({rate:.0}/s: {} ADDs, {} DELs, {} DELs by the queue) of {} pods, {failed} failed and \
             tried again, {} cancelled; killed: {} agents, {} API servers; paused: {} agents",
            self.done(),
            self.adds.get(),
            self.dels.get(),
            self.queued.get(),
            self.pods.get(),
            self.cancelled.get(),
            self.agents_killed.get(),
            self.servers_killed.get(),
            self.agents_paused.get(),
        )
    }

    /// Why requests failed, the most frequent first.
    pub(crate) fn failures(&self) -> Vec<(u64, String)> {
        let failed = self.failed.lock().unwrap();
        let mut all: Vec<_> = failed.iter().map(|(why, count)| (*count, why.clone())).collect();
        all.sort_by(|one, other| other.cmp(one));
        all
    }
}
