//! Finding which of many ranges meet a given one, in logarithmic time when they hardly overlap.

use crate::address::{AddressRange, Family};
use crate::address_set::AddressSet;

/// A read-only index from ranges to what holds them. Ranges may overlap.
pub(crate) struct Intervals<T> {
    /// Sorted by first address; IPv4 before IPv6.
    entries: Vec<(AddressRange, T)>,
    /// For each entry, the highest last address up to and including it: where a backward search may stop.
    highest: Vec<AddressRange>,
}

impl<T> Intervals<T> {
    pub(crate) fn new(items: impl IntoIterator<Item = (AddressRange, T)>) -> Self {
        let mut entries: Vec<_> = items.into_iter().collect();
        entries.sort_by_key(|(range, _)| *range);
        let mut highest: Vec<AddressRange> = Vec::with_capacity(entries.len());
        for (range, _) in &entries {
            let top = highest.last().filter(|top| top.last() >= range.last()).unwrap_or(range);
            highest.push(*top);
        }
        Self { entries, highest }
    }

    /// Calls `found` with each overlap of `wanted` with an entry.
    pub(crate) fn overlaps<'a>(&'a self, wanted: &AddressSet, mut found: impl FnMut(AddressRange, &'a T)) {
        for range in wanted.ranges() {
            let end = self.entries.partition_point(|(entry, _)| entry.first() <= range.last());
            for at in (0..end).rev() {
                let (Some(top), Some((entry, holder))) = (self.highest.get(at), self.entries.get(at)) else {
                    break;
                };
                if top.last() < range.first() {
                    break;
                }
                if let Some(both) =
                    AddressRange::new(entry.first().max(range.first()), entry.last().min(range.last()))
                {
                    found(both, holder);
                }
            }
        }
    }

    /// Returns every address that two or more entries hold.
    pub(crate) fn shared(&self) -> AddressSet {
        let mut shared = Vec::new();
        let mut reach: Option<AddressRange> = None;
        for (entry, _) in &self.entries {
            if let Some(top) = reach
                && top.family() == entry.family()
                && entry.first() <= top.last()
            {
                shared.extend(AddressRange::new(entry.first(), entry.last().min(top.last())));
            }
            let further = reach.is_none_or(|top| entry.last() > top.last());
            if further {
                reach = Some(*entry);
            }
        }
        shared.into_iter().collect()
    }
}

/// Returns a share of `whole` that `part` is, in percent rounded up, per family; the larger of the two.
pub(crate) fn percent(part: &AddressSet, whole: &AddressSet) -> u128 {
    Family::ALL
        .into_iter()
        .map(|family| {
            // Shifted so that a whole of many /80 prefixes does not overflow when multiplied.
            let (part, whole) = (part.of(family).count(), whole.of(family).count());
            let shift = 128_u32.saturating_sub(whole.leading_zeros()).saturating_sub(100);
            ((part >> shift) * 100).div_ceil((whole >> shift).max(1))
        })
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: u128, length: u128) -> AddressRange {
        AddressRange::from_numbers(Family::V4, first, first + length).unwrap()
    }

    #[test]
    fn a_share_is_taken_per_family() {
        let whole = AddressSet::parse(&["10.0.0.0/24", "2001:db8::/80"]).unwrap();
        assert_eq!(percent(&AddressSet::parse(&["10.0.0.0/26"]).unwrap(), &whole), 25);
        assert_eq!(percent(&AddressSet::parse(&["10.0.0.0/26", "2001:db8::/81"]).unwrap(), &whole), 50);
        assert_eq!(percent(&AddressSet::new(), &AddressSet::new()), 0);
    }

    proptest! {
        #[test]
        fn overlaps_agree_with_a_scan(
            entries in proptest::collection::vec((0u128..100, 0u128..20), 0..20),
            wanted in proptest::collection::vec((0u128..100, 0u128..20), 0..4),
        ) {
            let ranges: Vec<_> = entries.iter().map(|(f, l)| range(*f, *l)).collect();
            let wanted: AddressSet = wanted.iter().map(|(f, l)| range(*f, *l)).collect();
            let index = Intervals::new(ranges.iter().copied().enumerate().map(|(i, r)| (r, i)));
            let mut seen = std::collections::BTreeMap::<usize, AddressSet>::new();
            index.overlaps(&wanted, |both, i| {
                let set = seen.entry(*i).or_default();
                *set = set.union(&[both].into_iter().collect());
            });
            for (i, r) in ranges.iter().enumerate() {
                let expected = wanted.intersection(&[*r].into_iter().collect());
                prop_assert_eq!(seen.remove(&i).unwrap_or_default(), expected);
            }
        }

        #[test]
        fn shared_agrees_with_counting(entries in proptest::collection::vec((0u128..60, 0u128..12), 0..12)) {
            let index = Intervals::new(entries.iter().map(|(f, l)| (range(*f, *l), ())));
            let expected: AddressSet = (0u128..80)
                .filter(|n| entries.iter().filter(|(f, l)| (*f..=f + l).contains(n)).count() > 1)
                .map(|n| range(n, 0))
                .collect();
            prop_assert_eq!(index.shared(), expected);
        }
    }
}
