//! What to do about a lease's record: a pure function of what was seen and when.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::time::Instant;

use super::Timing;

/// What a Lease object says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; `None` when it was released or never held.
    pub holder: Option<String>,
    /// How long others wait after the last change, as the holder promised; `None` when the record does not say.
    pub lease: Option<Duration>,
}

impl From<&LeaseSpec> for Record {
    /// An empty holder is none, and a duration below one second says nothing.
    fn from(spec: &LeaseSpec) -> Self {
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            holder: spec.holder_identity.clone().filter(|holder| !holder.is_empty()),
            lease: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nobody holds it: take it.
    Acquire,
    /// It is ours: say so again.
    Renew,
    /// Another holds it, and for at least this long.
    Wait(Duration),
}

/// Decides what `me` does about `record`, or about a Lease that does not exist yet.
///
/// `seen_at` is when *we* last saw the record change, by our own monotonic clock: the times inside the record are the
/// holder's, and clocks differ. A candidate that has just started therefore waits a whole lease. The holder's promise
/// counts where the record has one, so that replicas with different settings agree.
#[must_use]
pub fn decide(
    record: Option<&Record>,
    me: &str,
    seen_at: Instant,
    now: Instant,
    timing: &Timing,
) -> Decision {
    let Some(Record { holder: Some(holder), lease }) = record else {
        return Decision::Acquire;
    };
    if holder == me {
        return Decision::Renew;
    }
    let lease = lease.unwrap_or(timing.lease());
    match lease.saturating_sub(now.saturating_duration_since(seen_at)) {
        Duration::ZERO => Decision::Acquire,
        left => Decision::Wait(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn held_by(holder: &str, lease: Option<u64>) -> Record {
        Record { holder: Some(holder.to_owned()), lease: lease.map(Duration::from_secs) }
    }

    #[test]
    fn every_row_of_the_table_is_decided() {
        let free = Some(Record { holder: None, lease: Some(Duration::from_secs(15)) });
        // Our own setting is 15 s.
        let table = [
            ("no lease object", None, 0, Decision::Acquire),
            ("released", free, 0, Decision::Acquire),
            ("ours, fresh", Some(held_by("me", Some(15))), 0, Decision::Renew),
            ("ours, expired", Some(held_by("me", Some(15))), 60_000, Decision::Renew),
            ("another's, just seen", Some(held_by("other", Some(15))), 0, Decision::Wait(ms(15_000))),
            ("another's, a moment left", Some(held_by("other", Some(15))), 14_999, Decision::Wait(ms(1))),
            ("another's, just expired", Some(held_by("other", Some(15))), 15_000, Decision::Acquire),
            ("another's, long expired", Some(held_by("other", Some(15))), 3_600_000, Decision::Acquire),
            (
                "another's with a longer promise",
                Some(held_by("other", Some(60))),
                15_000,
                Decision::Wait(ms(45_000)),
            ),
            ("another's with a shorter promise", Some(held_by("other", Some(5))), 5_000, Decision::Acquire),
            ("another's without a promise", Some(held_by("other", None)), 14_000, Decision::Wait(ms(1_000))),
            (
                "a holder whose name contains ours",
                Some(held_by("me-too", Some(15))),
                0,
                Decision::Wait(ms(15_000)),
            ),
        ];
        let seen_at = Instant::now();
        for (row, record, after, expected) in table {
            let decision = decide(record.as_ref(), "me", seen_at, seen_at + ms(after), &Timing::default());
            assert_eq!(decision, expected, "{row}");
        }
    }

    #[test]
    fn a_clock_that_seems_to_run_backwards_waits_the_whole_lease() {
        let now = Instant::now();
        let decision = decide(Some(&held_by("other", Some(15))), "me", now + ms(1), now, &Timing::default());
        assert_eq!(decision, Decision::Wait(ms(15_000)));
    }

    #[test]
    fn an_empty_holder_is_nobody() {
        let spec = LeaseSpec { holder_identity: Some(String::new()), ..LeaseSpec::default() };
        assert_eq!(Record::from(&spec), Record { holder: None, lease: None });
    }

    #[test]
    fn a_duration_that_is_no_duration_says_nothing() {
        for seconds in [Some(0), Some(-1), None] {
            let spec = LeaseSpec { lease_duration_seconds: seconds, ..LeaseSpec::default() };
            assert_eq!(Record::from(&spec).lease, None, "{seconds:?}");
        }
    }
}
