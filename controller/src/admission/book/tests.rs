use api::labels;

use super::*;

fn pool(name: &str, ips: &[&str]) -> SpiderIPPool {
    let mut pool = SpiderIPPool::new(name, api::SpiderIPPoolSpec::default());
    pool.spec.subnet = "10.0.0.0/8".into();
    pool.spec.ips = ips.iter().map(ToString::to_string).collect();
    pool.metadata.uid = Some(format!("uid-{name}"));
    pool
}

fn here(pool: &SpiderIPPool) -> Delta<Option<HandWritten>> {
    Delta::Here(pool.name_any(), entry(pool, &api::view::pool(pool).pool.owner))
}

/// A book that has seen everything there is: `pools`.
fn book(pools: &[SpiderIPPool]) -> Book {
    let book = Book::default();
    book.see(Delta::Begin);
    for pool in pools {
        book.see(here(pool));
    }
    book.see(Delta::End);
    book
}

fn create(book: &Book, pool: &SpiderIPPool, now: Instant) -> Result<(), Refusal> {
    book.admit(None, pool, Run::Real, now)
}

#[test]
fn before_all_pools_are_known_nothing_is_admitted_that_needs_them() {
    let (book, now) = (Book::default(), Instant::now());
    let (a, mut edited) = (pool("a", &["10.0.0.1"]), pool("a", &["10.0.0.1"]));
    book.see(Delta::Begin);
    book.see(here(&a));
    assert_eq!(create(&book, &pool("b", &["10.0.0.9"]), now), Err(Refusal::Unknown));
    edited.finalizers_mut().push("x".into());
    assert_eq!(
        book.admit(Some(&a), &edited, Run::Real, now),
        Ok(()),
        "what takes nothing needs no knowledge"
    );
    book.see(Delta::End);
    assert_eq!(create(&book, &pool("b", &["10.0.0.9"]), now), Ok(()));
}

#[test]
fn a_second_listing_does_not_make_the_book_unknown() {
    let book = book(&[pool("a", &["10.0.0.1"])]);
    book.see(Delta::Begin);
    assert!(matches!(create(&book, &pool("b", &["10.0.0.1"]), Instant::now()), Err(Refusal::Wrong(_))));
}

#[test]
fn of_two_at_once_that_want_one_address_one_gets_it() {
    let (book, now) = (book(&[]), Instant::now());
    assert_eq!(create(&book, &pool("a", &["10.0.0.1-10.0.0.5"]), now), Ok(()));
    let Err(Refusal::Wrong(said)) = create(&book, &pool("b", &["10.0.0.5"]), now) else { panic!("admitted") };
    assert!(said.contains("SpiderIPPool a, which was admitted a moment ago"), "{said}");
    assert_eq!(create(&book, &pool("a", &["10.0.0.1-10.0.0.5"]), now), Ok(()), "the same again is no other");
}

#[test]
fn what_was_admitted_and_never_seen_is_forgotten_after_a_while() {
    let (book, now) = (book(&[]), Instant::now());
    let (a, b) = (pool("a", &["10.0.0.1"]), pool("b", &["10.0.0.1"]));
    assert_eq!(create(&book, &a, now), Ok(()));
    assert!(create(&book, &b, now + REMEMBERED - Duration::from_millis(1)).is_err());
    assert_eq!(create(&book, &b, now + REMEMBERED), Ok(()));
}

#[test]
fn what_was_admitted_is_remembered_until_the_watch_shows_it() {
    let (book, now) = (book(&[pool("a", &["10.0.0.1"])]), Instant::now());
    let (old, new) = (pool("a", &["10.0.0.1"]), pool("a", &["10.0.0.2"]));
    assert_eq!(book.admit(Some(&old), &new, Run::Real, now), Ok(()));
    // An older version, late.
    book.see(here(&old));
    assert!(create(&book, &pool("b", &["10.0.0.2"]), now).is_err());
    book.see(here(&new));
    let Err(Refusal::Wrong(said)) = create(&book, &pool("b", &["10.0.0.2"]), now) else { panic!("admitted") };
    assert!(!said.contains("a moment ago"), "{said}");
    book.see(Delta::Gone("a".into()));
    assert_eq!(create(&book, &pool("b", &["10.0.0.2"]), now), Ok(()), "the memory ended when it was seen");
}

#[test]
fn a_dry_run_is_judged_and_not_remembered() {
    let (book, now) = (book(&[pool("a", &["10.0.0.1"])]), Instant::now());
    assert!(book.admit(None, &pool("b", &["10.0.0.1"]), Run::Dry, now).is_err());
    assert_eq!(book.admit(None, &pool("b", &["10.0.0.2"]), Run::Dry, now), Ok(()));
    assert_eq!(create(&book, &pool("c", &["10.0.0.2"]), now), Ok(()));
}

#[test]
fn what_was_shared_before_stays_editable() {
    let (a, b) = (pool("a", &["10.0.0.1-10.0.0.5"]), pool("b", &["10.0.0.5-10.0.0.9"]));
    let (book, now) = (book(&[a.clone(), b]), Instant::now());
    assert_eq!(book.admit(Some(&a), &pool("a", &["10.0.0.2-10.0.0.5"]), Run::Real, now), Ok(()));
    assert!(book.admit(Some(&a), &pool("a", &["10.0.0.1-10.0.0.6"]), Run::Real, now).is_err());
}

/// A pool as the controller makes it, with its record.
fn generated(name: &str, ip: &str) -> SpiderIPPool {
    let mut pool = pool(name, &[ip]);
    pool.labels_mut().insert(labels::MANAGED_BY.into(), labels::MANAGER.into());
    for key in [
        labels::PROVIDER_NAME,
        labels::NODE_NAME,
        labels::INSTANCE,
        labels::NIC_ID,
        labels::INTERFACE,
        labels::SUBNET,
    ] {
        pool.annotations_mut().insert(key.into(), "x".into());
    }
    pool
}

#[test]
fn pools_of_the_controller_are_not_in_the_book() {
    let (book, now) = (book(&[pool("a", &["10.0.0.1"])]), Instant::now());
    assert!(create(&book, &pool("b", &["10.0.0.1"]), now).is_err());
    book.see(here(&generated("a", "10.0.0.1")));
    assert_eq!(create(&book, &pool("b", &["10.0.0.1"]), now), Ok(()));
}

#[test]
fn a_pool_that_only_bears_the_controllers_label_is_in_the_book() {
    let mut odd = generated("a", "10.0.0.1");
    odd.annotations_mut().clear();
    assert!(create(&book(&[odd]), &pool("b", &["10.0.0.1"]), Instant::now()).is_err());
}

#[test]
fn both_sides_of_every_shared_pair_are_said() {
    let book = book(&[
        pool("a", &["10.0.0.1-10.0.0.9"]),
        pool("b", &["10.0.0.20", "10.0.0.5"]),
        pool("c", &["10.0.0.9-10.0.0.20"]),
        pool("d", &["10.0.1.1", "::5"]),
    ]);
    let said: Vec<_> =
        book.shared().into_iter().map(|shared| (shared.pool, shared.uid, shared.note)).collect();
    let pairs: Vec<_> =
        said.iter().map(|(pool, _, note)| (pool.as_str(), note.split(' ').next().unwrap())).collect();
    assert_eq!(
        pairs,
        [
            ("a", "10.0.0.5"),
            ("a", "10.0.0.9"),
            ("b", "10.0.0.5"),
            ("b", "10.0.0.20"),
            ("c", "10.0.0.9"),
            ("c", "10.0.0.20")
        ]
    );
    assert!(said[0].1 == "uid-a" && said[0].2.contains("SpiderIPPool b"), "{said:?}");
}
