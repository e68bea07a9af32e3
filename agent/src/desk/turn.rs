//! Whose turn it is to write a pool that several agents write.
//!
//! There is no lock and no list of writers: each listens to the pool's versions, as its watch tells them, and to the
//! refusals of its own writes, as stations on a radio channel do. Who has just written goes on at once for a while, since
//! its version is the current one; who was refused waits for a pause, and then for a random part of a window that grows
//! with the refusals. So the API server sees few writes that it must refuse, and batches grow while they wait.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// How long nobody has written before a waiting desk counts the channel as free: a writer that goes on writes again
/// within one write's time (4.7 ms measured for 200 records).
const PAUSE: Duration = Duration::from_millis(8);
/// One step of the random wait: longer than the way from a write to the others' watches.
const SLOT: Duration = Duration::from_millis(4);
/// Longest window, in slots: enough for some thirty writers.
const WINDOW: u32 = 32;
/// How long a writer goes on before it lets others.
const BURST: Duration = Duration::from_millis(60);
/// Longest wait for a pause: another writer is only polite for so long.
const LONGEST: Duration = Duration::from_millis(1500);

/// What the watch said of a pool last.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    /// Its version.
    pub(crate) version: String,
    /// Since when that is known.
    pub(crate) at: Instant,
}

impl Default for Notice {
    fn default() -> Self {
        Self { version: String::new(), at: Instant::now() }
    }
}

/// A desk's view of the other writers of its pool.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The window, in slots; 0: nobody else has written lately.
    window: u32,
    /// Since when we write without being refused.
    burst: Option<Instant>,
    /// How many of our writes went through since the last refusal.
    quiet: u32,
}

impl Turn {
    /// Our write went through.
    pub(super) fn won(&mut self, now: Instant) {
        self.burst.get_or_insert(now);
        self.quiet = self.quiet.saturating_add(1);
        // As slowly as others may need to come back.
        if self.quiet.is_multiple_of(8) {
            self.window /= 2;
        }
    }

    /// Our write was refused: somebody else wrote.
    pub(super) fn lost(&mut self) {
        self.window = (self.window * 2).clamp(2, WINDOW);
        self.burst = None;
        self.quiet = 0;
    }

    /// Waits until it is our turn.
    pub(super) async fn wait(&mut self, notices: &mut watch::Receiver<Notice>) {
        let begun = Instant::now();
        if self.window == 0 || self.burst.is_some_and(|since| begun - since < BURST) {
            return;
        }
        self.burst = None;
        let end = begun + LONGEST;
        let mut slots = fastrand::u32(0..self.window);
        while Instant::now() < end {
            let pause = notices.borrow_and_update().at + PAUSE;
            match timeout_at(pause.min(end), notices.changed()).await {
                Ok(Ok(())) => continue,
                // Nobody watches the pool for us.
                Ok(Err(_)) => sleep(PAUSE).await,
                Err(_) => {}
            }
            // The channel is free: count down, and stop counting when somebody writes.
            while slots > 0 {
                slots -= 1;
                match timeout_at(Instant::now() + SLOT, notices.changed()).await {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => sleep(SLOT).await,
                    Err(_) => {}
                }
            }
            if slots == 0 {
                return;
            }
        }
    }
}
