//! The `SpiderEndpoints` of this node's pods: written after the answer, from what is in memory, until the API has it.
//!
//! A pod's address is durable in its pool; its endpoint is for people and for other programs. So nobody waits for it, several
//! changes of one pod become one write, and after a restart all of it is made anew from the pools.

mod book;
mod write;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{EndpointIp, SpiderEndpoint, SpiderEndpointStatus};
use kube::{Api, Client};
use model::PodName;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics::{EndpointWrite, Metrics};
use crate::owners::Owners;
use crate::pods::Pod;
pub use book::Holds;
use book::{Book, Job, Want};
use write::{Failed, Writer};

/// How many endpoints are written at once.
const AT_ONCE: usize = 4;

/// How long a write waits at most for the plugins that wait for theirs, here and elsewhere: the API server has the pools
/// first.
const YIELD: Duration = Duration::from_secs(2);
/// How often it is looked whether they still wait.
const LOOK: Duration = Duration::from_millis(10);

/// How long one write may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// How long the writes that wait get when the agent stops.
pub const LAST: Duration = Duration::from_secs(3);

/// Whether the API server has more urgent work at the moment.
pub type Rush = Box<dyn Fn() -> bool + Send + Sync>;

/// The endpoints of this node. Clones share them.
#[derive(Clone)]
pub struct Endpoints(Arc<Shared>);

struct Shared {
    client: Client,
    writer: Writer,
    metrics: Metrics,
    rush: Rush,
    book: Mutex<Book>,
    wake: Notify,
}

impl Endpoints {
    /// Makes the handle, and the task that writes until `shutdown` and then what is left of it, for at most [`LAST`]. It
    /// yields while there is a `rush`.
    pub fn start(
        client: Client,
        node: &str,
        owners: Owners,
        metrics: Metrics,
        rush: Rush,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let writer = Writer::new(client.clone(), node, owners);
        let shared = Shared { client, writer, metrics, rush, book: Mutex::default(), wake: Notify::new() };
        let endpoints = Self(Arc::new(shared));
        (endpoints.clone(), endpoints.run(shutdown))
    }

    /// Notes that a NIC of a pod holds addresses; `name` is the pod's, or its virtual machine's.
    pub fn holds(&self, name: &PodName, pod: &Arc<Pod>, ip: EndpointIp) {
        self.0.book().holds(name, pod, ip, Instant::now());
        self.0.changed();
    }

    /// Notes what the pools say of a NIC of a pod that got its addresses from a former process, unless this one knows better.
    pub fn recalls(&self, name: &PodName, pod: &Arc<Pod>, nic: &str, note: impl FnOnce(&mut EndpointIp)) {
        self.0.book().recalls(name, pod, nic, note, Instant::now());
        self.0.changed();
    }

    /// Notes that a NIC of a pod holds nothing any more; an empty NIC: that none does.
    pub fn lost(&self, name: &PodName, uid: &str, nic: &str) {
        self.0.book().lost(name, uid, nic, Instant::now());
        self.0.changed();
    }

    /// Returns what a pod holds, as far as this process knows.
    #[must_use]
    pub fn of(&self, name: &PodName) -> Option<Holds> {
        self.0.book().of(name)
    }

    /// Returns what the API has of a name.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn read(&self, name: &PodName) -> Result<Option<SpiderEndpointStatus>, kube::Error> {
        let api: Api<SpiderEndpoint> = Api::namespaced(self.0.client.clone(), &name.namespace);
        Ok(api.get_opt(&name.name).await?.and_then(|endpoint| endpoint.status))
    }

    async fn run(self, shutdown: CancellationToken) {
        let mut writes: JoinSet<(Job, Result<Option<String>, Failed>)> = JoinSet::new();
        let mut last = None;
        loop {
            let now = Instant::now();
            let yields = last.is_none() && (self.0.rush)();
            let until = if yields { now.checked_sub(YIELD).unwrap_or(now) } else { now };
            while writes.len() < AT_ONCE
                && let Some(job) = self.0.book().next(until)
            {
                let shared = Arc::clone(&self.0);
                writes.spawn(async move {
                    let written = tokio::time::timeout(DEADLINE, shared.writer.write(&job)).await;
                    let written = written.unwrap_or_else(|_| Err(Failed::later("no answer in time")));
                    (job, written)
                });
            }
            self.0.changed_count();
            let due = self.0.book().due().filter(|_| writes.len() < AT_ONCE);
            let due = due.map(|due| if yields { due.max(now + LOOK) } else { due });
            let over = last.is_some_and(|last| now >= last)
                || last.is_some() && writes.is_empty() && due.is_none_or(|due| due > now);
            if over {
                return;
            }
            tokio::select! {
                Some(done) = writes.join_next() => self.finish(done),
                () = self.0.wake.notified() => {}
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
                () = shutdown.cancelled(), if last.is_none() => last = Some(Instant::now() + LAST),
                () = sleep_until(last.unwrap_or(now)), if last.is_some() => {}
            }
        }
    }

    fn finish(&self, done: Result<(Job, Result<Option<String>, Failed>), tokio::task::JoinError>) {
        // A task that panicked has said so itself; its pod stays marked as busy, and its endpoint as it is.
        let Ok((job, written)) = done else { return };
        let outcome = if written.is_ok() { EndpointWrite::Done } else { EndpointWrite::Failed };
        self.0.metrics.endpoint(outcome);
        if let Err(failed) = &written {
            let what = match &job.want {
                Want::Holds(_) => "not written",
                Want::Nothing { .. } => "not deleted",
            };
            warn!(pod = %job.name, again = failed.again, "SpiderEndpoint {what}: {}", failed.why);
        }
        self.0.book().done(&job, written.map_err(|failed| failed.again), Instant::now());
    }
}

impl Shared {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        // Each change leaves the book whole before anything in it can panic.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.wake.notify_one();
    }

    fn changed_count(&self) {
        let waiting = self.book().waiting();
        self.metrics.endpoints_waiting(waiting);
    }
}
