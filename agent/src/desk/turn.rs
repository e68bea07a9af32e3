//! Whose turn it is to write a pool that several agents write.
//!
//! There is no lock and no list of writers: each listens to the pool's versions, as its watch tells them, and to the
//! refusals of its own writes, as stations on a radio channel do. Who has just written goes on at once for a while, since
//! its version is the current one; who was refused waits for a pause, and then for a random part of a window that grows
//! with the refusals. All waits are measured in the time that a write takes here and now, however busy the API server is. So
//! it sees few writes that it must refuse, and batches grow while they wait.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// How long a write takes before one was measured: that of 200 records takes 4.7 ms.
const FIRST: Duration = Duration::from_millis(5);
/// Window after the first refusal, in slots: few who meet for the first time meet again.
const FIRST_WINDOW: u32 = 8;
/// Longest window, in slots: enough for some thirty writers.
const WINDOW: u32 = 32;
/// In what time the window becomes half as large when no write is refused.
const FORGET: Duration = Duration::from_millis(500);
/// How many writes' time a writer goes on before it lets others: most of the time is then spent in writing, and ten writers
/// have their turn within a second.
const BURST: u32 = 20;
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
#[derive(Debug)]
pub(super) struct Turn {
    /// The window, in slots; 0: nobody else has written lately.
    window: u32,
    /// Since when the window has that size.
    since: Instant,
    /// Since when we write without waiting.
    burst: Option<Instant>,
    /// Whether our last turn ended because it was long enough.
    served: bool,
    /// How long a write takes, of late.
    write: Duration,
}

impl Default for Turn {
    fn default() -> Self {
        Self { window: 0, since: Instant::now(), burst: None, served: false, write: FIRST }
    }
}

impl Turn {
    /// Our write went through; it took `took`.
    pub(super) fn won(&mut self, now: Instant, took: Duration) {
        self.write = (self.write * 3 + took) / 4;
        if self.burst.is_none() {
            self.burst = Some(now);
            self.window -= self.window / 4;
        }
    }

    /// Our write was refused: somebody else wrote. How long that took says little: those who are refused come in crowds.
    pub(super) fn lost(&mut self, now: Instant) {
        self.window = (self.window * 2).clamp(FIRST_WINDOW, WINDOW);
        self.since = now;
        self.burst = None;
    }

    /// Returns whether others are known to write this pool, so that what was read of it is soon old.
    pub(super) fn is_contended(&self) -> bool {
        self.window > 0
    }

    /// Makes the window smaller as time passes without a refusal.
    fn forget(&mut self, now: Instant) {
        while self.window > 0 && now >= self.since + FORGET {
            self.window /= 2;
            self.since += FORGET;
        }
    }

    /// Waits until it is our turn.
    pub(super) async fn wait(&mut self, notices: &mut watch::Receiver<Notice>) {
        let begun = Instant::now();
        self.forget(begun);
        if self.window == 0 || self.burst.is_some_and(|since| begun - since < self.write * BURST) {
            return;
        }
        self.served |= self.burst.take().is_some();
        // Who goes on has his next version seen within this time.
        let pause = self.write * 3 / 2;
        // Whoever begins to write is heard of when he has written.
        let slot = self.write;
        let end = begun + LONGEST;
        let mut slots = fastrand::u32(0..self.window);
        if std::mem::take(&mut self.served) {
            // Those who wait since before come first.
            slots += self.window;
        }
        while Instant::now() < end {
            let free = notices.borrow_and_update().at + pause;
            match timeout_at(free.min(end), notices.changed()).await {
                Ok(Ok(())) => continue,
                // Nobody watches the pool for us.
                Ok(Err(_)) => sleep(pause).await,
                Err(_) => {}
            }
            // The channel is free: count down, and stop counting when somebody writes.
            while slots > 0 {
                slots -= 1;
                match timeout_at(Instant::now() + slot, notices.changed()).await {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => sleep(slot).await,
                    Err(_) => {}
                }
            }
            if slots == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> (watch::Sender<Notice>, watch::Receiver<Notice>) {
        watch::channel(Notice::default())
    }

    async fn waited(turn: &mut Turn, notices: &mut watch::Receiver<Notice>) -> Duration {
        let begun = Instant::now();
        turn.wait(notices).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_alone_never_waits() {
        let ((_sender, mut notices), mut turn) = (seen(), Turn::default());
        for _ in 0..100 {
            assert_eq!(waited(&mut turn, &mut notices).await, Duration::ZERO);
            sleep(FIRST).await;
            turn.won(Instant::now(), FIRST);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_refused_waits_while_others_write_and_then_goes_on_for_a_while() {
        let ((sender, mut notices), mut turn) = (seen(), Turn::default());
        turn.lost(Instant::now());
        let begun = Instant::now();
        let others = async {
            for _ in 0..50 {
                sleep(FIRST).await;
                sender.send_replace(Notice { version: String::new(), at: Instant::now() });
            }
            begun.elapsed()
        };
        let (waited_for, wrote_for) = tokio::join!(waited(&mut turn, &mut notices), others);
        assert!(waited_for > wrote_for, "{waited_for:?} although others wrote for {wrote_for:?}");
        turn.won(Instant::now(), FIRST);
        assert_eq!(waited(&mut turn, &mut notices).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_forgotten() {
        let ((_sender, mut notices), mut turn) = (seen(), Turn::default());
        for _ in 0..10 {
            turn.lost(Instant::now());
        }
        assert!(turn.is_contended());
        sleep(FORGET * 6).await;
        assert_eq!(waited(&mut turn, &mut notices).await, Duration::ZERO);
        assert!(!turn.is_contended());
    }
}
