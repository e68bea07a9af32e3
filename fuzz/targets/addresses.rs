//! Ranges of addresses as people write them: read, joined, cut, written and read again.
//!
//! Input: one range a line; an empty line begins the second set.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{AddressRange, AddressSet, Mac, MultusTemplate};

fuzz_target!(|text: &str| {
    let mut sets = text.split("\n\n").map(|part| {
        let items: Vec<&str> = part.lines().collect();
        let (set, errors) = AddressSet::parse_lenient(&items);
        assert!(errors.iter().all(|error| !error.to_string().is_empty()));
        assert_eq!(AddressSet::parse(&items).is_ok(), errors.is_empty());
        set
    });
    let (a, b) = (sets.next().unwrap_or_default(), sets.next().unwrap_or_default());
    for set in [&a, &b] {
        assert_eq!(AddressSet::parse(&set.to_strings()).as_ref(), Ok(set), "written and read again");
        assert!(set.ranges().windows(2).all(|pair| pair[0] < pair[1] && pair[0].last() < pair[1].first()));
        for range in set.ranges() {
            assert!(set.contains(range.first()) && set.contains(range.last()) && range.count() > 0);
            assert_eq!(AddressRange::new(range.first(), range.last()), Some(*range));
        }
    }
    let (both, either, only) = (a.intersection(&b), a.union(&b), a.difference(&b));
    assert!(both.is_subset(&a) && both.is_subset(&b) && a.is_subset(&either) && b.is_subset(&either));
    assert!(!only.intersects(&b) && only.union(&both) == a && either.difference(&b) == only);
    assert_eq!(a.intersects(&b), !both.is_empty());
    assert_eq!(either.count(), only.count().saturating_add(b.count()));
    // Other texts with a grammar that configurations and clouds bring.
    for line in text.lines() {
        if let Ok(mac) = line.parse::<Mac>() {
            assert_eq!(mac.to_string().parse(), Ok(mac));
        }
        drop(line.parse::<MultusTemplate>());
    }
});
