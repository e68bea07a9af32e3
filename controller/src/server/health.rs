//! Whether the main loop still turns, and whether it has seen the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What the main loop reports and the probes ask. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: Duration,
    start: Instant,
    /// The last beat, in milliseconds after `start`.
    beat: AtomicU64,
    ready: AtomicBool,
}

/// The main loop has not turned for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the main loop has been silent for {silence:?}, more than {limit:?}")]
pub struct NotAlive {
    /// How long it has been silent.
    pub silence: Duration,
    /// How long it may be.
    pub limit: Duration,
}

impl Health {
    /// Begins to watch at `now`: a loop that is silent for more than `limit` is dead. The limit must cover the longest
    /// wait between two beats.
    #[must_use]
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self(Arc::new(Shared { limit, start: now, beat: AtomicU64::new(0), ready: AtomicBool::new(false) }))
    }

    /// Reports that the main loop turns. A standby's loop does too.
    pub fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.0.start).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        // The largest, so that a beat that was late to arrive takes nothing back.
        self.0.beat.fetch_max(since, Ordering::Relaxed);
    }

    /// Reports that the caches are filled. It stays so: an API server that goes away later makes nobody else readier.
    pub fn ready(&self) {
        self.0.ready.store(true, Ordering::Relaxed);
    }

    /// Returns whether the main loop turns.
    ///
    /// # Errors
    /// [`NotAlive`] when the last beat, or the start if there was none, is longer ago than the limit.
    pub fn alive(&self, now: Instant) -> Result<(), NotAlive> {
        let Shared { limit, start, beat, ready: _ } = &*self.0;
        let last = *start + Duration::from_millis(beat.load(Ordering::Relaxed));
        let silence = now.saturating_duration_since(last);
        if silence > *limit { Err(NotAlive { silence, limit: *limit }) } else { Ok(()) }
    }

    /// Returns whether the caches were filled once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn a_loop_is_alive_until_it_was_silent_for_longer_than_the_limit() {
        let start = Instant::now();
        let health = Health::new(LIMIT, start);
        health.beat(start + LIMIT);
        assert_eq!(health.alive(start + LIMIT * 2), Ok(()));
        let silence = LIMIT + Duration::from_millis(1);
        assert_eq!(health.alive(start + LIMIT + silence), Err(NotAlive { silence, limit: LIMIT }));
    }

    #[test]
    fn a_loop_that_never_turned_dies_too() {
        let start = Instant::now();
        assert!(Health::new(LIMIT, start).alive(start + LIMIT * 2).is_err());
    }

    #[test]
    fn a_late_beat_takes_nothing_back() {
        let start = Instant::now();
        let health = Health::new(LIMIT, start);
        health.beat(start + LIMIT);
        health.beat(start);
        assert_eq!(health.alive(start + LIMIT * 2), Ok(()));
    }

    #[test]
    fn a_loop_that_stopped_can_come_back() {
        let start = Instant::now();
        let health = Health::new(LIMIT, start);
        let later = start + LIMIT * 3;
        assert!(health.alive(later).is_err());
        health.clone().beat(later);
        assert_eq!(health.alive(later), Ok(()));
    }
}
