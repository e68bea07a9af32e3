//! The pools that this node's pods may get addresses from, and the [desks](crate::desk) that give them out.
//!
//! Pools are watched by their metadata only, those that the controller made for this node and those that people wrote; a
//! pool is read whole when its spec is new. So what other nodes do costs nothing for the pools made for them, and one
//! small event for each write of a shared pool, whose map of records may be half a megabyte.

mod follow;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use api::SpiderIPPool;
use futures::future::join_all;
use kube::{Api, Client};
use model::AddressSet;
use model::ledger::{Claim, Release};
use model::select::Candidate;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::desk::{
    self, Context, DeskError, Filter, Freeing, Held, Job, Notice, Record, TakeError, Taking, Told, Trouble,
};
use crate::metrics::Metrics;

/// What all desks have in common.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long a freed address rests before it is given out again.
    pub rest: Duration,
    /// How many records one pool may hold.
    pub cap: usize,
}

/// The pools. Clones share them.
#[derive(Clone)]
pub struct Pools {
    inner: Arc<Inner>,
}

/// The records that were found, and the pools whose records are not known: unknown is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The records.
    pub found: Vec<Record>,
    /// Why records may be missing, one for each pool.
    pub unknown: Vec<DeskError>,
}

struct Inner {
    client: Client,
    node: String,
    /// As whom its pools are written.
    writer: String,
    rules: Rules,
    epoch: Instant,
    stop: CancellationToken,
    tasks: TaskTracker,
    reserved: watch::Sender<Option<Arc<AddressSet>>>,
    /// Asks for pools to be read.
    wanted: mpsc::UnboundedSender<String>,
    /// Whether all pools of the first listing have been read.
    ready: watch::Sender<bool>,
    metrics: OnceLock<Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pools: BTreeMap<String, Entry>,
    /// Which of the watches have listed.
    listed: [bool; 2],
}

/// One pool.
#[derive(Default)]
struct Entry {
    /// What a watch told of it; none when none does.
    watched: Option<Watched>,
    /// How the choice sees it; none when it is not read yet, or excludes this node.
    candidate: Option<Arc<Candidate>>,
    desk: Option<Desk>,
}

/// What a watch told of a pool.
struct Watched {
    /// Which watch: a pool may pass from one to the other when people change its labels.
    by: usize,
    /// By what a new spec is told.
    spec: Spec,
    /// Whether it is to be read.
    pending: bool,
    notices: watch::Sender<Notice>,
}

/// Tells one state of what people write in a pool from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spec {
    uid: String,
    generation: i64,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone)]
struct Desk {
    jobs: mpsc::UnboundedSender<Job>,
    trouble: Trouble,
}

impl Pools {
    /// Starts following the pools of this cluster for `node`. All tasks are of `tasks`, and end with `stop`: requests that
    /// are not done by then are answered with an error.
    #[must_use]
    pub fn start(
        client: Client,
        node: &str,
        rules: Rules,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (wanted, to_read) = mpsc::unbounded_channel();
        let inner = Inner {
            client,
            node: node.to_owned(),
            writer: desk::writer(node),
            rules,
            epoch: Instant::now(),
            stop,
            tasks: tasks.clone(),
            reserved: watch::Sender::new(None),
            wanted,
            ready: watch::Sender::new(false),
            metrics: OnceLock::new(),
            state: Mutex::default(),
        };
        let pools = Self { inner: Arc::new(inner) };
        follow::start(&pools, to_read);
        pools
    }

    /// Counts writes that another writer was ahead of, from now on.
    pub fn measure(&self, metrics: Metrics) {
        // Once is enough: all clones share it.
        let _ = self.inner.metrics.set(metrics);
    }

    /// Waits until all pools that were there at the start have been read, and the reserved addresses.
    pub async fn ready(&self) {
        // The senders live as long as we do.
        let _ = self.inner.ready.subscribe().wait_for(|ready| *ready).await;
        let _ = self.inner.reserved.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether agents of other nodes are just writing a pool that this one uses.
    #[must_use]
    pub fn others_write(&self) -> bool {
        let now = Instant::now();
        let state = self.inner.state();
        let watched = state.pools.values().filter(|entry| entry.desk.is_some());
        let mut watched = watched.filter_map(|entry| entry.watched.as_ref());
        watched.any(|watched| watched.notices.borrow().others_write(&self.inner.writer, now))
    }

    /// Returns whether [`ready`](Self::ready) would return at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.inner.ready.borrow() && self.inner.reserved.borrow().is_some()
    }

    /// Returns the pools that do not exclude this node by `nodeName`, by name.
    #[must_use]
    pub fn candidates(&self) -> Vec<Arc<Candidate>> {
        self.inner.state().pools.values().filter_map(|entry| entry.candidate.clone()).collect()
    }

    /// Returns how many pools are watched: nearly all of the memory that grows with the cluster.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.inner.state().pools.values().filter(|entry| entry.watched.is_some()).count()
    }

    /// Reads a pool that is not among the candidates: one that another node's pods get addresses from.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub async fn fetch(&self, pool: &str, deadline: Instant) -> Result<Candidate, DeskError> {
        let begun = Instant::now();
        let api: Api<SpiderIPPool> = Api::all(self.inner.client.clone());
        let read = timeout_at(deadline, api.get_opt(pool)).await;
        let late = |trouble| DeskError::Late { pool: pool.to_owned(), waited: begun.elapsed(), trouble };
        match read {
            Ok(Ok(Some(object))) => Ok(api::candidate(&object)),
            Ok(Ok(None)) => Err(DeskError::Gone { pool: pool.to_owned() }),
            Ok(Err(error)) => Err(late(Some(error.to_string()))),
            Err(_) => Err(late(None)),
        }
    }

    /// Takes an address of a pool for a claim; the record is durable when this returns.
    ///
    /// The address is given back when the future is dropped, or what it returns without having been
    /// [kept](Held::keep). A claim for which only resting addresses are left waits for the first of them if it is due
    /// before the deadline.
    ///
    /// # Errors
    /// See [`TakeError`].
    pub async fn take(&self, pool: &str, claim: Claim, deadline: Instant) -> Result<Held, TakeError> {
        self.ask_for(pool, claim, deadline, deadline).await
    }

    /// Takes an address as [`take`](Self::take) does, except that a claim for which only resting addresses are left is
    /// refused at once: another pool may have one that has rested.
    ///
    /// # Errors
    /// See [`TakeError`].
    pub async fn take_rested(&self, pool: &str, claim: Claim, deadline: Instant) -> Result<Held, TakeError> {
        self.ask_for(pool, claim, deadline, Instant::now()).await
    }

    async fn ask_for(
        &self,
        pool: &str,
        claim: Claim,
        deadline: Instant,
        patience: Instant,
    ) -> Result<Held, TakeError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Take(Taking { claim, patience, reply, parked: None, perhaps: None });
        let trouble = self.inner.ask(pool, job)?;
        wait(pool, answer, deadline, &trouble).await?
    }

    /// Frees records of a pool, and returns their addresses; the outcome is durable when this returns. A record that is
    /// not there, or a pool that is gone, is freed.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub async fn free(
        &self,
        pool: &str,
        release: Release,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, DeskError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Free(Freeing { release, reply: Some(reply), perhaps: Vec::new() });
        let trouble = self.inner.ask(pool, job)?;
        wait(pool, answer, deadline, &trouble).await?
    }

    /// Returns the records of all candidates that the filter lets pass, from memory where that is enough.
    pub async fn records(&self, filter: &Filter, deadline: Instant) -> Records {
        let names: Vec<String> = self.candidates().iter().map(|candidate| candidate.name.clone()).collect();
        let mut records = Records::default();
        for found in join_all(names.iter().map(|pool| self.records_of(pool, filter.clone(), deadline))).await
        {
            match found {
                Ok(found) => records.found.extend(found),
                // Who was there a moment ago holds no records now.
                Err(DeskError::Gone { .. }) => {}
                Err(error) => records.unknown.push(error),
            }
        }
        records
    }

    /// Returns the records of one pool that the filter lets pass.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub async fn records_of(
        &self,
        pool: &str,
        filter: Filter,
        deadline: Instant,
    ) -> Result<Vec<Record>, DeskError> {
        let (reply, answer) = oneshot::channel();
        let trouble = self.inner.ask(pool, Job::List(filter, reply))?;
        wait(pool, answer, deadline, &trouble).await?
    }
}

async fn wait<T>(
    pool: &str,
    answer: oneshot::Receiver<T>,
    deadline: Instant,
    trouble: &Trouble,
) -> Result<T, DeskError> {
    let begun = Instant::now();
    let pool = pool.to_owned();
    match timeout_at(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(DeskError::Stopping { pool }),
        Err(_) => Err(DeskError::Late { pool, waited: begun.elapsed(), trouble: trouble.get() }),
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a job to the pool's desk, which is made if there is none.
    fn ask(self: &Arc<Self>, pool: &str, job: Job) -> Result<Trouble, DeskError> {
        if self.stop.is_cancelled() {
            return Err(DeskError::Stopping { pool: pool.to_owned() });
        }
        let mut state = self.state();
        let entry = match state.pools.entry(pool.to_owned()) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => slot.insert(Entry::default()),
        };
        let mut job = job;
        if let Some(desk) = &entry.desk {
            match desk.jobs.send(job) {
                Ok(()) => return Ok(desk.trouble.clone()),
                // It had been idle for long.
                Err(refused) => job = refused.0,
            }
        }
        let desk = self.open(pool, entry.watched.as_ref());
        // A new desk receives until it is stopped, and then the reply is dropped.
        let _ = desk.jobs.send(job);
        let trouble = desk.trouble.clone();
        entry.desk = Some(desk);
        Ok(trouble)
    }

    fn open(self: &Arc<Self>, pool: &str, watched: Option<&Watched>) -> Desk {
        let (jobs, queue) = mpsc::unbounded_channel();
        let trouble = Trouble::default();
        let inner = Arc::clone(self);
        let name = pool.to_owned();
        let context = Context {
            client: self.client.clone(),
            pool: pool.to_owned(),
            writer: self.writer.clone(),
            // Without a watch its sender is gone at once, which the desk takes as that.
            notices: watched
                .map_or_else(|| watch::channel(Notice::default()).1, |known| known.notices.subscribe()),
            reserved: self.reserved.subscribe(),
            rest: self.rules.rest,
            cap: self.rules.cap,
            epoch: self.epoch,
            stop: self.stop.clone(),
            trouble: trouble.clone(),
            tell: Box::new(move |told| inner.told(&name, &told)),
        };
        self.tasks.spawn(desk::run(context, queue, jobs.downgrade()));
        Desk { jobs, trouble }
    }

    /// Takes note of how a desk found its pool.
    fn told(&self, pool: &str, told: &Told<'_>) {
        if let Told::Conflict(batch) = told {
            self.metrics.get().into_iter().for_each(|metrics| metrics.conflict(*batch));
            return;
        }
        let mut state = self.state();
        let Some(known) = state.pools.get_mut(pool).and_then(|entry| entry.candidate.as_mut()) else {
            return;
        };
        match told {
            Told::Read(candidate) if **known != **candidate => *known = Arc::new((*candidate).clone()),
            Told::Free(free) if known.free != Some(*free) => Arc::make_mut(known).free = Some(*free),
            _ => {}
        }
    }
}
