//! One term of leadership, as those who may write only while it lasts see it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Timing;

/// The right to write, for one term. Clones are cheap and share the term.
///
/// Ask [`Leadership::check`] before *every* write. It needs nobody's help to say no: it compares the time with the
/// last renewal, so it does when the task that renews hangs, and when the process was stopped and goes on.
#[derive(Clone, Debug)]
pub struct Leadership {
    transitions: i32,
    timing: Timing,
    /// When the request of the last successful renewal began.
    renewed: watch::Receiver<Instant>,
    ended: CancellationToken,
}

/// Why nothing may be written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLeader {
    /// The term ended: another holds the lease, or we released it.
    #[error("this controller is not the leader any more: its term ended")]
    Ended,
    /// The lease was not renewed in time, so another may take it.
    #[error("this controller is not the leader any more: it could not renew its lease for {0:?}")]
    Expired(Duration),
}

impl Leadership {
    /// Returns whether one may write at `now`.
    ///
    /// A write that begins just in time may still be under way when this turns to no. Give each write no more time
    /// than [`Leadership::time_left`], and it is over before another can lead.
    ///
    /// # Errors
    /// [`NotLeader`] once the term has ended or the renew deadline has passed since the last renewal began.
    pub fn check(&self, now: Instant) -> Result<(), NotLeader> {
        if self.ended.is_cancelled() {
            return Err(NotLeader::Ended);
        }
        match now.saturating_duration_since(*self.renewed.borrow()) {
            silence if silence >= self.timing.renew_deadline() => Err(NotLeader::Expired(silence)),
            _ => Ok(()),
        }
    }

    /// Returns how long after `now` nobody else can be leader: the most that one write may take.
    ///
    /// # Errors
    /// As [`Leadership::check`].
    pub fn time_left(&self, now: Instant) -> Result<Duration, NotLeader> {
        self.check(now)?;
        Ok((*self.renewed.borrow() + self.timing.lease()).saturating_duration_since(now))
    }

    /// Returns the token that is cancelled when the term ends, for whatever reason.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Returns the lease's count of changes of hands: it tells terms apart, in logs and Events.
    #[must_use]
    pub fn transitions(&self) -> i32 {
        self.transitions
    }
}

/// The elector's side of a term. The term ends when it is dropped, with whatever drops it.
#[derive(Debug)]
pub(super) struct Term {
    renewed: watch::Sender<Instant>,
    leadership: Leadership,
    _end: DropGuard,
}

impl Term {
    /// Begins a term with a renewal whose request began at `renewed`.
    pub(super) fn begin(transitions: i32, renewed: Instant, timing: Timing) -> Self {
        let (renewed, receiver) = watch::channel(renewed);
        let ended = CancellationToken::new();
        let leadership = Leadership { transitions, timing, renewed: receiver, ended: ended.clone() };
        Self { renewed, leadership, _end: ended.drop_guard() }
    }

    pub(super) fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Extends the term by a renewal whose request began at `started`.
    pub(super) fn renew(&self, started: Instant) {
        self.renewed.send_replace(started);
    }

    /// Until when the term lasts without another renewal.
    pub(super) fn deadline(&self) -> Instant {
        *self.renewed.borrow() + self.leadership.timing.renew_deadline()
    }
}

#[cfg(test)]
impl Leadership {
    /// A term that nobody renews.
    pub(crate) fn for_test(now: Instant) -> Self {
        Term::begin(0, now, Timing::default()).leadership.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn term(now: Instant) -> Term {
        Term::begin(3, now, Timing::default())
    }

    #[test]
    fn a_term_lasts_until_the_renew_deadline_and_no_longer() {
        let start = Instant::now();
        let term = term(start);
        let before = start + DEADLINE.saturating_sub(Duration::from_nanos(1));
        assert_eq!(term.leadership().check(before), Ok(()));
        assert_eq!(term.leadership().check(start + DEADLINE), Err(NotLeader::Expired(DEADLINE)));
    }

    #[test]
    fn a_renewal_counts_from_the_start_of_its_request() {
        let start = Instant::now();
        let term = term(start);
        term.renew(start + Duration::from_secs(4));
        assert_eq!(term.deadline(), start + Duration::from_secs(14));
        assert_eq!(term.leadership().check(start + Duration::from_secs(13)), Ok(()));
        assert!(term.leadership().check(start + Duration::from_secs(14)).is_err());
    }

    #[test]
    fn a_write_gets_no_more_time_than_the_lease_has_left() {
        let start = Instant::now();
        let term = term(start);
        let left = term.leadership().time_left(start + Duration::from_secs(9));
        assert_eq!(left, Ok(Duration::from_secs(6)));
        assert!(term.leadership().time_left(start + DEADLINE).is_err());
    }

    #[test]
    fn every_handle_ends_with_its_term() {
        let start = Instant::now();
        let term = term(start);
        let handle = term.leadership().clone();
        drop(term);
        assert!(handle.ended().is_cancelled());
        assert_eq!(handle.check(start), Err(NotLeader::Ended));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewing_task_that_hangs_keeps_no_leadership() {
        let term = term(Instant::now());
        let handle = term.leadership().clone();
        let hung = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(term);
        });
        tokio::time::sleep(DEADLINE).await;
        assert_eq!(handle.check(Instant::now()), Err(NotLeader::Expired(DEADLINE)));
        hung.abort();
    }
}
