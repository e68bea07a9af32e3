//! Bonds, and VLANs on them.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::call::Runtime;
use crate::world::{Kind, World};

fn bond(mode: u64, options: &str) -> Runtime {
    let bond = json!({ "name": "bond0", "mode": mode, "options": options });
    Runtime::new(json!({ "interfaces": ["eth1", "eth2"], "bond": bond }))
}

#[test]
fn a_bond_is_created_with_its_parts_and_survives_the_death_of_one() {
    let world = World::new();
    let runtime = bond(1, "");
    if !world.can(&runtime, &[Kind::Bond]) {
        return;
    }
    runtime.must(&world.node, "ADD");
    world.shows("bond0", &["bond mode active-backup", "miimon 100", ",UP", "02:00:00:00:00:01"]);
    for part in ["eth1", "eth2"] {
        world.shows(part, &["master bond0", ",UP", "02:00:00:00:00:01"]);
    }
    assert_eq!(runtime.records(), ["bond0.json"]);
    runtime.must(&world.node, "CHECK");
    let before = world.node.all();
    runtime.must(&world.node, "ADD");
    assert_eq!(world.node.all(), before);

    world.node.ip("address add 10.8.0.2/24 dev bond0");
    world.outside.ip("address add 10.8.0.1/24 dev port1");
    world.outside.serve("10.8.0.1:80");
    assert_eq!(world.node.call("10.8.0.1:80"), Some([10, 8, 0, 2].into()));
    world.outside.ip("link set port1 down");
    world.outside.ip("address del 10.8.0.1/24 dev port1");
    world.outside.ip("address add 10.8.0.1/24 dev port2");
    // It is another port that answers for the address now.
    world.node.ip("neighbour flush dev bond0");
    assert_eq!(world.node.call("10.8.0.1:80"), Some([10, 8, 0, 2].into()));
    runtime.must(&world.node, "DEL");
    world.shows("eth2", &["master bond0"]);
}

#[test]
fn every_mode_and_every_kind_of_option_reaches_the_kernel() {
    let world = World::new();
    for (mode, options, words) in [
        (0, "packets_per_slave=7", &["mode balance-rr", "packets_per_slave 7"][..]),
        (
            1,
            "miimon=50; updelay=100; downdelay=200; primary=eth2; primary_reselect=better; fail_over_mac=active; num_grat_arp=3; all_slaves_active=on; resend_igmp=2",
            &[
                "mode active-backup",
                "miimon 50",
                "updelay 100",
                "downdelay 200",
                "primary eth2",
                "primary_reselect better",
                "fail_over_mac active",
                "num_grat_arp 3",
                "all_slaves_active 1",
                "resend_igmp 2",
            ],
        ),
        (
            1,
            "arp_interval=200;arp_ip_target=10.8.0.1,10.8.0.3;arp_validate=all;arp_all_targets=1",
            &[
                "miimon 0",
                "arp_interval 200",
                "arp_ip_target 10.8.0.1,10.8.0.3",
                "arp_validate all",
                "arp_all_targets all",
            ],
        ),
        (1, "active_slave=eth2", &["active_slave eth2", "miimon 100"]),
        (2, "xmit_hash_policy=layer3+4", &["mode balance-xor", "xmit_hash_policy layer3+4"]),
        (3, "min_links=1", &["mode broadcast", "min_links 1"]),
        (
            4,
            "lacp_rate=fast;ad_select=2;ad_actor_sys_prio=7;ad_user_port_key=9;ad_actor_system=02:00:00:00:00:aa",
            &[
                "mode 802.3ad",
                "lacp_rate fast",
                "ad_select count",
                "ad_actor_sys_prio 7",
                "ad_user_port_key 9",
                "ad_actor_system 02:00:00:00:00:aa",
            ],
        ),
        (5, "tlb_dynamic_lb=0;lp_interval=3", &["mode balance-tlb", "tlb_dynamic_lb 0", "lp_interval 3"]),
        (6, "", &["mode balance-alb", "miimon 100"]),
    ] {
        let runtime = bond(mode, options);
        if !world.can(&runtime, &[Kind::Bond]) {
            return;
        }
        runtime.must(&world.node, "ADD");
        world.shows("bond0", words);
        // Nothing of it is taken for different the next time.
        runtime.must(&world.node, "ADD");
        assert!(!runtime.log().contains("\"warn\""), "{}", runtime.log());
        world.node.ip("link del bond0");
    }
}

#[test]
fn a_part_that_cannot_be_the_active_one_yet_keeps_no_pod_from_starting() {
    let world = World::new();
    let runtime = bond(1, "active_slave=eth2");
    if !world.can(&runtime, &[Kind::Bond]) {
        return;
    }
    world.outside.ip("link set port2 down");
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "CHECK");
    world.shows("bond0", &["active_slave eth1"]);
    assert!(runtime.log().contains("\"warn\"") && runtime.log().contains("eth2"), "{}", runtime.log());
}

#[test]
fn a_mode_goes_by_its_name_and_a_bond_without_name_by_upstreams() {
    let world = World::new();
    let mut runtime = bond(0, "");
    runtime.network["bond"] = json!({ "mode": "802.3ad" });
    if !world.can(&runtime, &[Kind::Bond]) {
        return;
    }
    runtime.must(&world.node, "ADD");
    world.shows("sp_bond0", &["mode 802.3ad"]);
    assert_eq!(runtime.records(), ["sp_bond0.json"]);
}

#[test]
fn a_vlan_on_a_bond_is_created_with_it() {
    let world = World::new();
    for nic in ["eth1", "eth2"] {
        world.node.ip(&format!("link set {nic} mtu 9001"));
        world.node.ip(&format!("link set {nic} down"));
    }
    let mut runtime = bond(1, "");
    runtime.network["vlanID"] = json!(7);
    if !world.can(&runtime, &[Kind::Bond, Kind::Vlan]) {
        return;
    }
    runtime.must(&world.node, "ADD");
    // As long as its parts', and not the kernel's 1500.
    world.shows("bond0", &["mtu 9001", ",UP"]);
    world.shows("bond0.7", &["bond0.7@bond0", "id 7 ", "mtu 9001", ",UP"]);
    world.shows("eth1", &["mtu 9001", "master bond0", ",UP"]);
    assert_eq!(runtime.records(), ["bond0.7.json"]);
    runtime.must(&world.node, "CHECK");
    // Another VLAN of the same bond.
    runtime.network["vlanID"] = json!(8);
    runtime.network["mtu"] = json!(1400);
    runtime.must(&world.node, "ADD");
    world.shows("bond0.8", &["id 8 ", "mtu 1400"]);
    runtime.network["mtu"] = json!(9500);
    runtime.must(&world.node, "ADD");
    for device in ["bond0", "bond0.8", "eth1", "eth2"] {
        world.shows(device, &["mtu 9500"]);
    }
}

#[test]
fn a_bond_that_lost_a_part_gets_it_back() {
    let world = World::new();
    let runtime = bond(1, "");
    if !world.can(&runtime, &[Kind::Bond]) {
        return;
    }
    runtime.must(&world.node, "ADD");
    world.node.ip("link set eth2 nomaster");
    let (code, message) = runtime.fails(&world.node, "CHECK");
    assert!(code == 103 && message.contains("make eth2 a part of bond0"), "{message}");
    world.node.ip("link set bond0 down");
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "CHECK");
    world.shows("eth2", &["master bond0", ",UP"]);
    world.shows("bond0", &[",UP"]);
}

#[test]
fn a_bond_of_somebody_else_is_used_if_it_is_the_right_one_and_else_refused() {
    let world = World::new();
    let runtime = bond(1, "miimon=50");
    if !world.can(&runtime, &[Kind::Bond]) {
        return;
    }
    world.node.ip("link add bond0 type bond mode active-backup miimon 70");
    runtime.must(&world.node, "ADD");
    world.shows("bond0", &["miimon 70", ",UP"]);
    world.shows("eth2", &["master bond0"]);
    assert!(runtime.log().contains("without miimon=50"), "{}", runtime.log());
    runtime.must(&world.node, "CHECK");
    let other = bond(4, "");
    world.refused(&other, 113, &["bond0", "mode 1 (active-backup)", "mode 4 (802.3ad) is asked for"]);
    let mut named = bond(1, "");
    named.network["bond"]["name"] = json!("bond1");
    world.refused(&named, 113, &["eth1 is a part of bond0 already", "bond1"]);
    named.network["bond"]["name"] = json!("eth3");
    world.refused(&named, 113, &["eth3", "a bond is asked for"]);
}

#[test]
fn what_was_begun_before_a_refusal_is_taken_back() {
    let world = World::new();
    let runtime = bond(1, "");
    if !world.can(&runtime, &[Kind::Bond]) {
        return;
    }
    // Pods stand on the second NIC, in a namespace that cannot be seen from the node's: only the kernel knows.
    let pod = crate::space::Space::new();
    let stands = format!("link add link eth2 name pod netns {} type macvlan mode bridge", pod.pid());
    world.node.ip(&stands);
    pod.ip("link set pod up");
    pod.ip("address add 10.8.0.5/24 dev pod");
    pod.ip("route add 192.0.2.0/24 via 10.8.0.1");
    let before = pod.all();
    world.refused(&runtime, 110, &["eth2", "bond0"]);
    assert_eq!(pod.all(), before, "the pods were disturbed");
    // The kernel's words to an option that does not go with the mode.
    pod.ip("link del pod");
    world.refused(&bond(1, "lacp_rate=fast"), 110, &["create the bond bond0"]);
    world.refused(&bond(1, "miimon=100;arp_interval=100"), 110, &["create the bond bond0"]);
    runtime.must(&world.node, "ADD");
}

#[test]
fn many_pods_at_once_get_the_same_bond() {
    let world = World::new();
    let runtime = bond(1, "");
    if !world.can(&runtime, &[Kind::Bond]) {
        return;
    }
    let children: Vec<_> = (0..8).map(|_| runtime.begin(&world.node, "ADD")).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    runtime.must(&world.node, "CHECK");
    assert_eq!(runtime.log().matches("create the bond bond0").count(), 1, "{}", runtime.log());
}

#[test]
fn an_add_that_was_killed_is_finished_by_the_next() {
    let world = World::new();
    let mut runtime = bond(1, "");
    runtime.network["vlanID"] = json!(7);
    if !world.can(&runtime, &[Kind::Bond, Kind::Vlan]) {
        return;
    }
    for tenths in [1, 10, 20, 40, 60, 80, 120, 160, 240] {
        let mut child = runtime.begin(&world.node, "ADD");
        thread::sleep(Duration::from_micros(tenths * 100));
        child.kill().unwrap();
        child.wait().unwrap();
        runtime.must(&world.node, "ADD");
        runtime.must(&world.node, "CHECK");
        assert_eq!(runtime.records(), ["bond0.7.json"]);
        world.node.ip("link del bond0");
        fs::remove_dir_all(runtime.places().records).unwrap();
    }
}
