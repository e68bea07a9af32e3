//! Time as the plan sees it: monotonic, so that a jump of the wall clock confirms nothing.

use std::time::Duration;

/// A point in monotonic time: how long after the observer's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// Returns the point that lies `wait` later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}
