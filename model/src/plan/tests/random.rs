//! Random histories of a cloud, a cluster, pods and failing writes, with the invariants checked after every step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::{World, origin, set};
use crate::reading::Failure;
use crate::{AddressSet, Change, Family, Owner};

/// What may happen between two passes. Numbers choose NICs and addresses, modulo what there is.
#[derive(Clone, Debug)]
enum Event {
    Give(usize, u8),
    Take(usize, u8),
    Move(usize, usize, u8),
    Read,
    Fail,
    Allocate(usize, u8),
    Free(usize),
    Leave(usize),
    Return(usize),
    Restart,
    Pass(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(n, a)| Event::Give(n, a)),
        (any::<usize>(), any::<u8>()).prop_map(|(n, a)| Event::Take(n, a)),
        (any::<usize>(), any::<usize>(), any::<u8>()).prop_map(|(n, m, a)| Event::Move(n, m, a)),
        Just(Event::Read),
        Just(Event::Read),
        Just(Event::Fail),
        (any::<usize>(), any::<u8>()).prop_map(|(n, a)| Event::Allocate(n, a)),
        any::<usize>().prop_map(Event::Free),
        (0usize..4).prop_map(Event::Leave),
        (0usize..4).prop_map(Event::Return),
        Just(Event::Restart),
        any::<u8>().prop_map(Event::Pass),
        Just(Event::Pass(0)),
        Just(Event::Pass(0)),
        (any::<usize>(), any::<usize>(), any::<u8>()).prop_map(|(n, m, a)| Event::Move(n, m, a)),
    ]
}

const NODES: usize = 4;

fn nic(n: usize) -> String {
    format!("eni-{}", n % NODES)
}

fn address(a: u8) -> String {
    format!("172.31.201.{}", a % 24)
}

/// One of the addresses in a set, chosen by number; what is empty gives an address that is nowhere.
fn one_of(set: &AddressSet, number: u8) -> String {
    let all: Vec<_> = set
        .of(Family::V4)
        .ranges()
        .iter()
        .flat_map(|range| {
            (crate::address::number(range.first())..=crate::address::number(range.last())).collect::<Vec<_>>()
        })
        .collect();
    let chosen = all.get(usize::from(number) % all.len().max(1)).and_then(|n| Family::V4.address(*n));
    chosen.map_or_else(|| "172.31.207.1".to_owned(), |address| address.to_string())
}

/// The pods of the history: each holds an address, whatever the pools say later.
type Pods = BTreeMap<String, String>;

/// An address on the shelf of one NIC only, as a real VPC keeps it.
fn nowhere_else(world: &mut World, address: &str) -> bool {
    (0..NODES).all(|n| !world.nic(&nic(n)).addresses.intersects(&set(address)))
}

fn play(world: &mut World, pods: &mut Pods, event: &Event) {
    match event {
        Event::Give(n, a) => {
            if nowhere_else(world, &address(*a)) {
                world.give(&nic(*n), &address(*a));
            }
        }
        Event::Take(n, a) => {
            let address = one_of(&world.nic(&nic(*n)).addresses, *a);
            world.take(&nic(*n), &address);
        }
        Event::Move(n, m, a) => {
            let address = one_of(&world.nic(&nic(*n)).addresses, *a);
            if world.nic(&nic(*n)).addresses.intersects(&set(&address)) {
                world.take(&nic(*n), &address);
                world.give(&nic(*m), &address);
            }
        }
        Event::Read => world.read(),
        Event::Fail => world.reading().fail("broken".into(), Failure::Passing),
        Event::Allocate(n, a) => {
            let (nic, address) = (nic(*n), one_of(&world.offered(&nic(*n)), *a));
            let there = world.nodes.contains_key(&format!("n{}", n % NODES));
            let held = pods.contains_key(&address);
            if there && !held && world.offered(&nic).intersects(&set(&address)) {
                world.allocate(&nic, &address);
                pods.insert(address, nic);
            }
        }
        Event::Free(n) => {
            if let Some(address) = pods.keys().nth(n % pods.len().max(1)).cloned() {
                world.free(&address);
                pods.remove(&address);
            }
        }
        Event::Leave(n) => {
            world.nodes.remove(&format!("n{n}"));
        }
        Event::Return(n) => world.join(&format!("n{n}"), "uid-2", &format!("i-{n}")),
        Event::Restart => world.memory = crate::Memory::default(),
        Event::Pass(failing) => {
            let mut write = 0u32;
            let before = world.pools.clone();
            let failed = world.readings.values().any(|reading| reading.failure().is_some());
            let gone: Vec<_> =
                before.values().filter(|p| !world.nodes.contains_key(&origin(p).node)).collect();
            let gone: Vec<_> = gone.into_iter().map(|p| p.name.clone()).collect();
            world.pass_with(|_: &Change| {
                write += 1;
                write.is_multiple_of(8) || (failing >> (write % 8)) & 1 == 0
            });
            if failed {
                // The stale picture may confirm nothing new: what shrinks now was confirmed by complete readings.
                for (name, pool) in &before {
                    let after = world.pools.get(name).map(|p| p.ips.clone()).unwrap_or_default();
                    let lost = pool.ips.difference(&after);
                    assert!(gone.contains(name) || !lost.intersects(&pool.allocated), "{name} lost {lost}");
                }
            }
        }
    }
}

fn check(world: &World, pods: &Pods) {
    let mut seen = AddressSet::new();
    for pool in world.pools.values() {
        assert!(matches!(pool.owner, Owner::Ours(..)));
        assert!(!seen.intersects(&pool.ips), "{} is in two pools", seen.intersection(&pool.ips));
        seen = seen.union(&pool.ips);
        assert!(!pool.ips.contains("172.31.200.0".parse().unwrap()), "a primary address is in a pool");
    }
    for (address, nic) in pods {
        assert!(world.ips(nic).intersects(&set(address)), "{address} left the pool of {nic} under its pod");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_an_invariant(events in proptest::collection::vec(event(), 1..80)) {
        let mut world = World::cluster(u8::try_from(NODES).unwrap());
        let mut pods = Pods::new();
        for event in &events {
            play(&mut world, &mut pods, event);
            check(&world, &pods);
        }
    }

    #[test]
    fn after_quiet_the_pools_are_what_the_cloud_shows(events in proptest::collection::vec(event(), 1..60)) {
        let mut world = World::cluster(u8::try_from(NODES).unwrap());
        let mut pods = Pods::new();
        for event in &events {
            play(&mut world, &mut pods, event);
        }
        for address in pods.keys() {
            world.free(address);
        }
        for n in 0..NODES {
            play(&mut world, &mut Pods::new(), &Event::Return(n));
        }
        for _ in 0..8 {
            world.read();
            world.pass();
        }
        prop_assert_eq!(world.last.steps.len(), 0);
        for n in 0..NODES {
            let shown = world.nic(&nic(n)).addresses.of(Family::V4);
            prop_assert_eq!(world.offered(&nic(n)), shown);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_plan(events in proptest::collection::vec(event(), 1..30)) {
        let (mut one, mut two) = (World::cluster(4), World::cluster(4));
        for event in &events {
            play(&mut one, &mut Pods::new(), event);
            play(&mut two, &mut Pods::new(), event);
            prop_assert_eq!(&one.last, &two.last);
        }
    }
}
