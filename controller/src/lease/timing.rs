//! How long a lease holds, and how often it is renewed.

use std::time::Duration;

/// client-go's default, and so what the cluster's other controllers do.
const LEASE: Duration = Duration::from_secs(15);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

/// The three durations of an election, checked against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    lease: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

/// Why three durations make no safe election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// The record counts whole seconds.
    #[error("a lease of {0:?} is too short: it is recorded in seconds, at least 1s")]
    LeaseTooShort(Duration),
    /// A leader would go on after others may have taken over.
    #[error("a renew deadline of {renew_deadline:?} must be shorter than the lease of {lease:?}")]
    DeadlineTooLong {
        /// The deadline that was asked for.
        renew_deadline: Duration,
        /// The lease that it must be shorter than.
        lease: Duration,
    },
    /// One lost request would end a term.
    #[error(
        "a retry period of {retry:?} must be more than zero and at most half of the renew deadline of {renew_deadline:?}"
    )]
    RetryTooLong {
        /// The period that was asked for.
        retry: Duration,
        /// The deadline in which it must fit twice.
        renew_deadline: Duration,
    },
}

impl Timing {
    /// Checks that the durations make an election in which two leaders cannot overlap.
    ///
    /// `lease` is how long others wait after the last renewal that they saw; `renew_deadline` is how long a leader
    /// acts on after its last successful renewal began; `retry` is the time between two tries.
    ///
    /// # Errors
    /// When the lease is below a second, or not longer than the deadline, or the deadline below two retries.
    pub fn new(lease: Duration, renew_deadline: Duration, retry: Duration) -> Result<Self, TimingError> {
        if lease < Duration::from_secs(1) {
            return Err(TimingError::LeaseTooShort(lease));
        }
        if renew_deadline >= lease {
            return Err(TimingError::DeadlineTooLong { renew_deadline, lease });
        }
        if retry.is_zero() || retry * 2 > renew_deadline {
            return Err(TimingError::RetryTooLong { retry, renew_deadline });
        }
        Ok(Self { lease, renew_deadline, retry })
    }

    /// How long others wait after the last renewal that they saw.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// How long a leader acts on after its last successful renewal began.
    #[must_use]
    pub const fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// The longest time between two tries.
    #[must_use]
    pub const fn retry(&self) -> Duration {
        self.retry
    }

    /// The longest time that one request may take: a connection that hangs leaves time for a second try.
    pub(super) fn request(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// What the record says of the lease: whole seconds, rounded up, so that nobody takes over too early.
    pub(super) fn recorded_seconds(&self) -> i32 {
        let seconds = self.lease.as_secs() + u64::from(self.lease.subsec_nanos() > 0);
        i32::try_from(seconds).unwrap_or(i32::MAX)
    }

    /// A time to wait before the next try, between three quarters of the retry period and all of it: standbys that
    /// started together drift apart.
    pub(super) fn pause(&self) -> Duration {
        self.retry.mul_f64(0.75 + 0.25 * fastrand::f64())
    }
}

impl Default for Timing {
    /// A lease of 15 s, a renew deadline of 10 s, a retry every 2 s: client-go's.
    fn default() -> Self {
        Self { lease: LEASE, renew_deadline: RENEW_DEADLINE, retry: RETRY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_default_satisfies_its_own_rules() {
        assert_eq!(Timing::new(LEASE, RENEW_DEADLINE, RETRY), Ok(Timing::default()));
    }

    #[test]
    fn durations_that_would_let_two_leaders_overlap_are_refused() {
        let too_short = TimingError::LeaseTooShort(ms(999));
        assert_eq!(Timing::new(ms(999), ms(500), ms(100)), Err(too_short));
        let too_long = TimingError::DeadlineTooLong { renew_deadline: ms(1000), lease: ms(1000) };
        assert_eq!(Timing::new(ms(1000), ms(1000), ms(100)), Err(too_long));
    }

    #[test]
    fn a_deadline_that_leaves_no_second_try_is_refused() {
        let refused = |retry| Err(TimingError::RetryTooLong { retry, renew_deadline: ms(600) });
        assert_eq!(Timing::new(ms(1000), ms(600), ms(301)), refused(ms(301)));
        assert_eq!(Timing::new(ms(1000), ms(600), ms(0)), refused(ms(0)));
        assert!(Timing::new(ms(1000), ms(600), ms(300)).is_ok());
    }

    #[test]
    fn a_broken_second_is_recorded_as_a_whole_one() {
        let seconds = |lease| Timing::new(lease, ms(600), ms(100)).map(|timing| timing.recorded_seconds());
        assert_eq!(seconds(ms(1000)), Ok(1));
        assert_eq!(seconds(ms(1001)), Ok(2));
    }

    #[test]
    fn pauses_differ_and_never_exceed_the_retry_period() {
        let timing = Timing::default();
        let pauses: Vec<Duration> = (0..100).map(|_| timing.pause()).collect();
        assert!(pauses.iter().all(|pause| *pause <= RETRY && *pause >= RETRY.mul_f64(0.75)));
        assert!(pauses.iter().any(|pause| pause != &pauses[0]));
    }
}
