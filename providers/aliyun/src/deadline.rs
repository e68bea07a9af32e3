//! The moment at which an operation gives up, shared by all its calls, waits and retries.

use std::time::{Duration, Instant};

/// The end of the time that one operation has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Returns the time left; zero when it is over.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Returns the earlier of this deadline and one `time` from now.
    pub(crate) fn at_most(self, time: Duration) -> Self {
        Self(self.0.min(Instant::now() + time))
    }

    /// Sleeps, or returns at once with the wait as error when it would not end in time.
    pub(crate) async fn sleep(self, wait: Duration) -> Result<(), Duration> {
        if wait >= self.left() {
            return Err(wait);
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Returns the wait before attempt `attempt` + 1: full jitter, so that clients that failed together do not come back
/// together.
pub(crate) fn back_off(attempt: u32, first: Duration, most: Duration) -> Duration {
    let ceiling = first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(most);
    ceiling.mul_f64(fastrand::f64())
}
