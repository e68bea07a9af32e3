//! The simulator's own clock, which tests may set, stop and move.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The time as the simulated cloud sees it.
#[derive(Clone, Debug)]
pub struct Clock {
    hand: Hand,
}

#[derive(Clone, Debug)]
enum Hand {
    Running { ahead: SignedDuration },
    Stopped { at: Timestamp },
}

impl Default for Clock {
    fn default() -> Self {
        Self { hand: Hand::Running { ahead: SignedDuration::ZERO } }
    }
}

impl Clock {
    /// Returns the time in the cloud.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self.hand {
            Hand::Running { ahead } => Timestamp::now() + ahead,
            Hand::Stopped { at } => at,
        }
    }

    /// Stops the clock at the given time; from now on only [`advance`](Self::advance) moves it.
    pub fn stop_at(&mut self, at: Timestamp) {
        self.hand = Hand::Stopped { at };
    }

    /// Stops the clock where it is.
    pub fn stop(&mut self) {
        self.stop_at(self.now());
    }

    /// Lets the clock run from where it is.
    pub fn run(&mut self) {
        self.hand = Hand::Running { ahead: self.now().duration_since(Timestamp::now()) };
    }

    /// Moves the clock forward, stopped or running.
    pub fn advance(&mut self, by: Duration) {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        match &mut self.hand {
            Hand::Running { ahead } => *ahead = ahead.saturating_add(by),
            Hand::Stopped { at } => *at = at.saturating_add(by).unwrap_or(Timestamp::MAX),
        }
    }
}

/// Adds a span to a time; a time beyond the calendar becomes its end.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// Writes a time the way the API does: whole seconds, UTC, `Z`.
pub(crate) fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes a time the way `DescribeInstances` does: whole minutes.
pub(crate) fn iso_minutes(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%MZ").to_string()
}
