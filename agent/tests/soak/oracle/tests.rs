use serde_json::json;

use super::*;

fn oracle() -> Oracle {
    let mut oracle = Oracle::default();
    for (name, first, last) in [("a", "10.0.0.1", "10.0.0.9"), ("b", "10.0.1.1", "10.0.1.9")] {
        oracle.pool(name, first.parse().unwrap(), last.parse().unwrap());
    }
    oracle.pool("six", "fd00::1".parse().unwrap(), "fd00::9".parse().unwrap());
    oracle
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn from(pools: &[&str]) -> Vec<Vec<String>> {
    pools.iter().map(|choice| choice.split(',').map(str::to_owned).collect()).collect()
}

/// A pool as the API shows it.
fn pool(name: &str, held: &[(&str, &str)]) -> Value {
    let records: BTreeMap<_, _> =
        held.iter().map(|(address, uid)| (*address, json!({"pod": "ns/p", "podUid": uid}))).collect();
    let status = json!({"allocatedIPs": json!(records).to_string(), "allocatedIPCount": held.len()});
    json!({"metadata": {"name": name}, "status": status})
}

#[track_caller]
fn finds(oracle: &Oracle, part: &str) {
    assert!(oracle.wrongs().iter().any(|wrong| wrong.contains(part)), "{part}: {:?}", oracle.wrongs());
    assert_eq!(oracle.wrongs().len(), 1, "{:?}", oracle.wrongs());
}

#[test]
fn a_life_without_fault_is_not_blamed() {
    let mut oracle = oracle();
    for uid in ["one", "two"] {
        oracle.answered(uid, &from(&["a,b", "six"]), &set(&["10.0.1.1", "fd00::1"]));
        oracle.answered(uid, &from(&["a,b", "six"]), &set(&["10.0.1.1", "fd00::1"]));
        let before = oracle.moment();
        oracle.listed(
            &before,
            &[pool("a", &[]), pool("b", &[("10.0.1.1", uid)]), pool("six", &[("fd00::1", uid)])],
        );
        oracle.gives_up(uid);
        oracle.gives_up(uid);
    }
    oracle.at_the_end(&[pool("a", &[]), json!({"metadata": {"name": "new"}})], &[]);
    assert_eq!(oracle.wrongs(), [""; 0]);
    assert_eq!(oracle.extent(), (2, 2, 2));
}

#[test]
fn an_address_that_two_pods_were_answered_is_found() {
    let mut oracle = oracle();
    oracle.answered("one", &from(&["a"]), &set(&["10.0.0.1"]));
    oracle.answered("two", &from(&["a"]), &set(&["10.0.0.1"]));
    finds(&oracle, "10.0.0.1 was answered to two while one has it");
}

#[test]
fn a_double_in_one_of_two_families_is_found() {
    let mut oracle = oracle();
    oracle.answered("one", &from(&["a", "six"]), &set(&["10.0.0.1", "fd00::1"]));
    oracle.answered("two", &from(&["a", "six"]), &set(&["10.0.0.2", "fd00::1"]));
    finds(&oracle, "fd00::1 was answered to two while one has it");
}

#[test]
fn who_gives_up_what_another_was_answered_too_does_not_hide_a_third() {
    let mut oracle = oracle();
    for uid in ["one", "two"] {
        oracle.answered(uid, &from(&["a"]), &set(&["10.0.0.1"]));
    }
    oracle.gives_up("one");
    oracle.answered("three", &from(&["a"]), &set(&["10.0.0.1"]));
    assert_eq!(oracle.wrongs().len(), 2, "{:?}", oracle.wrongs());
}

#[test]
fn another_address_for_a_pod_that_asks_again_is_found() {
    let mut oracle = oracle();
    oracle.answered("one", &from(&["a"]), &set(&["10.0.0.1"]));
    oracle.answered("one", &from(&["a"]), &set(&["10.0.0.2"]));
    finds(&oracle, "when it asked again");
}

#[test]
fn an_address_of_no_pool_that_was_asked_for_is_found() {
    for (wish, addresses) in [
        (vec!["a"], vec!["10.0.1.1"]),
        (vec!["a"], vec!["10.0.0.10"]),
        (vec!["a", "six"], vec!["10.0.0.1"]),
        (vec!["a"], vec!["10.0.0.1", "fd00::1"]),
        (vec!["a", "six"], vec!["10.0.0.1", "10.0.0.2"]),
        (vec!["a"], vec![]),
    ] {
        let mut oracle = oracle();
        oracle.answered("one", &from(&wish), &set(&addresses));
        finds(&oracle, "one asked for");
    }
}

#[test]
fn an_answer_that_is_not_on_record_is_found() {
    for there in [vec![], vec![("10.0.0.1", "two")], vec![("10.0.0.2", "one")]] {
        let mut oracle = oracle();
        oracle.answered("one", &from(&["a"]), &set(&["10.0.0.1"]));
        let before = oracle.moment();
        oracle.listed(&before, &[pool("a", &there)]);
        finds(&oracle, "one was answered {10.0.0.1}, and on record it has");
    }
}

#[test]
fn a_second_record_of_a_pod_is_found() {
    let mut oracle = oracle();
    oracle.answered("one", &from(&["a,b"]), &set(&["10.0.0.1"]));
    let before = oracle.moment();
    oracle.listed(&before, &[pool("a", &[("10.0.0.1", "one")]), pool("b", &[("10.0.1.1", "one")])]);
    finds(&oracle, "on record it has {10.0.0.1, 10.0.1.1}");
}

#[test]
fn what_began_or_ended_while_the_pools_were_read_is_not_judged() {
    let mut oracle = oracle();
    oracle.answered("ends", &from(&["a"]), &set(&["10.0.0.1"]));
    oracle.answered("again", &from(&["a"]), &set(&["10.0.0.3"]));
    let before = oracle.moment();
    oracle.gives_up("ends");
    oracle.gives_up("again");
    oracle.answered("again", &from(&["a"]), &set(&["10.0.0.4"]));
    oracle.answered("begins", &from(&["a"]), &set(&["10.0.0.2"]));
    oracle.listed(&before, &[pool("a", &[])]);
    assert_eq!(oracle.wrongs(), [""; 0]);
}

#[test]
fn pools_that_contradict_themselves_or_each_other_are_found() {
    let miscounted = {
        let mut pool = pool("a", &[("10.0.0.1", "one")]);
        pool["status"]["allocatedIPCount"] = json!(2);
        pool
    };
    let torn = json!({"metadata": {"name": "a"}, "status": {"allocatedIPs": "{", "allocatedIPCount": 0}});
    for (pools, part) in [
        (vec![miscounted], "a says 2 addresses are held, and lists 1"),
        (vec![torn], "a: allocatedIPs"),
        (vec![pool("a", &[("10.0.1.1", "one")])], "10.0.1.1 is on record in a, which does not offer it"),
        (vec![pool("a", &[("10.0.0.1", "x")]), pool("a", &[("10.0.0.1", "x")])], "on record in a and in a"),
    ] {
        let mut oracle = oracle();
        let before = oracle.moment();
        oracle.listed(&before, &pools);
        finds(&oracle, part);
    }
}

#[test]
fn what_is_left_at_the_end_is_found() {
    let mut leaked = oracle();
    leaked.answered("one", &from(&["a"]), &set(&["10.0.0.1"]));
    leaked.gives_up("one");
    leaked.at_the_end(&[pool("a", &[("10.0.0.1", "one")])], &[]);
    finds(&leaked, "leaked: 10.0.0.1 of a is still one's");
    let mut endpoint = oracle();
    endpoint.at_the_end(&[], &["web".to_owned()]);
    finds(&endpoint, "leaked: the SpiderEndpoint web");
    let mut open = oracle();
    open.answered("one", &from(&["a"]), &set(&["10.0.0.1"]));
    open.at_the_end(&[], &[]);
    finds(&open, "1 pods got addresses and 0 gave them up");
}
