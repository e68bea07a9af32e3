//! The addresses of an offer that are nobody's and do not rest: as ranges, so that an IPv6 /80 costs what one address costs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::address::{AddressRange, Family, number};
use crate::address_set::AddressSet;

/// A set of addresses that knows its lowest in O(log n).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Fresh {
    /// First address to last, disjoint; neighbours are joined where that is cheap.
    ranges: BTreeMap<IpAddr, IpAddr>,
}

impl Fresh {
    /// Returns the lowest address.
    pub(super) fn first(&self) -> Option<IpAddr> {
        self.ranges.first_key_value().map(|(first, _)| *first)
    }

    /// Takes `address` out; returns whether it was in.
    pub(super) fn remove(&mut self, address: IpAddr) -> bool {
        let Some((&first, &last)) = self.ranges.range(..=address).next_back() else { return false };
        if address > last {
            return false;
        }
        self.ranges.remove(&first);
        if first < address
            && let Some(before) = neighbour(address, -1)
        {
            self.ranges.insert(first, before);
        }
        if address < last
            && let Some(after) = neighbour(address, 1)
        {
            self.ranges.insert(after, last);
        }
        true
    }

    /// Puts `address` in, which is not in.
    pub(super) fn insert(&mut self, address: IpAddr) {
        let after = neighbour(address, 1).and_then(|next| self.ranges.remove(&next));
        let last = after.unwrap_or(address);
        if let Some((_, end)) = self.ranges.range_mut(..address).next_back()
            && neighbour(*end, 1) == Some(address)
        {
            *end = last;
            return;
        }
        self.ranges.insert(address, last);
    }

    /// Returns how many addresses there are, saturating.
    pub(super) fn count(&self) -> u128 {
        self.ranges
            .iter()
            .filter_map(|(first, last)| AddressRange::new(*first, *last))
            .fold(0, |sum: u128, range| sum.saturating_add(range.count()))
    }
}

impl From<AddressSet> for Fresh {
    fn from(set: AddressSet) -> Self {
        Self { ranges: set.ranges().iter().map(|range| (range.first(), range.last())).collect() }
    }
}

/// Returns the address beside this one in its family, `None` at the family's end.
fn neighbour(address: IpAddr, step: i8) -> Option<IpAddr> {
    let number = number(address).checked_add_signed(i128::from(step))?;
    Family::of(address).address(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(items: &[&str]) -> Fresh {
        AddressSet::parse(items).unwrap().into()
    }

    #[test]
    fn the_lowest_goes_first_up_to_the_family_end() {
        let mut set = fresh(&["255.255.255.254-255.255.255.255", "::1"]);
        let mut taken = Vec::new();
        while let Some(address) = set.first() {
            assert!(set.remove(address));
            taken.push(address.to_string());
        }
        assert_eq!(taken, ["255.255.255.254", "255.255.255.255", "::1"]);
    }

    #[test]
    fn what_is_taken_out_and_put_back_leaves_the_same_set() {
        let whole = fresh(&["10.0.0.1-10.0.0.5", "2001:db8::/80"]);
        for text in ["10.0.0.1", "10.0.0.3", "10.0.0.5", "2001:db8::", "2001:db8::ffff"] {
            let mut set = whole.clone();
            let address = text.parse().unwrap();
            assert!(set.remove(address) && !set.remove(address), "{text}");
            assert_eq!(set.count(), whole.count() - 1);
            set.insert(address);
            assert_eq!(set, whole, "{text}");
        }
    }

    #[test]
    fn an_address_between_the_ranges_is_not_in() {
        let mut set = fresh(&["10.0.0.1-10.0.0.5", "10.0.0.9"]);
        assert!(!set.remove("10.0.0.7".parse().unwrap()));
        assert!(!set.remove("::a00:1".parse().unwrap()));
    }
}
