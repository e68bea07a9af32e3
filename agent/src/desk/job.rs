//! What is asked of a desk, and what it answers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use api::Route;
use ipnet::IpNet;
use model::ledger::{Claim, Refusal, Release};
use model::{Holder, PodName};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// One address of a pool for one NIC of one pod: durable in the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The address.
    pub address: IpAddr,
    /// The pool's subnet.
    pub subnet: IpNet,
    /// The pool's gateway.
    pub gateway: Option<IpAddr>,
    /// The pool's routes.
    pub routes: Vec<Route>,
    /// The pool's name.
    pub pool: String,
    /// The pool's annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An address that is given back when this is dropped, unless it is [kept](Held::keep).
///
/// Only what was taken for this request is given back: an address that the pod's NIC had before, or that another
/// request for the same NIC got as well, stays.
#[derive(Debug)]
#[must_use = "dropping it gives the address back"]
pub struct Held {
    taken: Taken,
    stake: Option<Stake>,
}

impl Held {
    pub(super) fn new(taken: Taken, stake: Option<Stake>) -> Self {
        Self { taken, stake }
    }

    /// Returns what is held.
    #[must_use]
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Leaves the address to the pod: its DEL or its end frees it.
    #[must_use = "this is the address"]
    pub fn keep(mut self) -> Taken {
        if let Some(stake) = self.stake.take() {
            stake.send(Job::Keep);
        }
        self.taken.clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(stake) = self.stake.take() {
            stake.send(Job::Undo);
        }
    }
}

/// The part of a request in an address that did not exist before it.
#[derive(Debug)]
pub(super) struct Stake {
    pub(super) address: IpAddr,
    pub(super) birth: u64,
    pub(super) desk: mpsc::UnboundedSender<Job>,
}

impl Stake {
    fn send(self, job: impl FnOnce(IpAddr, u64) -> Job) {
        // A desk that has ended leaves the record to the reclaim.
        let _ = self.desk.send(job(self.address, self.birth));
    }
}

/// Which records to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Those of the pod with this UID.
    Uid(String),
    /// Those of pods of this name, whatever their UID; of shared pools as they are in the API now.
    Pod(PodName),
    /// Those of this node: of pools that are bound to it, and those that name it.
    Node(String),
    /// All.
    All,
}

/// A record of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The pool's name.
    pub pool: String,
    /// The address.
    pub address: IpAddr,
    /// Who holds it.
    pub holder: Holder,
}

/// Why a desk could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// The pool is gone.
    #[error("pool {pool}: there is no such SpiderIPPool")]
    Gone {
        /// The pool.
        pool: String,
    },
    /// A field of the pool cannot be read: unknown is not empty, so nothing is done.
    #[error("pool {pool} cannot be used until it is repaired: {why}")]
    Unreadable {
        /// The pool.
        pool: String,
        /// Which field, and what is wrong with it.
        why: String,
    },
    /// The API server said no.
    #[error("pool {pool}: the API server refused to {what}: {why}")]
    Refused {
        /// The pool.
        pool: String,
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// The time was up before it was done.
    #[error("pool {pool}: not done after {}: {}", Seconds(*.waited), hindrance(.trouble.as_deref()))]
    Late {
        /// The pool.
        pool: String,
        /// For how long it was tried.
        waited: Duration,
        /// What stood in the way.
        trouble: Option<String>,
    },
    /// The agent is stopping.
    #[error("pool {pool}: the agent is stopping; ask again when it is back")]
    Stopping {
        /// The pool.
        pool: String,
    },
}

/// Why no address was given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// None is free.
    #[error("pool {pool}: {refusal}")]
    Exhausted {
        /// The pool.
        pool: String,
        /// Why none is free, with figures.
        refusal: Refusal,
    },
    /// The pool gives nothing out.
    #[error("pool {pool} gives out no address: {why}")]
    Closed {
        /// The pool.
        pool: String,
        /// Why not.
        why: &'static str,
    },
    /// What else can go wrong.
    #[error(transparent)]
    Desk(#[from] DeskError),
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

fn hindrance(trouble: Option<&str>) -> &str {
    trouble.unwrap_or("other requests for the pool come first; try again")
}

/// One thing that is asked of a desk.
#[derive(Debug)]
pub(crate) enum Job {
    Take(Taking),
    Free(Freeing),
    /// The record of this address, told by its birth, is the pod's from now.
    Keep(IpAddr, u64),
    /// One who shares the record of this address gives up.
    Undo(IpAddr, u64),
    List(Filter, oneshot::Sender<Result<Vec<Record>, DeskError>>),
}

/// A claim on its way.
#[derive(Debug)]
pub(crate) struct Taking {
    pub(crate) claim: Claim,
    pub(crate) reply: oneshot::Sender<Result<Held, TakeError>>,
    /// Until when it waits for an address that rests.
    pub(crate) patience: Instant,
    /// Not before then: the first resting address is due.
    pub(crate) parked: Option<Instant>,
    /// What a write gave it of which it is not known whether it was made.
    pub(crate) perhaps: Option<IpAddr>,
}

/// A release on its way.
#[derive(Debug)]
pub(crate) struct Freeing {
    pub(crate) release: Release,
    /// None: nobody waits for it.
    pub(crate) reply: Option<oneshot::Sender<Result<Vec<IpAddr>, DeskError>>>,
    /// What writes freed of which it is not known whether they were made.
    pub(crate) perhaps: Vec<IpAddr>,
}

impl Taking {
    pub(super) fn answer(self, result: Result<Held, TakeError>) {
        // Who has gone does not care; an address is given back by being dropped.
        let _ = self.reply.send(result);
    }
}

impl Freeing {
    /// A release that nobody waits for.
    pub(super) fn unasked(release: Release) -> Self {
        Self { release, reply: None, perhaps: Vec::new() }
    }

    /// Whether the one who asked has gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    pub(super) fn answer(self, result: Result<Vec<IpAddr>, DeskError>) {
        if let Some(reply) = self.reply {
            // Who has gone does not care.
            let _ = reply.send(result);
        }
    }
}
