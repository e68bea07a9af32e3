//! Leader election by a `coordination.k8s.io/v1` Lease with optimistic locking: of all controllers, one writes.
//!
//! The algorithm is client-go's. A candidate notes, by its own monotonic clock, when it last saw the record change, and
//! takes the lease when nothing has changed for as long as the holder promised. Every write replaces the object at the
//! version that was read, so of two candidates one is refused. A leader stops when it could not renew for the renew
//! deadline, which is shorter than the lease: before anybody else may start.
//!
//! It needs `get`, `create` and `update` on `leases` in its namespace.

mod decide;
mod leadership;
mod request;
mod timing;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use decide::{Decision, Record, decide};
pub use leadership::{Leadership, NotLeader};
pub use timing::{Timing, TimingError};

use leadership::Term;
use request::{Failure, within};

/// The Lease's name. Upstream Spiderpool uses `spiderpool-controller-leases`; ours can run beside it.
pub const NAME: &str = "spiderpool-cloud-controller";

/// What this process is at the moment.
#[derive(Clone, Debug)]
pub enum Role {
    /// Another leads, or nobody yet.
    Standby,
    /// We lead, for as long as the handle says.
    Leader(Leadership),
}

impl Role {
    /// Returns the current term, if we lead.
    #[must_use]
    pub fn leadership(&self) -> Option<&Leadership> {
        match self {
            Self::Standby => None,
            Self::Leader(leadership) => Some(leadership),
        }
    }
}

/// Makes the identity of this process from a name that people recognise, such as the pod's, and a random part: a
/// container that restarts under the same name must not take its predecessor's lease for its own.
#[must_use]
pub fn identity(name: &str) -> String {
    format!("{name}_{:016x}", fastrand::u64(..))
}

/// A candidate in one namespace's election.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    namespace: String,
    identity: String,
    timing: Timing,
    observed: Option<Observed>,
    /// What failed last, so that an outage is one line in the log.
    trouble: Option<String>,
}

/// The Lease as we last saw it.
#[derive(Clone, Debug)]
struct Observed {
    lease: Lease,
    /// When its record last changed under our eyes.
    seen_at: Instant,
}

impl Elector {
    /// Makes a candidate. `identity` must be this process's alone: see [`identity`].
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String, timing: Timing) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity,
            timing,
            observed: None,
            trouble: None,
        }
    }

    /// Stands for election, again after each lost term, until `shutdown`; then releases the lease if it is ours.
    ///
    /// `roles` tells every change. Cancel `shutdown` only when nothing writes any more, because another leads at once.
    /// Before a lost term is followed by a new one, at least one pause passes.
    pub async fn run(mut self, shutdown: CancellationToken, roles: watch::Sender<Role>) {
        while let Some(term) = self.campaign(&shutdown).await {
            let leadership = term.leadership().clone();
            info!(identity = self.identity, transitions = leadership.transitions(), "leading");
            roles.send_replace(Role::Leader(leadership));
            self.hold(&term, &shutdown).await;
            drop(term);
            roles.send_replace(Role::Standby);
            if shutdown.is_cancelled() {
                self.release().await;
                return;
            }
            pause(self.timing.pause(), &shutdown).await;
        }
    }

    /// Tries until the lease is ours. Returns `None` on shutdown.
    async fn campaign(&mut self, shutdown: &CancellationToken) -> Option<Term> {
        while !shutdown.is_cancelled() {
            let started = Instant::now();
            let wait = match self.look(self.timing.request()).await {
                Ok(Decision::Wait(left)) => {
                    self.recovered();
                    left
                }
                Ok(decision) => match self.write(decision, self.timing.request()).await {
                    Ok(()) => {
                        self.recovered();
                        return Some(Term::begin(self.transitions(), started, self.timing));
                    }
                    // Another was quicker: see who.
                    Err(Failure::Conflict) => Duration::MAX,
                    Err(failure) => self.failed("write", &failure),
                },
                Err(failure) => self.failed("read", &failure),
            };
            pause(wait.min(self.timing.pause()), shutdown).await;
        }
        None
    }

    /// Renews until the term ends: on shutdown, when another holds the lease, or when the deadline has passed.
    async fn hold(&mut self, term: &Term, shutdown: &CancellationToken) {
        let me = self.identity.clone();
        while !shutdown.is_cancelled() {
            let left = term.deadline().saturating_duration_since(Instant::now());
            if left.is_zero() {
                let deadline = self.timing.renew_deadline();
                warn!(identity = me, "leadership lost: the lease could not be renewed for {deadline:?}");
                return;
            }
            pause(self.timing.pause().min(left), shutdown).await;
            if shutdown.is_cancelled() {
                return;
            }
            let started = Instant::now();
            match self.renew(term.deadline()).await {
                Ok(Decision::Renew) => {
                    self.recovered();
                    term.renew(started);
                }
                Ok(Decision::Acquire | Decision::Wait(_)) => {
                    let holder = self.record().and_then(|record| record.holder);
                    warn!(identity = me, holder, "leadership lost: the lease is not ours any more");
                    return;
                }
                // The next round sees who wrote.
                Err(Failure::Conflict) => {}
                Err(failure) => drop(self.failed("renew", &failure)),
            }
        }
    }

    /// Renews at the version that we know, and looks before a second try when that is not the newest. Returns
    /// [`Decision::Renew`] when it is done, and what was found instead when the lease is not ours any more.
    async fn renew(&mut self, deadline: Instant) -> Result<Decision, Failure> {
        let limit =
            |timing: &Timing| timing.request().min(deadline.saturating_duration_since(Instant::now()));
        match self.write(Decision::Renew, limit(&self.timing)).await {
            Err(Failure::Conflict) => {}
            done => return done.map(|()| Decision::Renew),
        }
        let decision = self.look(limit(&self.timing)).await?;
        if decision == Decision::Renew {
            self.write(decision, limit(&self.timing)).await?;
        }
        Ok(decision)
    }

    /// Reads the Lease, notes when its record changed, and decides.
    async fn look(&mut self, limit: Duration) -> Result<Decision, Failure> {
        let lease = within(limit, self.api.get_opt(NAME)).await?;
        let now = Instant::now();
        self.observed = lease.map(|lease| {
            let unchanged = self.observed.take().filter(|before| before.lease.spec == lease.spec);
            Observed { lease, seen_at: unchanged.map_or(now, |before| before.seen_at) }
        });
        let seen_at = self.observed.as_ref().map_or(now, |observed| observed.seen_at);
        Ok(decide(self.record().as_ref(), &self.identity, seen_at, now, &self.timing))
    }

    /// Writes our record at the version that was read; [`Failure::Conflict`] when that is not the newest any more.
    async fn write(&mut self, decision: Decision, limit: Duration) -> Result<(), Failure> {
        let params = PostParams::default();
        let lease = match self.observed.as_ref().map(|observed| observed.lease.clone()) {
            None => {
                let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
                let spec = Some(self.claim(LeaseSpec::default(), decision, None));
                within(limit, self.api.create(&params, &Lease { metadata, spec })).await?
            }
            Some(mut lease) => {
                let before = lease.spec.take().unwrap_or_default();
                let transitions = before.lease_transitions;
                lease.spec = Some(self.claim(before, decision, transitions));
                within(limit, self.api.replace(NAME, &params, &lease)).await.map_err(Failure::of_replace)?
            }
        };
        self.observed = Some(Observed { lease, seen_at: Instant::now() });
        Ok(())
    }

    /// Makes the record that says that the lease is ours. `transitions` is `None` for the first holder ever.
    fn claim(&self, before: LeaseSpec, decision: Decision, transitions: Option<i32>) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        let (acquired, transitions) = match decision {
            Decision::Renew => (before.acquire_time.clone().or(Some(now.clone())), transitions.unwrap_or(0)),
            Decision::Acquire | Decision::Wait(_) => {
                (Some(now.clone()), transitions.map_or(0, |count| count.saturating_add(1)))
            }
        };
        LeaseSpec {
            acquire_time: acquired,
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(self.timing.recorded_seconds()),
            lease_transitions: Some(transitions),
            renew_time: Some(now),
            ..before
        }
    }

    /// Empties the holder, so that another need not wait for the lease to expire.
    async fn release(&mut self) {
        // The second try is for a renewal that timed out here and was done there.
        for _ in 0..2 {
            match self.give_up().await {
                Ok(()) => return info!(identity = self.identity, "leadership released"),
                Err(Failure::Conflict) => {}
                Err(failure) => {
                    let identity = &self.identity;
                    return warn!(
                        identity,
                        "cannot release the lease, others wait until it expires: {failure}"
                    );
                }
            }
        }
    }

    async fn give_up(&mut self) -> Result<(), Failure> {
        if self.look(self.timing.request()).await? != Decision::Renew {
            return Ok(());
        }
        let Some(mut lease) = self.observed.take().map(|observed| observed.lease) else { return Ok(()) };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
        }
        let params = PostParams::default();
        within(self.timing.request(), self.api.replace(NAME, &params, &lease))
            .await
            .map_err(Failure::of_replace)?;
        Ok(())
    }

    fn spec(&self) -> Option<&LeaseSpec> {
        self.observed.as_ref().and_then(|observed| observed.lease.spec.as_ref())
    }

    fn record(&self) -> Option<Record> {
        self.spec().map(Record::from)
    }

    fn transitions(&self) -> i32 {
        self.spec().and_then(|spec| spec.lease_transitions).unwrap_or(0)
    }

    /// Logs a failure unless it is the same as before. Returns how long to wait: until the next try.
    fn failed(&mut self, verb: &str, failure: &Failure) -> Duration {
        let text = failure.to_string();
        if self.trouble.as_ref() != Some(&text) {
            warn!(namespace = self.namespace, lease = NAME, "cannot {verb} the lease: {text}");
            self.trouble = Some(text);
        }
        Duration::MAX
    }

    fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            info!(namespace = self.namespace, lease = NAME, "the lease can be read and written again");
        }
    }
}

async fn pause(time: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sleep(time) => {}
    }
}
