//! The desk of one pool: all of this agent's claims on the pool and releases to it pass here, and are written together.
//!
//! A task owns the pool's [`Ledger`]. It applies all that is asked in memory, writes the outcome once, and answers then: an
//! answer is durable. What is asked during a write is the next batch, so the rate does not depend on how long a write
//! takes. A write holds only if nobody changed the pool since it was read (its `resourceVersion`, which covers the spec:
//! no address is given out that the controller took away a moment before); otherwise everything is taken back, the pool
//! is read again and the same is applied to what is there now. A write without an answer may have been made: the pool is
//! read before anything else, and to apply a request twice is to apply it once.

mod batch;
mod context;
mod job;
mod notice;
mod page;
mod store;
mod turn;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use model::ledger::{Ledger, Release};
use model::{AddressSet, Holder, Moment};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{debug, warn};

use crate::metrics::Batch;

use batch::{Outcome, Verdict};
pub(crate) use context::{Context, Told, Trouble};
pub use job::{DeskError, Filter, Held, Record, TakeError, Taken};
pub(crate) use job::{Freeing, Job, Taking};
pub(crate) use notice::{Notice, writer};
use page::Page;
use store::{Failure, Store};
use turn::Turn;

/// First wait after the API server did not answer; it doubles.
const BACKOFF: Duration = Duration::from_millis(50);
/// How long the last write at the end may take, a read before it included.
const LAST: Duration = Duration::from_secs(3);
/// Longest wait after the API server did not answer: a pod that waits should not wait much longer than the outage.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How long a write waits for those who were answered together a moment ago, and may have more to ask.
const GATHER: Duration = Duration::from_millis(3);
/// How long a desk that nobody needs any more stays.
const IDLE: Duration = Duration::from_mins(1);

/// How well the ledger is known to be what the API holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// To be read before anything is done.
    No,
    /// To be read before it is written: somebody else has written. What it says of this agent's own pods still holds.
    Old,
    /// Read or written some time ago: others may have written since.
    Once,
    /// Read for this very batch.
    Now,
}

/// How a round of work ended.
enum Round {
    /// There is nothing to do now.
    Idle,
    /// There may be more to do.
    More,
}

/// The requests that share a record which did not exist before them.
struct Stakes {
    birth: u64,
    uid: String,
    count: usize,
}

/// Serves one pool until it is stopped, or idle for long and `Context::notices` has no sender any more.
pub(crate) async fn run(
    context: Context,
    jobs: mpsc::UnboundedReceiver<Job>,
    door: mpsc::WeakUnboundedSender<Job>,
) {
    let store = Store::new(&context.client, &context.pool, &context.writer);
    let ledger = Ledger::new(context.rest, context.cap);
    let turn = Turn::new(context.writer.clone());
    let mut desk = Desk {
        context,
        jobs,
        door,
        store,
        ledger,
        page: None,
        known: Known::No,
        stakes: BTreeMap::new(),
        births: 0,
        takes: Vec::new(),
        frees: Vec::new(),
        lists: Vec::new(),
        reserved: Arc::default(),
        turn,
        shared: 0,
        failures: 0,
    };
    desk.run().await;
}

/// Who wants to know which records there are, and where to tell.
type Listing = (Filter, oneshot::Sender<Result<Vec<Record>, DeskError>>);

struct Desk {
    context: Context,
    jobs: mpsc::UnboundedReceiver<Job>,
    door: mpsc::WeakUnboundedSender<Job>,
    store: Store,
    ledger: Ledger,
    page: Option<Page>,
    known: Known,
    stakes: BTreeMap<IpAddr, Stakes>,
    births: u64,
    takes: Vec<Taking>,
    frees: Vec<Freeing>,
    lists: Vec<Listing>,
    /// The reserved addresses that the ledger's offer leaves out.
    reserved: Arc<AddressSet>,
    turn: Turn,
    /// How many requests the last write was for.
    shared: usize,
    /// How many requests in a row the API server did not answer.
    failures: u32,
}

impl Desk {
    async fn run(&mut self) {
        let stop = self.context.stop.clone();
        loop {
            let parked = self.takes.iter().filter_map(|take| take.parked).min();
            let due = parked.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                job = self.jobs.recv() => match job {
                    Some(job) => self.admit(job),
                    None => break,
                },
                () = sleep_until(due) => {
                    let unwatched = self.context.notices.has_changed().is_err();
                    if parked.is_none() && unwatched && self.stakes.is_empty() {
                        // From here on a new desk is made; what came until now is still done.
                        self.jobs.close();
                    }
                }
            }
            while !stop.is_cancelled() {
                if let Round::Idle = self.round().await {
                    break;
                }
            }
        }
        self.close().await;
    }

    fn admit(&mut self, job: Job) {
        match job {
            Job::Take(take) => self.takes.push(take),
            Job::Free(free) => self.frees.push(free),
            Job::List(filter, reply) => self.lists.push((filter, reply)),
            Job::Keep(address, birth) => {
                if self.stakes.get(&address).is_some_and(|stakes| stakes.birth == birth) {
                    self.stakes.remove(&address);
                }
            }
            Job::Undo(address, birth) => self.undo(address, birth),
        }
    }

    /// One of those who share a new record gives up; the last one frees it.
    fn undo(&mut self, address: IpAddr, birth: u64) {
        let Some(stakes) = self.stakes.get_mut(&address).filter(|stakes| stakes.birth == birth) else {
            return;
        };
        stakes.count = stakes.count.saturating_sub(1);
        if stakes.count == 0 {
            let uid = std::mem::take(&mut stakes.uid);
            self.stakes.remove(&address);
            self.frees.push(Freeing::unasked(Release::Record { address, uid }));
        }
    }

    fn admit_all(&mut self) {
        while let Ok(job) = self.jobs.try_recv() {
            self.admit(job);
        }
        let frees = &mut self.frees;
        frees.retain(|free| !free.is_abandoned());
        self.takes.retain(|take| {
            let here = !take.reply.is_closed();
            // Who has gone gets nothing, not even by a write that nobody answered.
            if let Some(address) = take.perhaps.filter(|_| !here) {
                let uid = take.claim.holder.uid.clone();
                frees.push(Freeing::unasked(Release::Record { address, uid }));
            }
            here
        });
    }

    /// Whether something can be done now.
    fn is_busy(&self) -> bool {
        let now = Instant::now();
        let due = |take: &Taking| take.parked.is_none_or(|until| until <= now);
        !self.frees.is_empty() || !self.lists.is_empty() || self.takes.iter().any(due)
    }

    /// Does what is asked at the moment, with one write at most; what fails is left for the next round.
    async fn round(&mut self) -> Round {
        self.admit_all();
        if !self.is_busy() {
            return Round::Idle;
        }
        self.list_own();
        // What is read before our turn to write a pool that others write has to be read again.
        let later = self.lists.is_empty() && self.page.is_some() && self.turn.is_contended();
        if !later && !self.catch_up().await {
            return Round::More;
        }
        self.list(|_| true);
        if self.takes.is_empty() && self.frees.is_empty() {
            return Round::More;
        }
        if !self.takes.is_empty() && !self.reserve().await {
            return Round::More;
        }
        self.wait_for_turn().await;
        self.gather().await;
        if !self.catch_up().await {
            return Round::More;
        }
        self.admit_all();
        let outcome = self.apply();
        let refused = |verdict: &Verdict| !matches!(verdict, Verdict::Granted(_) | Verdict::Waits);
        // A record that is not in memory may be in the API: a write that was given up can be made late.
        let doubtful = outcome.takes.iter().any(refused) || outcome.frees.iter().any(Vec::is_empty);
        if self.known == Known::Once && doubtful {
            // Others may have freed some since, or the pool may have been changed.
            self.ledger.roll_back();
            self.known = Known::No;
            return Round::More;
        }
        if self.ledger.changed() && !self.write(&outcome).await {
            return Round::More;
        }
        self.known = Known::Once;
        self.answer(outcome);
        Round::More
    }

    /// Waits until it is our turn to write, and answers meanwhile what needs no write.
    async fn wait_for_turn(&mut self) {
        // Taken out: the desk goes on meanwhile.
        let mut turn = std::mem::replace(&mut self.turn, Turn::new(String::new()));
        let mut notices = self.context.notices.clone();
        {
            let mut ours = pin!(turn.wait(&mut notices));
            loop {
                tokio::select! {
                    biased;
                    () = &mut ours => break,
                    Some(job) = self.jobs.recv() => {
                        self.admit(job);
                        self.list_own();
                    }
                }
            }
        }
        self.turn = turn;
    }

    /// Waits a moment for a crowd to come together again; who asks alone never waits.
    async fn gather(&mut self) {
        let end = Instant::now() + GATHER;
        while self.shared > self.takes.len() + self.frees.len()
            && let Ok(Some(job)) = timeout_at(end, self.jobs.recv()).await
        {
            self.admit(job);
            self.list_own();
        }
        self.shared = self.takes.len() + self.frees.len();
    }

    /// Lists what only this agent writes: that is known unless the outcome of a write is not, or somebody else has written
    /// a pool that is ours alone, which may have been a write of ours that was given up.
    fn list_own(&mut self) {
        let odd = self.page.as_ref().is_some_and(Page::is_bound) && self.is_behind();
        if self.known != Known::No && !odd {
            self.list(|filter| matches!(filter, Filter::Uid(_) | Filter::Node(_)));
        }
    }

    /// Reads the pool if it is not known, or known to be newer than what was read.
    async fn catch_up(&mut self) -> bool {
        (matches!(self.known, Known::Once | Known::Now) && !self.is_behind()) || self.read().await
    }

    /// Whether a newer version of the pool is known of than the one that was read.
    fn is_behind(&self) -> bool {
        let notice = self.context.notices.borrow();
        self.page.as_ref().is_none_or(|page| page.is_behind(&notice.version))
    }

    /// Reads the pool. False: everybody was told why not, or the desk has waited a while.
    async fn read(&mut self) -> bool {
        let read = self.store.read().await.map(Page::read);
        let (page, records) = match read {
            Ok((page, Ok(records))) => (page, records),
            Ok((_, Err(why))) => {
                self.forget();
                self.fail(&DeskError::Unreadable { pool: self.pool(), why });
                return false;
            }
            Err(failure) => {
                self.failed("read it", failure).await;
                return false;
            }
        };
        if self.page.as_ref().is_some_and(|known| known.uid != page.uid) {
            // Another pool of the same name.
            self.forget();
        }
        let now = self.now();
        self.ledger.adopt(page.offered.difference(&self.reserved), records, now);
        let records = self.ledger.records();
        self.stakes.retain(|address, stakes| records.get(address).is_some_and(|one| one.uid == stakes.uid));
        (self.context.tell)(Told::Read(&page.candidate));
        self.page = Some(page);
        self.known = Known::Now;
        self.is_well();
        true
    }

    /// Leaves reserved addresses out of the offer. False: they are not known yet, and the desk has waited a while.
    async fn reserve(&mut self) -> bool {
        let reserved = self.context.reserved.borrow_and_update().clone();
        let Some(reserved) = reserved else {
            self.context.trouble.set(Some("the SpiderReservedIPs could not be listed yet".to_owned()));
            // Bounded for the sake of those who leave meanwhile.
            let _ = timeout(BACKOFF_MAX, self.context.reserved.changed()).await;
            return false;
        };
        if !Arc::ptr_eq(&reserved, &self.reserved) {
            self.reserved = reserved;
            if let Some(page) = &self.page {
                self.ledger.reoffer(page.offered.difference(&self.reserved));
            }
        }
        true
    }

    fn list(&mut self, which: impl Fn(&Filter) -> bool) {
        let Some(page) = &self.page else { return };
        let pool = &self.context.pool;
        for (filter, reply) in self.lists.extract_if(.., |(filter, _)| which(filter)) {
            let record = |(address, holder): (IpAddr, &Holder)| Record {
                pool: pool.clone(),
                address,
                holder: holder.clone(),
            };
            let all = self.ledger.records().iter().map(|(address, holder)| (*address, holder));
            let records = match filter {
                Filter::Uid(uid) => self.ledger.of(&uid).map(record).collect(),
                Filter::Pod(pod) => all.filter(|(_, holder)| holder.pod == pod).map(record).collect(),
                Filter::Node(node) if page.candidate.nodes == [node.as_str()] => all.map(record).collect(),
                Filter::Node(node) => all.filter(|(_, holder)| holder.node == node).map(record).collect(),
                Filter::All => all.map(record).collect(),
            };
            // Who has gone does not care.
            let _ = reply.send(Ok(records));
        }
    }

    /// Writes what the ledger holds. False: it is not known to be written, and to be done again.
    async fn write(&mut self, outcome: &Outcome) -> bool {
        let Some(page) = &mut self.page else { return false };
        let failure = match self.store.write(&page.version, &page.beside, self.ledger.records()).await {
            Ok(version) => {
                self.turn.won(Instant::now(), &self.context.notices.borrow());
                page.version = version;
                self.ledger.commit();
                (self.context.tell)(Told::Free(self.ledger.unheld()));
                self.is_well();
                return true;
            }
            Err(failure) => failure,
        };
        self.ledger.roll_back();
        self.known = Known::No;
        match failure {
            Failure::Conflict => {
                self.known = Known::Old;
                self.turn.lost(Instant::now());
                let allocates = outcome.takes.iter().any(|verdict| matches!(verdict, Verdict::Granted(_)));
                let batch = if allocates { Batch::Allocates } else { Batch::Releases };
                (self.context.tell)(Told::Conflict(batch));
            }
            failure => {
                if let Failure::Unknown(_) = failure {
                    self.remember(outcome);
                }
                self.failed("write its records", failure).await;
            }
        }
        false
    }

    /// After a request that failed otherwise than by a conflict.
    async fn failed(&mut self, what: &'static str, failure: Failure) {
        let pool = self.pool();
        match failure {
            // A read has none, a write's is dealt with.
            Failure::Conflict => {}
            Failure::Gone => {
                self.forget();
                self.fail(&DeskError::Gone { pool });
            }
            Failure::Refused(why) => {
                warn!(pool, "the API server refused to {what}: {why}");
                self.fail(&DeskError::Refused { pool, what, why });
            }
            Failure::Unknown(why) => {
                self.failures = self.failures.saturating_add(1);
                let wait = BACKOFF.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
                let wait = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
                let trouble = format!("the API server was asked to {what} and did not answer: {why}");
                debug!(pool, "{trouble}; again in {wait:?}");
                self.context.trouble.set(Some(trouble));
                // Cancelled: the caller looks.
                let _ = self.context.stop.clone().run_until_cancelled(sleep(wait)).await;
            }
        }
    }

    /// Tells everybody why nothing can be done.
    fn fail(&mut self, error: &DeskError) {
        for take in self.takes.drain(..) {
            take.answer(Err(error.clone().into()));
        }
        for mut free in self.frees.drain(..) {
            let result = match error {
                // What is gone holds no record any more.
                DeskError::Gone { .. } => Ok(std::mem::take(&mut free.perhaps)),
                error => Err(error.clone()),
            };
            free.answer(result);
        }
        for (_, reply) in self.lists.drain(..) {
            // Who has gone does not care.
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Forgets the pool: what is there under its name is another one, or unknown.
    fn forget(&mut self) {
        self.ledger = Ledger::new(self.context.rest, self.context.cap);
        self.page = None;
        self.known = Known::No;
        self.stakes.clear();
    }

    fn is_well(&mut self) {
        self.failures = 0;
        self.context.trouble.set(None);
    }

    /// Ends: claims are refused, releases are written if that can be done at once.
    async fn close(&mut self) {
        self.jobs.close();
        self.admit_all();
        let frees = std::mem::take(&mut self.frees);
        let error = DeskError::Stopping { pool: self.pool() };
        self.fail(&error);
        self.frees = frees;
        let last = async {
            while !self.frees.is_empty() && self.failures == 0 {
                self.round().await;
            }
        };
        // What is late is left to the next agent's reclaim.
        let _ = timeout(LAST, last).await;
        self.fail(&error);
    }

    fn pool(&self) -> String {
        self.context.pool.clone()
    }

    fn now(&self) -> Moment {
        Moment(self.context.epoch.elapsed())
    }
}
