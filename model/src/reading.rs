//! What is known of one provider's world: the latest complete readings, merged.

use std::collections::BTreeMap;

use crate::inventory::{Inventory, Scope};
use crate::moment::Moment;
use crate::nic::{InstanceId, Nic, SubnetId};
use crate::subnet::Subnet;

/// What a provider's complete readings have shown so far. Failed readings leave no trace in it but the error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    instances: BTreeMap<InstanceId, Seen>,
    subnets: BTreeMap<SubnetId, Subnet>,
    whole: Option<Moment>,
    warnings: Vec<String>,
    failure: Option<(String, Failure)>,
}

/// Whether a failure may pass by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may: throttling, time-outs, broken replies.
    Passing,
    /// It stays until a person acts: credentials, permissions, configuration.
    Lasting,
}

/// One instance as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    nics: Vec<Nic>,
    at: Moment,
}

/// What is known of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight<'a> {
    /// No complete reading has covered it yet: nothing may be concluded.
    Unknown,
    /// A complete reading that began at this time covered it, and it was not there.
    Absent(Moment),
    /// It was there, with these NICs, in a complete reading that began at this time.
    Present(&'a [Nic], Moment),
}

impl Reading {
    /// Takes in a complete reading that began at `at`.
    pub fn absorb(&mut self, inventory: Inventory, at: Moment) {
        let Inventory { scope, instances, subnets, warnings } = inventory;
        match scope {
            Scope::Whole => {
                self.instances.clear();
                self.subnets = subnets;
                self.whole = Some(at);
                self.warnings = warnings;
            }
            Scope::Instances(asked) => {
                for instance in asked {
                    self.instances.remove(&instance);
                }
                self.subnets.extend(subnets);
            }
        }
        self.instances.extend(instances.into_iter().map(|(id, nics)| (id, Seen { nics, at })));
        self.failure = None;
    }

    /// Notes that the latest reading failed, and why. What was known stays known.
    pub fn fail(&mut self, why: String, kind: Failure) {
        self.failure = Some((why, kind));
    }

    /// Returns why the latest reading failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_ref().map(|(why, _)| why.as_str())
    }

    /// Returns whether the latest reading failed for a reason that does not pass by itself.
    #[must_use]
    pub fn failure_lasts(&self) -> bool {
        matches!(self.failure, Some((_, Failure::Lasting)))
    }

    /// Returns what was odd in the latest whole reading.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns when the latest whole reading began.
    #[must_use]
    pub fn whole(&self) -> Option<Moment> {
        self.whole
    }

    /// Returns what is known of an instance.
    #[must_use]
    pub fn sight(&self, instance: &InstanceId) -> Sight<'_> {
        match (self.instances.get(instance), self.whole) {
            (Some(seen), _) => Sight::Present(&seen.nics, seen.at),
            (None, Some(at)) => Sight::Absent(at),
            (None, None) => Sight::Unknown,
        }
    }

    /// Returns a subnet that a reading showed.
    #[must_use]
    pub fn subnet(&self, id: &SubnetId) -> Option<&Subnet> {
        self.subnets.get(id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn nothing_is_absent_before_the_first_complete_reading() {
        let mut reading = Reading::default();
        reading.fail("throttled".into(), Failure::Passing);
        assert_eq!(reading.sight(&"i-1".into()), Sight::Unknown);
    }

    #[test]
    fn a_failed_reading_forgets_nothing() {
        let mut reading = Reading::default();
        let instances = BTreeMap::from([("i-1".into(), Vec::new())]);
        reading.absorb(Inventory { instances, ..Inventory::default() }, at(1));
        reading.fail("cut JSON".into(), Failure::Passing);
        assert_eq!(reading.sight(&"i-1".into()), Sight::Present(&[], at(1)));
        assert_eq!(reading.failure(), Some("cut JSON"));
    }

    #[test]
    fn a_partial_reading_speaks_only_of_what_was_asked() {
        let mut reading = Reading::default();
        let instances = BTreeMap::from([("i-1".into(), Vec::new()), ("i-2".into(), Vec::new())]);
        reading.absorb(Inventory { instances, ..Inventory::default() }, at(1));
        let asked = BTreeSet::from(["i-2".into(), "i-3".into()]);
        let instances = BTreeMap::from([("i-3".into(), Vec::new())]);
        reading
            .absorb(Inventory { scope: Scope::Instances(asked), instances, ..Inventory::default() }, at(2));
        assert_eq!(reading.sight(&"i-1".into()), Sight::Present(&[], at(1)));
        assert_eq!(reading.sight(&"i-2".into()), Sight::Absent(at(1)));
        assert_eq!(reading.sight(&"i-3".into()), Sight::Present(&[], at(2)));
    }
}
