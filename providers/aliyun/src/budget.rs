//! How often each API action may be called: a token bucket per action, and the cloud's minute window after a throttle.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};

use crate::deadline::Deadline;
use crate::settings::Limits;

/// Calls per minute of the actions that are used: half of what terway, the vendor's own plugin, allows itself, for the
/// account's budget is shared with consoles, Terraform and terway.
const PER_MINUTE: [(&str, u32); 2] = [("DescribeNetworkInterfaces", 400), ("DescribeVSwitches", 150)];

/// The same for every other action.
const PER_MINUTE_OTHERS: u32 = 250;

/// A throttled budget never falls below one part in this many of its full size.
const SMALLEST_SHARE: u32 = 16;

/// A budget grows back by one part in this many of its full size per window without a throttle: from a half to the
/// whole in four minutes, slow enough not to be throttled in every other window.
const RECOVERY_STEPS: u32 = 8;

/// The longest wait for a window that is spent inside a call; a longer one is the caller's to plan with.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The budgets of all actions of one account and region.
pub(crate) struct Budgets {
    limits: Limits,
    by_action: Mutex<BTreeMap<String, Arc<Budget>>>,
}

impl Budgets {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, by_action: Mutex::default() }
    }

    /// Returns the budget of an action.
    pub(crate) fn of(&self, action: &str) -> Arc<Budget> {
        let mut budgets = self.by_action.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let built_in = PER_MINUTE.iter().find(|(name, _)| *name == action).map(|(_, rate)| *rate);
            let rate = self.limits.per_minute.get(action).copied().or(built_in).unwrap_or(PER_MINUTE_OTHERS);
            Arc::new(Budget::new(rate, self.limits.window))
        };
        Arc::clone(budgets.entry(action.to_owned()).or_insert_with(new))
    }
}

/// How much longer an action must rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    pub(crate) wait: Duration,
}

/// The budget of one action.
pub(crate) struct Budget {
    full: u32,
    window: Duration,
    state: Mutex<State>,
}

struct State {
    /// Calls per minute at present.
    rate: u32,
    bucket: Arc<DefaultDirectRateLimiter>,
    /// No call before this moment: the cloud throttled.
    closed_until: Option<Instant>,
    /// When the rate last changed; unset while it is full.
    changed: Option<Instant>,
}

impl Budget {
    fn new(per_minute: u32, window: Duration) -> Self {
        let full = per_minute.max(1);
        let state = State { rate: full, bucket: bucket(full), closed_until: None, changed: None };
        Self { full, window: window.max(Duration::from_millis(1)), state: Mutex::new(state) }
    }

    /// Waits until a call is allowed, or returns the wait when it is too long.
    pub(crate) async fn acquire(&self, deadline: Deadline) -> Result<(), Exhausted> {
        loop {
            let (closed, bucket) = self.look(Instant::now());
            if let Some(wait) = closed {
                if wait > PATIENCE {
                    return Err(Exhausted { wait });
                }
                deadline.sleep(wait).await.map_err(|wait| Exhausted { wait })?;
                continue;
            }
            match bucket.check() {
                Ok(()) => return Ok(()),
                Err(early) => {
                    let wait = early.wait_time_from(DefaultClock::default().now());
                    deadline.sleep(wait).await.map_err(|wait| Exhausted { wait })?;
                }
            }
        }
    }

    /// Notes that the cloud throttled the action, and returns how long it rests: as long as the cloud said, else until
    /// its next window. What several calls in flight are told counts once.
    pub(crate) fn throttled(&self, hint: Option<Duration>) -> Duration {
        let wait = hint.unwrap_or_else(|| next_window(jiff::Timestamp::now().as_millisecond(), self.window));
        let now = Instant::now();
        let mut state = self.lock();
        if state.closed_until.is_none_or(|until| until <= now) {
            state.rate = (state.rate / 2).max(self.full.div_ceil(SMALLEST_SHARE));
            state.bucket = bucket(state.rate);
        }
        state.changed = Some(now + wait);
        state.closed_until = Some(state.closed_until.map_or(now + wait, |until| until.max(now + wait)));
        wait
    }

    /// Returns how long the action is closed, and the bucket at its present size.
    fn look(&self, now: Instant) -> (Option<Duration>, Arc<DefaultDirectRateLimiter>) {
        let mut state = self.lock();
        if let Some(until) = state.closed_until {
            if until > now {
                return (Some(until - now), Arc::clone(&state.bucket));
            }
            state.closed_until = None;
        }
        if let Some(since) = state.changed
            && now.saturating_duration_since(since) >= self.window
        {
            let windows = now.saturating_duration_since(since).as_nanos() / self.window.as_nanos();
            let steps = u32::try_from(windows).unwrap_or(u32::MAX);
            let grown = self.full.div_ceil(RECOVERY_STEPS).saturating_mul(steps);
            state.rate = state.rate.saturating_add(grown).min(self.full);
            state.bucket = bucket(state.rate);
            state.changed = (state.rate < self.full).then_some(now);
        }
        (None, Arc::clone(&state.bucket))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bucket(per_minute: u32) -> Arc<DefaultDirectRateLimiter> {
    let rate = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
    Arc::new(DefaultDirectRateLimiter::direct(Quota::per_minute(rate)))
}

/// Returns the time from `now` (Unix, milliseconds) to the start of the next window, and a little more at random, so
/// that clients do not all come back in its first instant.
fn next_window(now: i64, window: Duration) -> Duration {
    let length = i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(1);
    let left = length - now.rem_euclid(length);
    let spread = (window / 10).min(Duration::from_secs(1));
    Duration::from_millis(left.unsigned_abs()) + spread.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn rate(budget: &Budget, now: Instant) -> u32 {
        budget.look(now);
        budget.lock().rate
    }

    #[test]
    fn the_rest_lasts_until_the_next_window() {
        let wait = next_window(90_000, MINUTE);
        assert!(wait >= Duration::from_secs(30) && wait <= Duration::from_secs(31), "{wait:?}");
        let wait = next_window(120_000, MINUTE);
        assert!(wait >= MINUTE, "{wait:?}");
    }

    #[test]
    fn a_throttle_halves_the_budget_once_and_it_recovers_slowly() {
        let budget = Budget::new(400, MINUTE);
        let now = Instant::now();
        let hint = Some(Duration::from_secs(1));
        budget.throttled(hint);
        budget.throttled(hint);
        assert_eq!(budget.lock().rate, 200);
        let open = now + Duration::from_secs(3);
        assert_eq!(rate(&budget, open), 200);
        assert_eq!(rate(&budget, open + MINUTE), 250);
        assert_eq!(rate(&budget, open + MINUTE * 3), 350);
        assert_eq!(rate(&budget, open + MINUTE * 60), 400);
        assert!(budget.lock().changed.is_none());
    }

    #[test]
    fn a_budget_never_falls_to_nothing() {
        let budget = Budget::new(400, MINUTE);
        for _ in 0..20 {
            budget.throttled(Some(Duration::ZERO));
        }
        assert_eq!(budget.lock().rate, 25);
    }

    #[tokio::test]
    async fn a_closed_action_is_refused_without_waiting_long() {
        let budget = Budget::new(400, MINUTE);
        budget.throttled(Some(Duration::from_secs(40)));
        let before = Instant::now();
        let refused = budget.acquire(Deadline::after(Duration::from_secs(50))).await.unwrap_err();
        assert!(refused.wait > Duration::from_secs(39) && before.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_short_rest_is_waited_for() {
        let budget = Budget::new(400, MINUTE);
        budget.throttled(Some(Duration::from_millis(50)));
        let before = Instant::now();
        budget.acquire(Deadline::after(Duration::from_secs(50))).await.unwrap();
        assert!(before.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn an_empty_bucket_makes_the_caller_wait_or_give_up_at_its_deadline() {
        let budget = Budget::new(2, MINUTE);
        let deadline = Deadline::after(Duration::from_secs(1));
        budget.acquire(deadline).await.unwrap();
        budget.acquire(deadline).await.unwrap();
        let refused = budget.acquire(deadline).await.unwrap_err();
        assert!(refused.wait > Duration::from_secs(20), "{refused:?}");
    }

    #[test]
    fn the_configured_figure_replaces_the_built_in_one() {
        let limits = Limits { per_minute: [("DescribeVSwitches".to_owned(), 7)].into(), ..Limits::default() };
        let budgets = Budgets::new(limits);
        assert_eq!(budgets.of("DescribeVSwitches").full, 7);
        assert_eq!(budgets.of("DescribeNetworkInterfaces").full, 400);
        assert_eq!(budgets.of("DescribeInstances").full, 250);
    }
}
