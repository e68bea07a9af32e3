//! The node's addresses change under running pods, and others tidy up the node.

use std::net::IpAddr;

use coordinator::refresh::{Failed, refresh};
use serde_json::json;

use crate::call::Runtime;
use crate::overlay::overlay_pod;
use crate::space::Space;
use crate::traffic::service;
use crate::world::World;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// As the agent does; what was changed.
fn look_after(world: &World, pod: &Space) -> Vec<String> {
    world.node.inside(|| refresh(&pod.path(), "eth0", 500)).unwrap()
}

#[test]
fn a_node_address_that_comes_is_reachable_and_one_that_goes_is_forgotten() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, "refreshed");
    runtime.must(&world.node, "ADD");
    world.attach(&pod, "net1", 1, 5);
    let net1 = Runtime::new(&pod, "refreshed").with_interface("net1");
    net1.must(&world.node, "ADD");
    assert_eq!(look_after(&world, &pod), Vec::<String>::new(), "what was just made is up to date");

    world.node.ip("address add 10.9.1.77/24 dev eth1");
    world.node.ip("address add fd00:9:1::77/64 dev eth1 nodad");
    world.node.serve("10.9.1.77:80");
    world.node.serve("[fd00:9:1::77]:80");
    let changed = look_after(&world, &pod);
    assert!(
        changed.iter().any(|text| text.contains("10.9.1.77 dev veth0 src 10.9.0.5 in the pod")),
        "{changed:?}"
    );
    assert!(
        changed.iter().any(|text| text.contains("10.9.1.77 dev veth0 src 10.9.1.5 table 102")),
        "{changed:?}"
    );
    assert_eq!(pod.call("10.9.1.77:80"), Some(ip("10.9.0.5")));
    assert_eq!(pod.call("[fd00:9:1::77]:80"), Some(ip("fd00:9::5")));
    assert_eq!(look_after(&world, &pod), Vec::<String>::new());
    runtime.must(&world.node, "CHECK");
    net1.must(&world.node, "CHECK");

    world.node.ip("address del 10.9.1.77/24 dev eth1");
    world.node.ip("address del fd00:9:1::77/64 dev eth1");
    look_after(&world, &pod);
    let all = pod.all();
    assert!(!all.contains("10.9.1.77") && !all.contains("fd00:9:1::77"), "{all}");
    runtime.must(&world.node, "CHECK");
}

#[test]
fn services_are_reached_by_another_address_of_the_node_when_the_first_goes() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, "refreshed");
    runtime.must(&world.node, "ADD");
    world.node.ip("address add 10.9.0.22/24 dev eth0");
    world.node.ip("address del 10.9.0.2/24 dev eth0");
    world.node.ip("address add 10.9.0.22/24 dev eth0");
    world.node.serve("10.9.0.22:80");
    service(&world.node, "a", "10.96.0.20", "10.9.0.22");
    look_after(&world, &pod);
    let all = pod.all();
    assert!(!all.contains("10.9.0.2 "), "{all}");
    assert!(pod.ip("route show table 100").contains("default via 10.9."), "replies have a way");
    assert!(pod.ip("route show 10.96.0.0/12").contains("via 10.9."));
    assert_eq!(pod.call("10.96.0.20:80"), Some(ip("10.9.0.5")));
    assert_eq!(look_after(&world, &pod), Vec::<String>::new());
    runtime.must(&world.node, "CHECK");
}

#[test]
fn what_somebody_tidied_away_on_the_node_is_there_again() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, "refreshed");
    runtime.must(&world.node, "ADD");
    // As a restart of systemd-networkd does.
    world.node.ip("rule del table 500");
    world.node.ip("-6 rule del table 500");
    world.node.ip("route flush table 500");
    world.node.ip("neigh flush nud permanent dev vethrefreshed");
    pod.ip("link add docker0 type bridge");
    pod.ip("address add 172.17.0.1/16 dev docker0");
    let changed = look_after(&world, &pod);
    assert!(!changed.iter().any(|text| text.contains("172.17.0.1")), "{changed:?}");
    runtime.must(&world.node, "CHECK");
    pod.serve("10.9.0.5:80");
    assert!(world.node.call("10.9.0.5:80").is_some());
}

#[test]
fn another_table_and_another_name_of_the_first_interface_are_read_from_what_is_left() {
    let world = World::new();
    let pod = Space::new();
    world.attach(&pod, "nic0", 0, 5);
    let mut runtime = Runtime::new(&pod, "refreshed").with_interface("nic0");
    runtime.network["podDefaultCniNic"] = json!("nic0");
    runtime.network["hostRuleTable"] = json!(600);
    runtime.must(&world.node, "ADD");
    assert_eq!(look_after(&world, &pod), Vec::<String>::new());
    world.node.ip("rule del table 600");
    world.node.ip("route del 10.9.0.5 table 600");
    world.node.ip("neigh flush nud permanent dev vethrefreshed");
    assert!(!look_after(&world, &pod).is_empty());
    assert!(!world.node.ip("rule show").contains("lookup 500"));
    runtime.must(&world.node, "CHECK");
}

#[test]
fn an_overlay_pod_is_looked_after_too_and_its_own_ways_are_left_alone() {
    let world = World::new();
    let pod = overlay_pod(&world);
    world.attach(&pod, "net1", 1, 5);
    let runtime = Runtime::new(&pod, "overlay").with_interface("net1");
    runtime.cluster_with("overlayPodCIDR", json!(["10.244.0.0/16"]));
    runtime.must(&world.node, "ADD");
    assert_eq!(look_after(&world, &pod), Vec::<String>::new());
    world.node.ip("address add 10.9.1.77/24 dev eth1");
    world.node.ip("route flush table 500");
    let changed = look_after(&world, &pod);
    assert!(changed.iter().any(|text| text.contains("10.9.1.77 dev eth0")), "{changed:?}");
    assert!(
        !changed.iter().any(|text| text.contains("add the route 10.244.0.5 ")),
        "the overlay's own: {changed:?}"
    );
    assert!(pod.ip("route show table 101").contains("default via 169.254.1.1 dev eth0"));
    runtime.must(&world.node, "CHECK");
}

#[test]
fn a_pod_that_was_never_served_and_one_that_is_gone_are_nobodys_business() {
    let world = World::new();
    let pod = world.pod(5);
    let before = (world.node.all(), pod.all());
    assert_eq!(look_after(&world, &pod), Vec::<String>::new());
    assert_eq!((world.node.all(), pod.all()), before);
    let gone = world.node.inside(|| refresh("/proc/4194305/ns/net".as_ref(), "eth0", 500));
    assert!(matches!(gone, Err(Failed::Closed(_))), "{gone:?}");
}
