//! A set of addresses as sorted, disjoint ranges: never expanded, so an IPv6 /80 costs what one address costs.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::{AddressRange, Family, RangeError, number};

/// A set of IPv4 and IPv6 addresses.
///
/// Holds the fewest ranges that describe it (sorted, disjoint, not adjacent), so two equal sets are equal values and
/// compare without regard to how their text was written. Serialises as the list of its ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressSet {
    ranges: Vec<AddressRange>,
}

impl AddressSet {
    /// Returns the set without any address.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Reads a list of `a`, `a-b` and CIDR items; overlaps and any order are fine, the set is their union.
    ///
    /// # Errors
    /// The first item that is no range.
    pub fn parse<S: AsRef<str>>(items: &[S]) -> Result<Self, RangeError> {
        items.iter().map(|item| item.as_ref().parse::<AddressRange>()).collect()
    }

    /// Reads a list like [`parse`](Self::parse), but skips what is no range and returns it beside the set.
    ///
    /// For objects that others wrote: one bad item must not hide the good ones.
    #[must_use]
    pub fn parse_lenient<S: AsRef<str>>(items: &[S]) -> (Self, Vec<RangeError>) {
        let (mut ranges, mut errors) = (Vec::new(), Vec::new());
        for item in items {
            match item.as_ref().parse::<AddressRange>() {
                Ok(range) => ranges.push(range),
                Err(error) => errors.push(error),
            }
        }
        (ranges.into_iter().collect(), errors)
    }

    /// Returns the ranges, lowest first, IPv4 before IPv6.
    #[must_use]
    pub fn ranges(&self) -> &[AddressRange] {
        &self.ranges
    }

    /// Returns whether the set holds no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns how many addresses the set holds, saturating at `u128::MAX`.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.ranges.iter().fold(0, |sum: u128, range| sum.saturating_add(range.count()))
    }

    /// Returns whether `address` is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let at = self.ranges.partition_point(|range| range.last() < address);
        self.ranges.get(at).is_some_and(|range| range.contains(address))
    }

    /// Returns the part of the set that is of `family`.
    #[must_use]
    pub fn of(&self, family: Family) -> Self {
        Self { ranges: self.ranges.iter().copied().filter(|r| r.family() == family).collect() }
    }

    /// Returns the addresses that are in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.ranges.iter().chain(&other.ranges).copied().collect()
    }

    /// Returns the addresses that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let (mut a, mut b) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            // IpAddr orders every IPv4 address before every IPv6 one, so mixed families never meet here.
            if let Some(both) = AddressRange::new(x.first().max(y.first()), x.last().min(y.last())) {
                ranges.push(both);
            }
            if x.last() <= y.last() {
                a.next()
            } else {
                b.next()
            };
        }
        Self { ranges }
    }

    /// Returns the addresses of this set that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let mut holes = other.ranges.as_slice();
        for range in &self.ranges {
            let family = range.family();
            let (mut next, last) = (number(range.first()), number(range.last()));
            let mut exhausted = false;
            while let Some((hole, rest)) = holes.split_first() {
                if hole.last() < range.first() {
                    holes = rest;
                    continue;
                }
                if hole.first() > range.last() || hole.family() != family {
                    break;
                }
                let (hole_first, hole_last) = (number(hole.first()), number(hole.last()));
                if hole_first > next {
                    ranges.extend(AddressRange::from_numbers(family, next, hole_first - 1));
                }
                if hole_last >= last {
                    exhausted = true;
                    break;
                }
                next = next.max(hole_last + 1);
                holes = rest;
            }
            if !exhausted {
                ranges.extend(AddressRange::from_numbers(family, next, last));
            }
        }
        Self { ranges }
    }

    /// Returns whether the sets share an address.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// Returns whether every address of this set is in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.difference(other).is_empty()
    }

    /// Returns the ranges in Spiderpool's syntax, one text a range.
    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        self.ranges.iter().map(ToString::to_string).collect()
    }
}

impl<R: Into<AddressRange>> FromIterator<R> for AddressSet {
    fn from_iter<I: IntoIterator<Item = R>>(items: I) -> Self {
        let mut sorted: Vec<AddressRange> = items.into_iter().map(Into::into).collect();
        sorted.sort_unstable();
        let mut ranges: Vec<AddressRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            if let Some(top) = ranges.last_mut()
                && top.family() == range.family()
                && number(range.first()) <= number(top.last()).saturating_add(1)
            {
                if let Some(joined) = AddressRange::new(top.first(), top.last().max(range.last())) {
                    *top = joined;
                }
                continue;
            }
            ranges.push(range);
        }
        Self { ranges }
    }
}

impl fmt::Display for AddressSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_strings().join(","))
    }
}

impl Serialize for AddressSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ranges.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for AddressSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Vec::<String>::deserialize(deserializer)?;
        Self::parse(&items).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(items: &[&str]) -> AddressSet {
        AddressSet::parse(items).unwrap()
    }

    #[test]
    fn neighbours_and_overlaps_become_one_range() {
        assert_eq!(set(&["10.0.0.2", "10.0.0.1", "10.0.0.3-10.0.0.9"]).to_strings(), ["10.0.0.1-10.0.0.9"]);
        assert_eq!(set(&["10.0.0.1-10.0.0.5", "10.0.0.3-10.0.0.4"]).to_strings(), ["10.0.0.1-10.0.0.5"]);
    }

    #[test]
    fn the_last_ipv4_address_does_not_touch_the_first_ipv6_one() {
        assert_eq!(set(&["255.255.255.255", "::"]).ranges().len(), 2);
    }

    #[test]
    fn a_prefix_counts_without_being_expanded() {
        assert_eq!(set(&["2001:db8::/80"]).count(), 1 << 48);
        assert_eq!(set(&["172.16.16.64/28"]).to_strings(), ["172.16.16.64-172.16.16.79"]);
        assert_eq!(set(&["::/0"]).count(), u128::MAX);
        let rest = set(&["::/0"]).difference(&set(&["::"]));
        assert_eq!(rest.to_strings(), ["::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]);
    }

    #[test]
    fn a_reversed_range_is_an_error_and_not_an_empty_one() {
        let error = AddressSet::parse(&["2001:db8::9-2001:db8::1"]).unwrap_err();
        assert_eq!(error, RangeError::Reversed { text: "2001:db8::9-2001:db8::1".into() });
        let (good, bad) = AddressSet::parse_lenient(&["10.0.0.9-10.0.0.1", "10.0.0.3"]);
        assert_eq!((good.to_strings(), bad.len()), (vec!["10.0.0.3".to_owned()], 1));
    }

    #[test]
    fn a_range_of_two_families_is_refused() {
        assert_eq!(
            "10.0.0.1-::1".parse::<AddressRange>(),
            Err(RangeError::Mixed { text: "10.0.0.1-::1".into() })
        );
    }

    fn small_set() -> impl Strategy<Value = AddressSet> {
        let range = (any::<bool>(), 0u128..64, 0u128..8).prop_map(|(six, first, length)| {
            let family = if six { Family::V6 } else { Family::V4 };
            AddressRange::from_numbers(family, first, first + length).unwrap()
        });
        proptest::collection::vec(range, 0..12).prop_map(|ranges| ranges.into_iter().collect())
    }

    /// The same set as a list of its members: the oracle, affordable because the sets are small.
    fn members(set: &AddressSet) -> std::collections::BTreeSet<IpAddr> {
        set.ranges()
            .iter()
            .flat_map(|r| (number(r.first())..=number(r.last())).filter_map(|n| r.family().address(n)))
            .collect()
    }

    proptest! {
        #[test]
        fn set_algebra_agrees_with_members(a in small_set(), b in small_set()) {
            prop_assert_eq!(members(&a.union(&b)), &members(&a) | &members(&b));
            prop_assert_eq!(members(&a.intersection(&b)), &members(&a) & &members(&b));
            prop_assert_eq!(members(&a.difference(&b)), &members(&a) - &members(&b));
            prop_assert_eq!(a.intersects(&b), !members(&a).is_disjoint(&members(&b)));
            prop_assert_eq!(a.is_subset(&b), members(&a).is_subset(&members(&b)));
            prop_assert_eq!(a.count(), members(&a).len() as u128);
        }

        #[test]
        fn results_are_in_normal_form(a in small_set(), b in small_set()) {
            for result in [a.union(&b), a.intersection(&b), a.difference(&b)] {
                let again: AddressSet = result.ranges().iter().copied().collect();
                prop_assert_eq!(&again, &result);
            }
        }

        #[test]
        fn text_round_trips(a in small_set()) {
            prop_assert_eq!(AddressSet::parse(&a.to_strings()).unwrap(), a.clone());
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<AddressSet>(&json).unwrap(), a);
        }

        #[test]
        fn contains_agrees_with_members(a in small_set(), n in 0u128..80, six in any::<bool>()) {
            let address = (if six { Family::V6 } else { Family::V4 }).address(n).unwrap();
            prop_assert_eq!(a.contains(address), members(&a).contains(&address));
        }

        #[test]
        fn wide_ipv6_ranges_split_and_rejoin(first in any::<u128>(), length in 0u128..(1 << 100), cut in any::<u128>()) {
            let last = first.saturating_add(length);
            let whole: AddressSet = [AddressRange::from_numbers(Family::V6, first, last).unwrap()].into_iter().collect();
            let hole: AddressSet = [Family::V6.address(cut).unwrap()].into_iter().collect();
            let pieces = whole.difference(&hole).union(&whole.intersection(&hole));
            prop_assert_eq!(pieces, whole);
        }
    }
}
