//! VLANs, and NICs that are only set up.

use std::fs;

use serde_json::json;

use crate::call::Runtime;
use crate::space::Space;
use crate::world::{Kind, World};

fn vlan(id: u64) -> Runtime {
    Runtime::new(json!({ "interfaces": ["eth1"], "vlanID": id }))
}

/// N00001.
#[test]
fn a_vlan_interface_is_created_up_and_carries_packets() {
    let world = World::new();
    let runtime = vlan(5);
    if !world.can(&runtime, &[Kind::Vlan]) {
        return;
    }
    assert_eq!(runtime.must(&world.node, "ADD"), json!({ "cniVersion": "1.1.0", "ips": [] }));
    world.shows("eth1.5", &["eth1.5@eth1", "vlan protocol 802.1Q id 5", ",UP", "02:00:00:00:00:01"]);
    assert_eq!(runtime.records(), ["eth1.5.json"]);
    runtime.must(&world.node, "CHECK");
    world.node.ip("address add 10.8.5.2/24 dev eth1.5");
    world.outside.ip("link add link port1 name port1.5 type vlan id 5");
    world.outside.ip("link set port1.5 up");
    world.outside.ip("address add 10.8.5.1/24 dev port1.5");
    world.outside.serve("10.8.5.1:80");
    assert_eq!(world.node.call("10.8.5.1:80"), Some([10, 8, 5, 2].into()));
    // What a pod's end may not take from the others.
    runtime.must(&world.node, "DEL");
    world.shows("eth1.5", &[",UP"]);
    assert!(world.node.call("10.8.5.1:80").is_some());
}

/// N00002.
#[test]
fn a_vlan_interface_that_is_there_is_left_as_it_is() {
    let world = World::new();
    let runtime = vlan(5);
    if !world.can(&runtime, &[Kind::Vlan]) {
        return;
    }
    // Made by somebody else, with settings of their own.
    world.node.ip("link add link eth1 name eth1.5 type vlan id 5 reorder_hdr off");
    world.node.ip("link set eth1.5 mtu 1400 up");
    let before = world.node.all();
    for _ in 0..2 {
        runtime.must(&world.node, "ADD");
        runtime.must(&world.node, "CHECK");
        assert_eq!(world.node.all(), before);
    }
    assert_eq!(runtime.records(), ["eth1.5.json"]);
}

/// N00003.
#[test]
fn a_vlan_interface_that_is_down_is_set_up() {
    let world = World::new();
    let runtime = vlan(5);
    if !world.can(&runtime, &[Kind::Vlan]) {
        return;
    }
    world.node.ip("link add link eth1 name eth1.5 type vlan id 5");
    let (code, message) = runtime.fails(&world.node, "CHECK");
    assert!(code == 103 && message.contains("set eth1.5 up"), "{message}");
    runtime.must(&world.node, "ADD");
    world.shows("eth1.5", &[",UP"]);
    runtime.must(&world.node, "CHECK");
}

/// N00004.
#[test]
fn a_vlan_that_its_master_has_under_another_name_is_refused_and_both_are_named() {
    let world = World::new();
    let runtime = vlan(5);
    if !world.can(&runtime, &[Kind::Vlan]) {
        return;
    }
    world.node.ip("link add link eth1 name lan type vlan id 5");
    world.refused(&runtime, 113, &["VLAN 5 of eth1", "lan", "eth1.5"]);
    world.node.ip("link del lan");
    // The name is taken by another VLAN of the master, by the same of another master, and by something else.
    for other in [
        "link add link eth1 name eth1.5 type vlan id 7",
        "link add link eth2 name eth1.5 type vlan id 5",
        "link add link eth1 name eth1.5 type vlan proto 802.1ad id 5",
        "link add eth1.5 type veth peer name peer",
    ] {
        world.node.ip(other);
        world.refused(&runtime, 113, &["eth1.5 is there already as", "VLAN 5 of eth1 is asked for"]);
        world.node.ip("link del eth1.5");
    }
    // The same number on another master is another VLAN; upstream refuses it.
    world.node.ip("link add link eth2 name eth2.5 type vlan id 5");
    runtime.must(&world.node, "ADD");
}

/// N00005.
#[test]
fn a_master_that_is_down_is_set_up_and_gets_its_vlan() {
    let world = World::new();
    world.node.ip("link set eth1 down");
    let runtime = vlan(5);
    // Without VLANs in the kernel this shows that a master that was set up for nothing is set down again.
    if !world.can(&runtime, &[Kind::Vlan]) {
        return;
    }
    runtime.must(&world.node, "ADD");
    world.shows("eth1", &[",UP"]);
    world.shows("eth1.5", &[",UP"]);
}

#[test]
fn a_master_without_vlan_is_only_set_up() {
    let world = World::new();
    let before = world.node.all();
    let mut runtime = Runtime::new(json!({ "interfaces": ["eth1"], "vlanID": 0, "bond": null }));
    runtime.must(&world.node, "ADD");
    assert_eq!(world.node.all(), before);
    let listens =
        || world.node.inside(|| fs::read_to_string("/proc/sys/net/ipv6/conf/eth1/accept_ra").unwrap());
    assert_eq!(listens(), "1\n", "what was up is left as it is");
    world.node.ip("link set eth1 down");
    let (code, message) = runtime.fails(&world.node, "CHECK");
    assert!(code == 103 && message.contains("set eth1 up"), "{message}");
    runtime.must(&world.node, "STATUS");
    runtime.must(&world.node, "ADD");
    assert_eq!(world.node.all(), before);
    assert_eq!(listens(), "0\n", "a router there would give the node another default route");
    runtime.must(&world.node, "CHECK");
    // One interface needs no bond, whatever is said of one.
    runtime.network["bond"] = json!({ "name": "bond0", "mode": 9 });
    runtime.must(&world.node, "ADD");
    assert_eq!(world.node.all(), before);
    assert_eq!(runtime.records(), ["eth1.json"]);
    assert!(runtime.log().contains("set eth1 up"), "{}", runtime.log());
}

/// What the controller writes for a cloud's second NIC, which the image left as the cloud plugged it in.
#[test]
fn a_pod_on_a_nic_that_was_down_is_heard_and_has_the_mtu_that_was_asked_for() {
    let world = World::new();
    world.node.ip("link set eth1 down");
    world.outside.ip("link set port1 mtu 8500");
    world.outside.ip("address add 10.8.1.1/24 dev port1");
    let pod = Space::new();
    let lay = |mtu: u32| {
        format!("link add link eth1 name net1 mtu {mtu} netns {} type macvlan mode bridge", pod.pid())
    };
    assert!(world.node.try_ip(&lay(8500)).is_err(), "the kernel gives no more than the NIC has");
    let runtime = Runtime::new(json!({ "interfaces": ["eth1"], "mtu": 8500 }));
    runtime.must(&world.node, "ADD");
    world.node.ip(&lay(8500));
    pod.ip("address add 10.8.1.5/24 dev net1");
    pod.ip("link set net1 up");
    world.outside.serve("10.8.1.1:80");
    assert_eq!(pod.call("10.8.1.1:80"), Some([10, 8, 1, 5].into()));
    runtime.must(&world.node, "CHECK");
}

#[test]
fn an_mtu_is_raised_and_never_lowered() {
    let world = World::new();
    let mut runtime = Runtime::new(json!({ "interfaces": ["eth1"], "mtu": 9000 }));
    runtime.must(&world.node, "ADD");
    world.shows("eth1", &["mtu 9000"]);
    runtime.network["mtu"] = json!(1400);
    runtime.must(&world.node, "ADD");
    world.shows("eth1", &["mtu 9000"]);
    runtime.must(&world.node, "CHECK");
    // What the NIC cannot is the kernel's word.
    runtime.network["mtu"] = json!(65_535);
    runtime.must(&world.node, "ADD");
    world.shows("eth1", &["mtu 65535"]);
}

#[test]
fn a_vlan_gets_the_mtu_that_is_asked_for_and_its_master_no_less() {
    let world = World::new();
    let mut runtime = vlan(5);
    runtime.network["mtu"] = json!(9000);
    // Without VLANs in the kernel this shows that an MTU that was raised for nothing is lowered again.
    if !world.can(&runtime, &[Kind::Vlan]) {
        return;
    }
    runtime.must(&world.node, "ADD");
    world.shows("eth1", &["mtu 9000"]);
    world.shows("eth1.5", &["mtu 9000"]);
    let mut other = vlan(6);
    other.network["mtu"] = json!(1400);
    other.must(&world.node, "ADD");
    world.shows("eth1", &["mtu 9000"]);
    world.shows("eth1.6", &["mtu 1400"]);
    other.network["mtu"] = json!(0);
    other.must(&world.node, "ADD");
    world.shows("eth1.6", &["mtu 1400"]);
    other.must(&world.node, "CHECK");
}

#[test]
fn many_pods_at_once_get_the_same_vlan_and_each_its_own() {
    let world = World::new();
    let runtime = vlan(5);
    if !world.can(&runtime, &[Kind::Vlan]) {
        return;
    }
    let mut others: Vec<_> = (6..10).map(vlan).collect();
    for other in &mut others {
        other.network["lockFile"] = json!(runtime.places().lock);
        other.network["stateDir"] = json!(runtime.places().records);
    }
    let mut children: Vec<_> = (0..8).map(|_| runtime.begin(&world.node, "ADD")).collect();
    children.extend(others.iter().map(|other| other.begin(&world.node, "ADD")));
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    for id in 5..10 {
        world.shows(&format!("eth1.{id}"), &[&format!("id {id} "), ",UP"]);
    }
    assert_eq!(runtime.records().len(), 5);
    // One of them made it; the log says so once.
    assert_eq!(runtime.log().matches("create eth1.5").count(), 1, "{}", runtime.log());
}

#[test]
fn what_an_earlier_plugin_made_is_handed_on() {
    let world = World::new();
    let mut runtime = Runtime::new(json!({ "interfaces": ["eth1"] }));
    runtime.network["prevResult"] = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{ "name": "eth0", "mac": "02:00:00:00:00:99", "sandbox": "/x", "x-kept": true }],
        "ips": [{ "address": "10.9.0.5/24", "interface": 0 }],
    });
    assert_eq!(runtime.must(&world.node, "ADD"), runtime.network["prevResult"]);
}
