//! Two real network namespaces with a cable between them.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

mod pair;

use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use netlink::{Conflict, Error, Link, Netns, Patience, announce, conflict, silent_gateways};
use pair::{End, Pair};

const QUICK: Patience = Patience { tries: 3, wait: Duration::from_millis(100) };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn netns(end: &End) -> Netns {
    Netns::open(&end.path()).unwrap()
}

fn link(end: &End) -> Link {
    Link::find(end.interface).unwrap().unwrap()
}

fn conflict_at(end: &End, addresses: &[IpAddr]) -> Option<Conflict> {
    netns(end).run(|| conflict(&link(end), addresses, QUICK)).unwrap().unwrap()
}

#[test]
fn an_address_that_a_neighbour_has_is_a_conflict() {
    let pair = Pair::new();
    pair.peer.ip("address add 10.9.0.5/24 dev peer");
    pair.peer.ip("address add fd00:9::5/64 dev peer nodad");
    for address in ["10.9.0.5", "fd00:9::5"] {
        let found = conflict_at(&pair.pod, &[ip("10.9.0.6"), ip("fd00:9::6"), ip(address)]).unwrap();
        assert_eq!((found.address, found.mac.to_string()), (ip(address), pair.peer.mac()));
    }
}

#[test]
fn a_free_address_is_asked_for_three_times_and_leaves_no_trace() {
    let pair = Pair::new();
    pair.peer.ip("address add 10.9.0.5/24 dev peer");
    pair.peer.ip("address add fd00:9::5/64 dev peer nodad");
    let begin = Instant::now();
    assert_eq!(conflict_at(&pair.pod, &[ip("10.9.0.6"), ip("fd00:9::6")]), None);
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
    let neighbours = pair.peer.ip("neighbour show");
    assert!(!neighbours.contains("10.9.0.6") && !neighbours.contains("fd00:9::6"), "{neighbours}");
}

#[test]
fn a_sibling_with_our_mac_that_holds_the_address_is_a_conflict() {
    let pair = Pair::new();
    pair.peer.ip(&format!("link set peer address {}", pair.pod.mac()));
    pair.peer.ip("address add 10.9.0.5/24 dev peer");
    pair.peer.ip("address add fd00:9::5/64 dev peer nodad");
    for address in ["10.9.0.5", "fd00:9::5"] {
        assert_eq!(conflict_at(&pair.pod, &[ip(address)]).unwrap().address, ip(address));
    }
}

#[test]
fn two_that_probe_for_one_address_find_each_other() {
    for address in ["10.9.0.7", "fd00:9::7"] {
        let pair = Pair::new();
        // A solicited-node group is heard by whoever has an address in it.
        pair.peer.ip("link set peer allmulticast on");
        pair.pod.ip("link set pod allmulticast on");
        let at = |end: &End| conflict_at(end, &[ip(address)]);
        let (pod, peer) = thread::scope(|scope| {
            let peer = scope.spawn(|| at(&pair.peer));
            (at(&pair.pod), peer.join().unwrap())
        });
        assert!(pod.is_some() || peer.is_some(), "nobody heard the other ask for {address}");
    }
}

#[test]
fn our_own_probe_sent_back_is_no_conflict() {
    let pair = Pair::new();
    pair.peer.ip(&format!("link set peer address {}", pair.pod.mac()));
    pair.peer.ip("link set peer allmulticast on");
    pair.pod.ip("link set pod allmulticast on");
    let both = [ip("10.9.0.7"), ip("fd00:9::7")];
    // Whatever one end asks reaches the other with the other's own MAC.
    thread::scope(|scope| {
        let peer = scope.spawn(|| conflict_at(&pair.peer, &both));
        assert_eq!(conflict_at(&pair.pod, &both), None);
        assert_eq!(peer.join().unwrap(), None);
    });
}

#[test]
fn gateways_that_answer_are_told_from_those_that_do_not() {
    let pair = Pair::new();
    pair.peer.ip("address add 10.9.0.1/24 dev peer");
    pair.peer.ip("address add fd00:9::1/64 dev peer nodad");
    let silent = |asked: &[(&str, &str)]| {
        let asked: Vec<_> = asked.iter().map(|(from, gateway)| (ip(from), ip(gateway))).collect();
        let begin = Instant::now();
        let silent =
            netns(&pair.pod).run(|| silent_gateways(&link(&pair.pod), &asked, QUICK)).unwrap().unwrap();
        (silent, begin.elapsed())
    };
    let (none, took) = silent(&[("10.9.0.5", "10.9.0.1"), ("fd00:9::5", "fd00:9::1")]);
    assert_eq!(none, Vec::<IpAddr>::new());
    assert!(took < Duration::from_millis(300), "answers were not taken as they came: {took:?}");
    let (some, _) = silent(&[("10.9.0.5", "10.9.0.1"), ("10.9.0.5", "10.9.0.2"), ("fd00:9::5", "fd00:9::2")]);
    assert_eq!(some, [ip("10.9.0.2"), ip("fd00:9::2")]);
}

#[test]
fn an_announcement_replaces_what_neighbours_remember() {
    let pair = Pair::new();
    pair.peer.ip("address add 10.9.0.1/24 dev peer");
    pair.peer.ip("address add fd00:9::1/64 dev peer nodad");
    for address in ["10.9.0.5", "fd00:9::5"] {
        pair.peer.ip(&format!("neighbour replace {address} dev peer lladdr 02:00:00:00:00:99 nud stale"));
    }
    // The kernel believes no ARP announcement within a second (locktime) of the entry's last change.
    thread::sleep(Duration::from_millis(1100));
    netns(&pair.pod).run(|| announce(&link(&pair.pod), &[ip("10.9.0.5"), ip("fd00:9::5")])).unwrap().unwrap();
    let neighbours = || pair.peer.ip("neighbour show dev peer");
    let believed = || {
        neighbours()
            .lines()
            .filter(|line| line.contains("9.0.5") || line.contains("9::5"))
            .all(|line| line.contains(&pair.pod.mac()))
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while !believed() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(believed(), "{}", neighbours());
}

#[test]
fn a_link_is_found_set_up_and_listed() {
    let pair = Pair::new();
    pair.pod.ip("link set pod down");
    pair.pod.ip("address add 10.9.0.5/24 dev pod");
    pair.pod.ip("address add fd00:9::5/64 dev pod nodad");
    netns(&pair.pod)
        .run(|| {
            let link = link(&pair.pod);
            assert!(!link.is_up() && link.has_neighbours());
            assert_eq!(link.mac.unwrap().to_string(), pair.pod.mac());
            assert!(link.bring_up(Duration::from_secs(1)).unwrap());
            assert!(Link::find("pod").unwrap().unwrap().is_up());
            let addresses = link.addresses().unwrap();
            assert!(
                addresses.contains(&(ip("10.9.0.5"), 24)) && addresses.contains(&(ip("fd00:9::5"), 64)),
                "{addresses:?}"
            );
            assert_eq!(Link::find("nosuch").unwrap(), None);
            assert_eq!(Link::find("a-name-that-is-far-too-long-for-the-kernel").unwrap(), None);
            let loopback = Link::find("lo").unwrap().unwrap();
            assert!(loopback.addresses().unwrap().iter().all(|(address, _)| address.is_loopback()));
        })
        .unwrap();
}

#[test]
fn a_link_without_a_carrier_is_waited_for_only_so_long() {
    let pair = Pair::new();
    pair.peer.ip("link set peer down");
    let up = netns(&pair.pod).run(|| link(&pair.pod).bring_up(Duration::from_millis(50))).unwrap().unwrap();
    assert!(!up);
}

#[test]
fn a_namespace_that_is_gone_is_an_error_that_names_it() {
    let error = Netns::open(Path::new("/proc/4194305/ns/net")).unwrap_err();
    assert!(
        matches!(&error, Error::Netns { .. }) && error.to_string().contains("/proc/4194305/ns/net"),
        "{error}"
    );
    let error = Netns::open(Path::new("/proc/self/ns/mnt")).unwrap().run(|| ()).unwrap_err();
    assert!(matches!(&error, Error::Netns { .. }), "{error}");
}
