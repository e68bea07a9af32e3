//! The plan's promises, one test each; `world` is the cluster and the cloud that they play on.

mod random;
mod world;

use super::*;
use crate::address::Family;
use crate::address_set::AddressSet;
use crate::nic::NicUse;
use crate::reading::Failure;
use crate::report::Truth;
use world::{World, set};

#[test]
fn every_nic_and_family_gets_one_pool() {
    let mut world = World::seed();
    world.settle();
    let pools: Vec<_> =
        world.pools.values().map(|p| (world::origin(p).node.clone(), p.ips.to_string())).collect();
    assert_eq!(
        pools,
        [
            ("master".to_owned(), "172.31.199.185-172.31.199.189".to_owned()),
            ("master".to_owned(), "fd00:16::10-fd00:16::13".to_owned()),
            ("master".to_owned(), "192.168.0.156-192.168.0.160".to_owned()),
            ("worker".to_owned(), "172.31.199.190-172.31.199.194".to_owned()),
            ("worker".to_owned(), "fd00:16::20-fd00:16::23".to_owned()),
            ("worker".to_owned(), "192.168.0.161-192.168.0.165".to_owned()),
        ]
    );
    let multus: Vec<_> = world.last.multus.keys().map(ToString::to_string).collect();
    assert_eq!(multus, ["kube-system/ipvlan-eth0", "kube-system/ipvlan-eth1"]);
    assert_eq!(world.report("master").synced.status, Truth::True);
    assert_eq!(world.report("master").sufficient.message, "eth0: 5 IPv4, 4 IPv6; eth1: 5 IPv4, 0 IPv6");
}

#[test]
fn a_plan_applied_leaves_nothing_to_do() {
    let mut world = World::seed();
    world.settle();
    world.read();
    assert_eq!(world.pass(), 0);
}

#[test]
fn the_nodes_own_addresses_never_enter_a_pool() {
    let mut world = World::seed();
    world.nic("eni-m0").addresses = set("172.31.199.183,172.31.199.185,fd00:16::1,fd00:16::10");
    world.settle();
    assert_eq!(world.offered("eni-m0"), set("172.31.199.185,fd00:16::10"));
}

#[test]
fn an_added_address_enters_at_the_next_reading() {
    let mut world = World::seed();
    world.settle();
    world.nic("eni-w0").addresses = world.nic("eni-w0").addresses.union(&set("172.31.199.200"));
    world.read();
    assert_eq!(world.pass(), 1);
    assert!(world.offered("eni-w0").contains("172.31.199.200".parse().unwrap()));
}

#[test]
fn an_absent_address_is_denied_at_once_and_removed_after_a_second_reading() {
    let mut world = World::seed();
    world.settle();
    world.take("eni-w0", "172.31.199.190");
    world.read();
    world.pass();
    assert!(world.ips("eni-w0").contains("172.31.199.190".parse().unwrap()));
    assert!(!world.offered("eni-w0").contains("172.31.199.190".parse().unwrap()));
    assert_eq!(world.report("worker").synced.status, Truth::False);
    world.read();
    world.pass();
    assert!(!world.ips("eni-w0").contains("172.31.199.190".parse().unwrap()));
    assert_eq!(world.report("worker").synced.status, Truth::True);
}

#[test]
fn an_address_that_comes_back_is_offered_again() {
    let mut world = World::seed();
    world.settle();
    world.take("eni-w0", "172.31.199.190");
    world.read();
    world.pass();
    world.give("eni-w0", "172.31.199.190");
    world.read();
    assert_eq!(world.pass(), 1);
    assert_eq!(world.offered("eni-w0").of(Family::V4), set("172.31.199.190-172.31.199.194"));
}

#[test]
fn an_address_that_a_pod_holds_is_never_removed() {
    let mut world = World::seed();
    world.settle();
    world.allocate("eni-w0", "172.31.199.190");
    world.take("eni-w0", "172.31.199.190");
    for _ in 0..5 {
        world.read();
        world.pass();
    }
    let held = "172.31.199.190".parse().unwrap();
    assert!(world.ips("eni-w0").contains(held));
    assert!(!world.offered("eni-w0").contains(held), "it is nobody's when its pod is gone");
    assert!(world.excluded("eni-w0").is_empty(), "upstream's webhook refuses to exclude what a pod holds");
    assert!(world.report("worker").synced.message.contains("while pods hold them"));
    world.free("172.31.199.190");
    world.pass();
    assert!(!world.ips("eni-w0").contains("172.31.199.190".parse().unwrap()));
}

#[test]
fn a_denied_address_that_its_pod_gives_back_is_excluded_until_it_leaves() {
    let mut world = World::seed();
    world.settle();
    world.allocate("eni-w0", "172.31.199.190");
    world.take("eni-w0", "172.31.199.190");
    world.read();
    world.pass();
    world.free("172.31.199.190");
    assert_eq!(world.pass(), 1);
    assert_eq!(world.excluded("eni-w0"), set("172.31.199.190"));
    world.give("eni-w0", "172.31.199.190");
    world.settle();
    assert!(world.offered("eni-w0").contains("172.31.199.190".parse().unwrap()));
}

#[test]
fn what_people_exclude_stays_excluded_when_it_leaves_and_comes_back() {
    let mut world = World::seed();
    world.settle();
    world.exclude("eni-w0", "172.31.199.194");
    world.take("eni-w0", "172.31.199.194");
    world.read();
    world.pass();
    world.give("eni-w0", "172.31.199.194");
    world.settle();
    assert_eq!(world.excluded("eni-w0"), set("172.31.199.194"));
}

#[test]
fn a_failed_reading_shrinks_nothing() {
    let mut world = World::seed();
    world.settle();
    let before = world.pools.clone();
    for kind in [Failure::Passing, Failure::Lasting] {
        for _ in 0..8 {
            world.reading().fail("wrong key".into(), kind);
            world.wait();
            assert_eq!(world.pass(), 0);
        }
    }
    assert_eq!(world.pools, before);
    assert_eq!(world.report("worker").discovered.status, Truth::Unknown);
}

#[test]
fn a_provider_that_was_never_read_touches_nothing() {
    let mut world = World::seed();
    world.settle();
    *world.reading() = Reading::default();
    world.reading().fail("throttled".into(), Failure::Passing);
    assert_eq!(world.pass(), 0);
    assert_eq!(world.report("worker").discovered.reason, "ReadFailed");
    assert_eq!(world.report("worker").sufficient.status, Truth::Unknown);
}

#[test]
fn a_moved_address_leaves_its_old_pool_before_it_enters_the_new_one() {
    let mut world = World::seed();
    world.settle();
    world.take("eni-m0", "172.31.199.189");
    world.give("eni-w0", "172.31.199.189");
    world.read();
    world.pass();
    assert!(!world.ips("eni-w0").contains("172.31.199.189".parse().unwrap()), "still in its old pool");
    world.read();
    world.pass();
    assert!(world.ips("eni-w0").contains("172.31.199.189".parse().unwrap()));
    assert!(!world.ips("eni-m0").contains("172.31.199.189".parse().unwrap()));
    let order: Vec<_> =
        world.last.steps.iter().map(|step| (step.change.pool().to_owned(), step.needs.len())).collect();
    assert_eq!(order.len(), 2);
    assert_eq!((order[0].1, order[1].1), (0, 1), "the shrink comes first, the growth needs it");
}

#[test]
fn a_moved_address_that_a_pod_holds_waits_for_the_pod() {
    let mut world = World::seed();
    world.settle();
    world.allocate("eni-m0", "172.31.199.189");
    world.take("eni-m0", "172.31.199.189");
    world.give("eni-w0", "172.31.199.189");
    for _ in 0..4 {
        world.read();
        world.pass();
    }
    assert!(!world.ips("eni-w0").contains("172.31.199.189".parse().unwrap()));
    assert!(world.report("worker").synced.message.contains("wait until they have left pool"));
    world.free("172.31.199.189");
    world.settle();
    assert!(world.ips("eni-w0").contains("172.31.199.189".parse().unwrap()));
}

#[test]
fn two_nics_can_swap_addresses() {
    let mut world = World::seed();
    world.settle();
    let (a, b) = (world.nic("eni-m0").addresses.clone(), world.nic("eni-w0").addresses.clone());
    world.nic("eni-m0").addresses = b.clone();
    world.nic("eni-w0").addresses = a.clone();
    for _ in 0..3 {
        world.read();
        world.pass();
    }
    assert_eq!((world.ips("eni-m0"), world.ips("eni-w0")), (b, a));
}

#[test]
fn an_address_on_two_nics_stays_where_it_was_and_enters_nowhere() {
    let mut world = World::seed();
    world.settle();
    world.give("eni-w0", "172.31.199.189");
    world.give("eni-w0", "172.31.199.210");
    world.give("eni-m0", "172.31.199.210");
    world.read();
    world.pass();
    assert!(world.ips("eni-m0").contains("172.31.199.189".parse().unwrap()));
    assert!(!world.ips("eni-w0").contains("172.31.199.189".parse().unwrap()));
    assert!(!world.ips("eni-w0").contains("172.31.199.210".parse().unwrap()));
    assert!(world.report("worker").synced.message.contains("on two NICs"));
}

#[test]
fn what_lies_outside_the_subnet_or_is_the_gateway_is_left_out() {
    let mut world = World::seed();
    world.give("eni-w1", "10.9.9.9");
    world.give("eni-w1", "192.168.0.253");
    world.settle();
    assert_eq!(world.offered("eni-w1"), set("192.168.0.161-192.168.0.165"));
    let message = &world.report("worker").synced.message;
    assert!(message.contains("10.9.9.9 left out, outside its subnet"), "{message}");
    assert!(message.contains("it is the gateway"), "{message}");
}

#[test]
fn a_delegated_prefix_is_one_range() {
    let mut world = World::seed();
    world.give("eni-w0", "fd00:16:0:0:1::/80");
    world.give("eni-w0", "172.31.200.0/28");
    world.settle();
    let text = world.ips("eni-w0").to_string();
    assert!(text.contains("fd00:16:0:0:1::-fd00:16::1:ffff:ffff:ffff"), "{text}");
    assert!(text.contains("172.31.200.0-172.31.200.15"), "{text}");
}

#[test]
fn a_nic_without_addresses_is_said_and_gets_no_pool() {
    let mut world = World::seed();
    world.nic("eni-w1").addresses = AddressSet::new();
    world.settle();
    assert_eq!(world.pools.len(), 5);
    assert_eq!(world.report("worker").sufficient.reason, "NoAddresses");
}

#[test]
fn an_unmanaged_nic_is_left_alone_and_its_pools_drain() {
    let mut world = World::seed();
    world.settle();
    world.nic("eni-w1").use_ = NicUse::LeftAlone("tag".into());
    world.read();
    world.pass();
    assert!(world.offered("eni-w1").is_empty());
    world.read();
    world.pass();
    assert!(world.ips("eni-w1").is_empty());
    assert_eq!(world.pools.len(), 5);
}

#[test]
fn a_nic_that_is_in_between_changes_nothing() {
    let mut world = World::seed();
    world.settle();
    let before = world.pools.clone();
    world.nic("eni-w1").use_ = NicUse::Unclear("status Detaching".into());
    for _ in 0..3 {
        world.read();
        assert_eq!(world.pass(), 0);
    }
    assert_eq!(world.pools, before);
    assert!(world.report("worker").synced.message.contains("status Detaching"));
}

#[test]
fn a_detached_nic_loses_its_pools_after_two_readings() {
    let mut world = World::seed();
    world.settle();
    world.detach("eni-w1");
    world.read();
    world.pass();
    assert_eq!(world.pools.len(), 6);
    world.read();
    world.pass();
    assert_eq!(world.pools.len(), 5);
}

#[test]
fn a_node_that_left_takes_its_pools_along_once_seen_gone() {
    let mut world = World::seed();
    world.settle();
    world.nodes.remove("worker");
    assert_eq!(world.pass(), 3);
    let gone = world
        .last
        .steps
        .iter()
        .all(|s| matches!(&s.change, Change::Delete { gone: Some(n), .. } if n == "worker"));
    assert!(gone);
}

#[test]
fn a_pool_of_a_node_that_left_waits_for_its_pods() {
    let mut world = World::seed();
    world.settle();
    world.allocate("eni-w1", "192.168.0.161");
    world.nodes.remove("worker");
    assert_eq!(world.pass(), 2);
    assert_eq!(world.ips("eni-w1"), set("192.168.0.161-192.168.0.165"));
    assert!(world.last.notes.iter().any(|note| note.contains("pods still hold")));
}

#[test]
fn a_node_that_came_back_on_another_instance_gets_new_pools() {
    let mut world = World::seed();
    world.settle();
    world.join("worker", "uid-2", "i-new");
    world.attach("i-new", "eni-n0", 0, "172.31.199.220", "172.31.199.221-172.31.199.222");
    world.read();
    world.pass();
    assert_eq!(world.offered("eni-n0"), set("172.31.199.221-172.31.199.222"));
    assert!(world.offered("eni-w0").is_empty(), "the old instance's addresses are not for the new node");
    world.read();
    world.pass();
    assert!(world.ips("eni-w0").is_empty());
}

#[test]
fn a_node_re_created_on_its_instance_keeps_its_pools() {
    let mut world = World::seed();
    world.settle();
    let before = world.ips("eni-w0");
    world.join("worker", "uid-2", "i-worker");
    world.settle();
    assert_eq!(world.ips("eni-w0"), before);
    assert!(world.pools.values().any(|p| world::origin(p).node_uid == "uid-2"));
}

#[test]
fn two_nodes_with_one_instance_are_both_told_and_the_holder_keeps_its_pools() {
    let mut world = World::seed();
    world.settle();
    let before = world.pools.clone();
    world.join("impostor", "uid-9", "i-worker");
    world.read();
    assert_eq!(world.pass(), 0);
    assert_eq!(world.pools, before);
    assert_eq!(world.report("impostor").discovered.reason, "InstanceContested");
    assert_eq!(world.report("worker").discovered.status, Truth::True);
}

#[test]
fn two_new_nodes_with_one_instance_get_no_pool() {
    let mut world = World::seed();
    world.join("impostor", "uid-9", "i-worker");
    world.settle();
    assert_eq!(world.pools.len(), 3);
    for node in ["worker", "impostor"] {
        assert_eq!(world.report(node).discovered.reason, "InstanceContested");
    }
}

#[test]
fn a_hand_written_pool_with_our_name_is_not_touched() {
    let mut world = World::seed();
    world.settle();
    let name = world.pools.keys().next().unwrap().clone();
    world.pools.get_mut(&name).unwrap().owner = crate::pool::Owner::Foreign;
    let before = world.pools.clone();
    world.read();
    assert_eq!(world.pass(), 0);
    assert_eq!(world.pools, before);
    assert!(world.report("master").synced.message.contains("is not ours"));
}

#[test]
fn addresses_of_a_hand_written_pool_are_left_to_it() {
    let mut world = World::seed();
    world.foreign("mine", "172.31.199.190-172.31.199.191");
    world.settle();
    assert_eq!(world.offered("eni-w0").of(Family::V4), set("172.31.199.192-172.31.199.194"));
    assert!(world.report("worker").synced.message.contains("pool mine names them and is not ours"));
}

#[test]
fn pools_of_a_provider_that_is_not_configured_are_left_alone() {
    let mut world = World::seed();
    world.settle();
    let before = world.pools.clone();
    world.policy.providers.clear();
    assert_eq!(world.pass(), 0);
    assert_eq!(world.pools, before);
    assert!(world.last.notes[0].contains("not in this configuration"));
}

#[test]
fn what_people_exclude_stays_excluded() {
    let mut world = World::seed();
    world.settle();
    world.exclude("eni-w0", "172.31.199.194");
    world.take("eni-w0", "172.31.199.190");
    world.read();
    world.pass();
    assert!(!world.offered("eni-w0").contains("172.31.199.194".parse().unwrap()));
    world.give("eni-w0", "172.31.199.190");
    world.settle();
    assert_eq!(world.offered("eni-w0").of(Family::V4), set("172.31.199.190-172.31.199.193"));
}

#[test]
fn a_listing_that_lost_everything_waits_at_every_stage() {
    let mut world = World::cluster(8);
    world.settle();
    let before = world.pools.clone();
    world.empty_cloud();
    world.read();
    assert_eq!(world.pass(), 0, "a mass denial waits for a second confirmation");
    assert_eq!(world.pools, before);
    assert!(world.last.notes.iter().any(|note| note.contains("second confirmation")));
    world.read();
    world.pass();
    assert_eq!(world.pools.len(), 8, "a mass removal waits once more");
    world.read();
    world.pass();
    assert!(world.pools.is_empty());
}

#[test]
fn a_mass_loss_is_confirmed_by_a_second_reading_and_not_by_time() {
    let mut world = World::cluster(8);
    world.settle();
    let before = world.pools.clone();
    world.empty_cloud();
    world.read();
    world.pass();
    for _ in 0..5 {
        world.wait();
        world.reading().fail("broken".into(), Failure::Passing);
        assert_eq!(world.pass(), 0, "the same reading cannot confirm itself");
    }
    assert_eq!(world.pools, before);
}

#[test]
fn a_mass_loss_does_not_confirm_another_one() {
    let mut world = World::cluster(16);
    world.settle();
    let cloud = world.cloud.clone();
    world.cloud.instances.retain(|id, _| id.as_str().len() == 3);
    world.read();
    assert_eq!(world.pass(), 0);
    let small = world.cloud.clone();
    world.cloud = cloud;
    world.cloud.instances.retain(|id, _| !small.instances.contains_key(id));
    world.read();
    assert_eq!(world.pass(), 0, "other addresses are missing now");
}

#[test]
fn a_pool_that_a_person_writes_later_takes_its_addresses_out_of_the_offer() {
    let mut world = World::seed();
    world.settle();
    world.foreign("late", "172.31.199.190-172.31.199.191");
    world.pass();
    assert_eq!(world.offered("eni-w0").of(Family::V4), set("172.31.199.192-172.31.199.194"));
    assert!(
        world.report("worker").synced.message.contains("pool late"),
        "{}",
        world.report("worker").synced.message
    );
    world.read();
    assert_eq!(world.pass(), 0);
    world.pools.remove("late");
    world.settle();
    assert_eq!(world.offered("eni-w0").of(Family::V4), set("172.31.199.190-172.31.199.194"));
}

#[test]
fn a_block_that_changes_needs_two_readings_as_any_absence_does() {
    let mut world = World::seed();
    world.settle();
    world.cloud.subnets.get_mut(&"vsw-1".into()).unwrap().v4 = Some("192.168.0.0/25".parse().unwrap());
    world.read();
    world.pass();
    assert!(world.pools.values().any(|p| p.ips == set("192.168.0.161-192.168.0.165")), "not yet confirmed");
}

#[test]
fn an_api_server_that_forgets_its_nodes_for_a_moment_removes_nothing() {
    let mut world = World::cluster(8);
    world.settle();
    let nodes = std::mem::take(&mut world.nodes);
    assert_eq!(world.pass(), 0);
    world.nodes = nodes;
    world.wait();
    assert_eq!(world.pass(), 0);
    assert_eq!(world.pools.len(), 8);
}

#[test]
fn nics_without_an_index_keep_their_names() {
    let mut world = World::seed();
    world.attach("i-worker", "eni-w2", 0, "192.168.0.20", "192.168.0.21");
    for nic in ["eni-w1", "eni-w2"] {
        world.nic(nic).index = None;
    }
    world.settle();
    assert_eq!(world.interface("eni-w2"), "eth2");
    world.detach("eni-w1");
    world.settle();
    assert_eq!(world.interface("eni-w2"), "eth2");
}

#[test]
fn a_renamed_interface_moves_its_addresses_to_the_new_pool() {
    let mut world = World::seed();
    world.settle();
    world.nic("eni-w1").interface = Some("ens6".into());
    world.settle();
    assert_eq!(world.ips("eni-w1"), set("192.168.0.161-192.168.0.165"));
    assert_eq!(world.interface("eni-w1"), "ens6");
}

#[test]
fn a_node_without_a_provider_id_is_told_so() {
    let mut world = World::seed();
    let (mut node, _) = world.nodes["worker"].clone();
    node.provider_id = None;
    node.name = "bare".into();
    world.nodes.insert("bare".into(), (node, Match::None("spec.providerID is empty".into())));
    world.settle();
    assert_eq!(world.report("bare").discovered.reason, "NoProviderID");
}
