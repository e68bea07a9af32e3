//! Whose turn it is to write a pool that several agents write.
//!
//! There is no lock and no list of those who wait: each listens to the pool's versions, as its watch tells them, and to the
//! refusals of its own writes, as stations on a radio channel do. Who has just written goes on at once for a while, since
//! its version is the current one. When it pauses, those who wrote lately follow in the order of their names, beginning
//! after its own: all know it, so they do not meet. Who has not been heard comes between them, at random within a window
//! that grows with the refusals. All waits are measured in the time from one write to the next, as it is heard, however busy the API
//! server is. So it sees few writes that it must refuse, and batches grow while they wait.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::Notice;

/// Window after the first refusal, in slots.
const FIRST_WINDOW: u32 = 8;
/// Longest window, in slots: enough for some thirty writers.
const WINDOW: u32 = 32;
/// In what time the window becomes half as large when no write is refused.
const FORGET: Duration = Duration::from_millis(500);
/// How many writes' time a writer goes on before it lets others: most of the time is then spent in writing, and ten writers
/// have their turn within a few seconds.
const BURST: u32 = 20;
/// Longest wait for a pause: another writer is only polite for so long.
const LONGEST: Duration = Duration::from_secs(3);

/// A desk's view of the other writers of its pool.
#[derive(Debug)]
pub(super) struct Turn {
    /// As whom this agent writes.
    me: String,
    /// The window, in slots; 0: nobody else has written lately.
    window: u32,
    /// Since when the window has that size.
    since: Instant,
    /// Since when we write without waiting.
    burst: Option<Instant>,
}

impl Turn {
    pub(super) fn new(me: String) -> Self {
        Self { me, window: 0, since: Instant::now(), burst: None }
    }

    /// Our write went through.
    pub(super) fn won(&mut self, now: Instant, notice: &Notice) {
        // Who was not heard before lets the others go first: from now on it has its place among them.
        if self.burst.is_none() && (self.window == 0 || notice.knows(&self.me)) {
            self.burst = Some(now);
        }
    }

    /// Our write was refused: somebody else wrote.
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
        let (pace, others_write) = {
            let notice = notices.borrow();
            (notice.pace, notice.others_write(&self.me, begun))
        };
        if self.window == 0 {
            if !others_write {
                return;
            }
            self.window = FIRST_WINDOW;
            self.since = begun;
        }
        if self.burst.is_some_and(|since| begun - since < pace * BURST) {
            return;
        }
        self.burst = None;
        let end = begun + LONGEST;
        let draw = fastrand::u32(0..self.window);
        loop {
            let (heard, wait) = {
                let notice = notices.borrow_and_update();
                (notice.at, self.place(&notice, draw))
            };
            match timeout_at((heard + wait).min(end), notices.changed()).await {
                // Somebody wrote: all places count from there.
                Ok(Ok(())) if Instant::now() < end => {}
                // Nobody watches the pool for us.
                Ok(Err(_)) => return sleep(wait).await,
                _ => return,
            }
        }
    }

    /// Returns how long after a version it is our turn, if nobody writes before.
    fn place(&self, notice: &Notice, draw: u32) -> Duration {
        let pace = notice.pace;
        // Who goes on has his next version seen within this time.
        let pause = pace * 5 / 4;
        // Who begins reads the pool first, and is heard of when he has written it.
        let before = pace * 3 / 2 * notice.ahead(&self.me);
        // Who was not heard yet comes a moment before the one whose place it shares: once heard, it has its own.
        let within = if notice.knows(&self.me) { pace / 2 } else { pace / 2 * draw / FIRST_WINDOW };
        pause + before + within
    }
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::version_of;
    use super::*;

    const PACE: Duration = Duration::from_millis(10);

    fn seen() -> (watch::Sender<Notice>, watch::Receiver<Notice>) {
        watch::channel(Notice::default())
    }

    fn turn(name: &str) -> Turn {
        Turn::new(format!("spiderpool-agent/{name}"))
    }

    fn writes(sender: &watch::Sender<Notice>, name: &str) {
        sender.send_modify(|notice| notice.hear(&version_of(name), Instant::now()));
    }

    async fn waited(turn: &mut Turn, notices: &mut watch::Receiver<Notice>) -> Duration {
        let begun = Instant::now();
        turn.wait(notices).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_alone_never_waits() {
        let ((sender, mut notices), mut turn) = (seen(), turn("a"));
        for _ in 0..100 {
            assert_eq!(waited(&mut turn, &mut notices).await, Duration::ZERO);
            sleep(PACE).await;
            turn.won(Instant::now(), &notices.borrow());
            writes(&sender, "a");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_refused_waits_while_others_write_and_lets_them_go_on_once_more() {
        let ((sender, mut notices), mut turn) = (seen(), turn("b"));
        turn.lost(Instant::now());
        let begun = Instant::now();
        let others = async {
            for _ in 0..50 {
                sleep(PACE).await;
                writes(&sender, "a");
            }
            begun.elapsed()
        };
        let (waited_for, wrote_for) = tokio::join!(waited(&mut turn, &mut notices), others);
        assert!(waited_for > wrote_for, "{waited_for:?} although others wrote for {wrote_for:?}");
        // Nobody knew of it: it writes once, and then comes when it is its turn.
        turn.won(Instant::now(), &notices.borrow());
        writes(&sender, "b");
        assert!(waited(&mut turn, &mut notices).await >= PACE);
        turn.won(Instant::now(), &notices.borrow());
        writes(&sender, "b");
        assert_eq!(waited(&mut turn, &mut notices).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wrote_lately_follow_in_the_order_of_their_names() {
        let (sender, notices) = seen();
        for name in ["a", "b", "c", "d", "b"] {
            writes(&sender, name);
            sleep(PACE).await;
        }
        let wait = async |name: &str| {
            let mut turn = turn(name);
            turn.lost(Instant::now());
            waited(&mut turn, &mut notices.clone()).await
        };
        let (a, b, c, d) = tokio::join!(wait("a"), wait("b"), wait("c"), wait("d"));
        assert!(c < d && d < a && a < b, "after b: {c:?}, {d:?}, {a:?}, {b:?}");
        for (sooner, later) in [(c, d), (d, a), (a, b)] {
            assert!(later >= sooner + PACE, "one reads and writes before the next begins");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_writer_is_waited_for_so_long_and_no_longer() {
        let ((sender, mut notices), mut turn) = (seen(), turn("b"));
        turn.lost(Instant::now());
        let endless = async {
            loop {
                sleep(PACE).await;
                writes(&sender, "a");
            }
        };
        tokio::select! {
            waited = waited(&mut turn, &mut notices) => assert!(waited < LONGEST + PACE * 4, "{waited:?}"),
            () = endless => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_forgotten() {
        let ((_sender, mut notices), mut turn) = (seen(), turn("a"));
        for _ in 0..10 {
            turn.lost(Instant::now());
        }
        assert!(turn.is_contended());
        sleep(FORGET * 6).await;
        assert_eq!(waited(&mut turn, &mut notices).await, Duration::ZERO);
        assert!(!turn.is_contended());
    }
}
