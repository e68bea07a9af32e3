//! The brake: how much one pass may take away before a second confirmation.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::Family;
use crate::address_set::AddressSet;
use crate::intervals::percent;
use crate::moment::Moment;

/// What all our pools hold, to measure a loss against.
pub(super) struct Stock {
    whole: AddressSet,
    largest: BTreeMap<Family, u128>,
}

impl Stock {
    /// Adds up the addresses of the pools, given as (node, addresses).
    pub(super) fn new<'a>(pools: impl IntoIterator<Item = (&'a str, &'a AddressSet)>) -> Self {
        let (mut ranges, mut nodes) = (Vec::new(), BTreeMap::<(Family, &str), u128>::new());
        for (node, ips) in pools {
            for range in ips.ranges() {
                let count = nodes.entry((range.family(), node)).or_default();
                *count = count.saturating_add(range.count());
            }
            ranges.extend_from_slice(ips.ranges());
        }
        let mut largest = BTreeMap::<Family, u128>::new();
        for ((family, _), count) in nodes {
            let top = largest.entry(family).or_default();
            *top = (*top).max(count);
        }
        Self { whole: ranges.into_iter().collect(), largest }
    }

    /// Returns whether losing `part` at once needs a second confirmation.
    fn is_much(&self, part: &AddressSet, max_share: u8) -> bool {
        Family::ALL.into_iter().any(|family| {
            let (part, whole) = (part.of(family), self.whole.of(family));
            percent(&part, &whole) > u128::from(max_share)
                && part.count() > self.largest.get(&family).copied().unwrap_or_default()
        })
    }
}

/// A mass loss that waits: what would be lost, and the beginning of the reading that first said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gate {
    asked: Option<(AddressSet, Moment)>,
}

impl Gate {
    /// Returns whether this pass may lose `part`, as a reading that began at `at` says: it is little, or a reading at
    /// least one resync earlier said the same. Time alone confirms nothing, and no loss confirms another.
    pub(super) fn admits(
        &mut self,
        part: &AddressSet,
        at: Moment,
        stock: &Stock,
        max_share: u8,
        resync: Duration,
    ) -> bool {
        if !stock.is_much(part, max_share) {
            self.asked = None;
            return true;
        }
        if let Some((before, since)) = &self.asked
            && !stock.is_much(&part.difference(before), max_share)
        {
            return at >= since.after(resync);
        }
        self.asked = Some((part.clone(), at));
        false
    }
}
