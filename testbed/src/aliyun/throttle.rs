//! Request budgets per action and minute window, as the cloud counts them.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Whether a throttled reply says how long to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfter {
    /// The header `x-acs-retry-after` carries the rest of the window in milliseconds.
    Header,
    /// Nothing is said.
    #[default]
    Silent,
}

/// Calls that one action may take in one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// So many a minute.
    PerMinute(u32),
    /// No limit.
    Unlimited,
}

/// Counts calls per action in windows of whole minutes: throttled in minute T, free again in minute T + 1.
#[derive(Debug, Default)]
pub struct Throttle {
    set: BTreeMap<String, Budget>,
    everywhere: Option<Budget>,
    spent: BTreeMap<String, (i64, u32)>,
    /// Whether a throttled reply says how long to wait.
    pub retry_after: RetryAfter,
}

impl Throttle {
    /// Sets the budget of one action.
    pub fn set(&mut self, action: impl Into<String>, budget: Budget) {
        self.set.insert(action.into(), budget);
    }

    /// Sets the budget of every action that has none of its own set.
    pub fn set_all(&mut self, budget: Budget) {
        self.everywhere = Some(budget);
    }

    /// Takes one call from the budget; when it is empty, returns the milliseconds until the next window.
    pub(crate) fn spend(&mut self, action: &str, now: Timestamp) -> Result<(), u64> {
        let budget = self.set.get(action).copied().or(self.everywhere).unwrap_or_else(|| usual(action));
        let Budget::PerMinute(most) = budget else {
            return Ok(());
        };
        let millis = now.as_millisecond();
        let window = millis.div_euclid(60_000);
        let spent = self.spent.entry(action.to_owned()).or_insert((window, 0));
        if spent.0 != window {
            *spent = (window, 0);
        }
        if spent.1 >= most {
            return Err(60_000 - millis.rem_euclid(60_000).unsigned_abs());
        }
        spent.1 += 1;
        Ok(())
    }
}

/// The budgets of a usual account, guessed from the client-side limits of the vendor's own CNI.
fn usual(action: &str) -> Budget {
    Budget::PerMinute(match action {
        "DescribeNetworkInterfaces" => 800,
        "DescribeVSwitches" => 300,
        "DetachNetworkInterface"
        | "AssignPrivateIpAddresses"
        | "UnassignPrivateIpAddresses"
        | "AssignIpv6Addresses"
        | "UnassignIpv6Addresses"
        | "DescribeInstanceTypes" => 400,
        _ => 500,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_spent_budget_is_whole_again_in_the_next_minute_window() {
        let mut throttle = Throttle::default();
        throttle.set("A", Budget::PerMinute(2));
        assert_eq!(throttle.spend("A", at(50)), Ok(()));
        assert_eq!(throttle.spend("A", at(55)), Ok(()));
        assert_eq!(throttle.spend("A", at(59)), Err(1_000));
        assert_eq!(throttle.spend("B", at(59)), Ok(()), "other actions are free");
        assert_eq!(throttle.spend("A", at(60)), Ok(()));
    }
}
