//! What must be remembered between passes: since when each address is missing, and which mass removal waits.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address_set::AddressSet;
use crate::moment::Moment;
use crate::plan::gate::Gate;

/// The memory of the plan. Losing it (a restart) only delays removals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    absences: BTreeMap<String, Absence>,
    /// Holds back denials that are too many at once.
    pub(super) denials: Gate,
    /// Holds back removals that are too many at once.
    pub(super) removals: Gate,
}

/// The missing addresses of one pool, by the beginning of the reading that first missed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Absence {
    since: Vec<(AddressSet, Moment)>,
}

impl Memory {
    /// Notes that a reading which began at `at` misses exactly `missing` of a pool, and returns the addresses that a
    /// reading at least `resync` earlier missed too.
    pub(super) fn miss(
        &mut self,
        pool: &str,
        missing: &AddressSet,
        at: Moment,
        resync: Duration,
    ) -> AddressSet {
        if missing.is_empty() {
            self.absences.remove(pool);
            return AddressSet::new();
        }
        let absence = self.absences.entry(pool.to_owned()).or_default();
        let mut fresh = missing.clone();
        absence.since.retain_mut(|(set, _)| {
            *set = set.intersection(missing);
            fresh = fresh.difference(set);
            !set.is_empty()
        });
        if !fresh.is_empty() {
            absence.since.push((fresh, at));
        }
        let twice = absence.since.iter().filter(|(_, first)| first.after(resync) <= at);
        twice.fold(AddressSet::new(), |sum, (set, _)| sum.union(set))
    }

    /// Forgets pools that are gone.
    pub(super) fn keep(&mut self, exists: impl Fn(&str) -> bool) {
        self.absences.retain(|pool, _| exists(pool));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESYNC: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn set(items: &[&str]) -> AddressSet {
        AddressSet::parse(items).unwrap()
    }

    #[test]
    fn absence_needs_two_readings_a_resync_apart() {
        let mut memory = Memory::default();
        let missing = set(&["10.0.0.5"]);
        assert!(memory.miss("p", &missing, at(0), RESYNC).is_empty());
        assert!(memory.miss("p", &missing, at(59), RESYNC).is_empty());
        assert_eq!(memory.miss("p", &missing, at(60), RESYNC), missing);
    }

    #[test]
    fn one_reading_looked_at_twice_is_one() {
        let mut memory = Memory::default();
        let missing = set(&["10.0.0.5"]);
        for _ in 0..9 {
            assert!(memory.miss("p", &missing, at(7), RESYNC).is_empty());
        }
    }

    #[test]
    fn an_address_that_comes_back_starts_anew() {
        let mut memory = Memory::default();
        memory.miss("p", &set(&["10.0.0.5-10.0.0.6"]), at(0), RESYNC);
        memory.miss("p", &set(&["10.0.0.6"]), at(30), RESYNC);
        assert_eq!(memory.miss("p", &set(&["10.0.0.5-10.0.0.6"]), at(61), RESYNC), set(&["10.0.0.6"]));
    }
}
