//! The providers' side of observation: each is listed whole at every resync, and asked for newcomers in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{InstanceId, Inventory, Moment, ProviderName};
use providers::{Class, Error, Provider};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// What one reading of one provider gave.
#[derive(Debug)]
pub(crate) struct Observation {
    /// Which provider.
    pub(crate) provider: ProviderName,
    /// When the reading began: what changed in the cloud since may be missing from it.
    pub(crate) began: Moment,
    /// The complete reading, or why there is none.
    pub(crate) outcome: Result<Inventory, Error>,
}

/// How often and how patiently the clouds are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Time between the beginnings of two whole listings.
    pub(crate) resync: Duration,
    /// How long newcomers gather before they are asked for together.
    pub(crate) join_window: Duration,
}

/// Shortest wait after a failed listing; doubled with each failure, never longer than the resync.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The readers of all providers, one task each. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Readers {
    newcomers: Vec<(ProviderName, UnboundedSender<InstanceId>)>,
    _tasks: JoinSet<()>,
}

impl Readers {
    /// Starts reading, at once and then at `pace`. `started` is the zero of every [`Moment`].
    pub(crate) fn start<P: Provider + 'static>(
        clouds: &[Arc<P>],
        pace: Pace,
        started: Instant,
        told: &UnboundedSender<Observation>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let newcomers = clouds
            .iter()
            .map(|cloud| {
                let (sender, receiver) = unbounded_channel();
                let reader = Reader { cloud: Arc::clone(cloud), pace, started, told: told.clone() };
                tasks.spawn(reader.run(receiver));
                (cloud.name().clone(), sender)
            })
            .collect();
        Self { newcomers, _tasks: tasks }
    }

    /// Asks for an instance that joined since the last listing, together with others of the same window.
    pub(crate) fn ask(&self, provider: &ProviderName, instance: InstanceId) {
        for (name, newcomers) in &self.newcomers {
            if name == provider {
                // The reader ended: whoever starts the next one asks again.
                let _ = newcomers.send(instance);
                return;
            }
        }
    }
}

struct Reader<P> {
    cloud: Arc<P>,
    pace: Pace,
    started: Instant,
    told: UnboundedSender<Observation>,
}

impl<P: Provider> Reader<P> {
    async fn run(self, mut newcomers: UnboundedReceiver<InstanceId>) {
        let mut next = Instant::now();
        let mut failures = 0;
        loop {
            tokio::select! {
                () = sleep_until(next) => {
                    let began = Instant::now();
                    let outcome = self.cloud.list().await;
                    let wait = outcome.as_ref().err().map(|error| patience(error, failures, self.pace.resync));
                    failures = if wait.is_some() { failures + 1 } else { 0 };
                    next = wait.map_or(began + self.pace.resync, |wait| Instant::now() + wait);
                    // The listing covers whoever asked before it began.
                    self.tell(began, outcome);
                }
                Some(first) = newcomers.recv() => {
                    sleep(self.pace.join_window).await;
                    let mut asked = BTreeSet::from([first]);
                    while let Ok(another) = newcomers.try_recv() {
                        asked.insert(another);
                    }
                    let began = Instant::now();
                    let outcome = self.cloud.describe(&asked).await;
                    self.tell(began, outcome);
                }
            }
        }
    }

    fn tell(&self, began: Instant, outcome: Result<Inventory, Error>) {
        let began = Moment(began.saturating_duration_since(self.started));
        // Nobody listens any more: the term has ended, and this task with it.
        let _ = self.told.send(Observation { provider: self.cloud.name().clone(), began, outcome });
    }
}

/// How long to wait after a failed listing: full jitter under a doubling ceiling, and never less than the cloud asks.
fn patience(error: &Error, failures: u32, resync: Duration) -> Duration {
    let ceiling = FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(resync.max(FIRST_RETRY));
    let ceiling = match error.class {
        // A person must act first; a look every resync notices when one did.
        Class::Denied | Class::Invalid => resync.max(FIRST_RETRY),
        Class::NotFound | Class::Throttled | Class::Transient => ceiling,
    };
    let jittered = ceiling.mul_f64(0.5 + fastrand::f64() / 2.0);
    jittered.max(error.retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_up_to_the_resync_and_honours_the_cloud() {
        let resync = Duration::from_mins(1);
        let transient = Error::new(Class::Transient, "x");
        assert!(patience(&transient, 0, resync) <= Duration::from_secs(1));
        assert!(patience(&transient, 40, resync) <= resync);
        let throttled = Error::new(Class::Throttled, "x").retry_after(Duration::from_secs(90));
        assert!(patience(&throttled, 0, resync) >= Duration::from_secs(90));
        assert!(patience(&Error::new(Class::Denied, "x"), 0, resync) >= Duration::from_secs(30));
    }
}
