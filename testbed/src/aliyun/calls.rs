//! What was asked: counts per action and the last requests, without secrets.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::simulator::Product;

/// How many requests the log holds; older ones are dropped, the counts stay.
const KEPT: usize = 10_000;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Answered well.
    Ok,
    /// Refused with a code of the throttling family.
    Throttled,
    /// Refused with another code.
    Refused,
    /// Spoilt on purpose by a fault: broken, hanging or cut.
    Spoilt,
}

/// One request, as the log keeps it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The cloud's time.
    pub at: Timestamp,
    /// The listener that it reached.
    pub product: Product,
    /// The action; for the metadata service `MetadataToken` or `Metadata`.
    pub action: String,
    /// The access key id, if there was one.
    pub key: Option<String>,
    /// The business parameters; for the metadata service the path. Tokens are left out.
    pub parameters: BTreeMap<String, String>,
    /// HTTP status; 0 when no reply was sent.
    pub status: u16,
    /// The error code, when refused.
    pub code: Option<String>,
    /// What became of it.
    pub fate: Fate,
}

/// Counts of calls since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    counts: BTreeMap<String, BTreeMap<Fate, u64>>,
}

impl Calls {
    /// Returns how many calls of an action arrived, however they ended.
    #[must_use]
    pub fn of(&self, action: &str) -> u64 {
        self.counts.get(action).map_or(0, |fates| fates.values().sum())
    }

    /// Returns how many calls of an action ended so.
    #[must_use]
    pub fn ended(&self, action: &str, fate: Fate) -> u64 {
        self.counts.get(action).and_then(|fates| fates.get(&fate)).copied().unwrap_or(0)
    }

    /// Returns how many calls of any action arrived.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().flat_map(BTreeMap::values).sum()
    }

    /// Returns the actions that were called, with how often.
    #[must_use]
    pub fn by_action(&self) -> BTreeMap<String, u64> {
        self.counts.keys().map(|action| (action.clone(), self.of(action))).collect()
    }
}

/// The counts and the last requests.
#[derive(Default)]
pub(crate) struct CallLog {
    pub(crate) calls: Calls,
    pub(crate) last: VecDeque<Call>,
}

impl CallLog {
    pub(crate) fn add(&mut self, call: Call) {
        *self.calls.counts.entry(call.action.clone()).or_default().entry(call.fate).or_default() += 1;
        if self.last.len() >= KEPT {
            self.last.pop_front();
        }
        self.last.push_back(call);
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}
