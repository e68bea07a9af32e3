//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// Full jitter between half and the whole of a wait that doubles from the shortest to the longest.
pub(crate) fn backoff((shortest, longest): (Duration, Duration), times: u32) -> Duration {
    let ceiling = shortest.saturating_mul(1 << times.min(16)).min(longest);
    ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
}
