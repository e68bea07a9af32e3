//! A pool as anybody may have written it into the API server: its addresses, its rules and its records.

#![no_main]

use api::{SpiderIPPool, allocations, allocations_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(records) = allocations(Some(text))
    {
        let again = allocations_text(&records).expect("records can be written");
        assert_eq!(allocations(again.as_deref()).expect("and read again"), records);
    }
    let Ok(pool) = serde_json::from_slice::<SpiderIPPool>(bytes) else { return };
    let (candidate, view, addresses) = (api::candidate(&pool), api::view::pool(&pool), pool.addresses());
    assert!(candidate.free.is_none_or(|free| free <= candidate.offered));
    assert_eq!(candidate.offered, addresses.offered.count());
    if !addresses.unreadable_exclusions.is_empty() {
        assert!(candidate.problem.is_some(), "nothing is given out when it is not known what is excluded");
    }
    drop(format!("{view:?}"));
});
