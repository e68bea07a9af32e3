//! What the plugin puts into a pod and its node, looked at with iproute2.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::call::{Runtime, cluster};
use crate::space::Space;
use crate::world::World;

const CONTAINER: &str = "0123456789abcdef";
const NODE_END: &str = "veth0123456789a";

fn lines_with<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(part)).collect()
}

fn has(text: &str, part: &str) -> bool {
    !lines_with(text, part).is_empty()
}

#[test]
fn a_first_interface_gets_a_cable_ways_to_its_node_and_to_services() {
    let world = World::new();
    let pod = world.pod(5);
    pod.ip("link set eth0 mtu 1400");
    let runtime = Runtime::new(&pod, CONTAINER);
    let result = runtime.must(&world.node, "ADD");
    assert_eq!(result, runtime.previous(), "what came is passed on");

    let link = pod.ip("-d link show veth0");
    assert!(has(&link, "mtu 1400") && has(&link, "UP,LOWER_UP"), "{link}");
    let link = world.node.ip(&format!("-d link show {NODE_END}"));
    assert!(has(&link, "mtu 1400") && has(&link, "UP,LOWER_UP") && has(&link, "group 83"), "{link}");

    let routes = pod.ip("route show table main");
    for wanted in [
        "default via 10.9.0.1 dev eth0",
        "10.9.0.2 dev veth0 proto 83 scope link src 10.9.0.5",
        "10.9.1.2 dev veth0 proto 83 scope link src 10.9.0.5",
        "10.96.0.0/12 via 10.9.0.2 dev veth0 proto 83 src 10.9.0.5 onlink",
    ] {
        assert!(has(&routes, wanted), "{wanted} is not in\n{routes}");
    }
    let routes = pod.ip("-6 route show table main");
    for wanted in [
        "fd00:9::2 dev veth0 proto 83 src fd00:9::5",
        "fd00:96::/112 via fd00:9::2 dev veth0 proto 83 src fd00:9::5",
    ] {
        assert!(has(&routes, wanted), "{wanted} is not in\n{routes}");
    }
    for family in ["-4", "-6"] {
        let rules = pod.ip(&format!("{family} rule show"));
        assert!(has(&rules, "1000:\tfrom all fwmark 0x20000000/0x20000000 lookup 100 proto 83"), "{rules}");
        let rules = world.node.ip(&format!("{family} rule show"));
        assert_eq!(lines_with(&rules, "1000:\tfrom all lookup 500 proto 83").len(), 1, "{rules}");
    }
    assert!(has(&pod.ip("route show table 100"), "default via 10.9.0.2 dev veth0"));
    assert!(has(&pod.ip("-6 route show table 100"), "default via fd00:9::2 dev veth0"));
    assert!(has(
        &world.node.ip("route show table 500"),
        &format!("10.9.0.5 dev {NODE_END} proto 83 scope link")
    ));
    assert!(has(&world.node.ip("-6 route show table 500"), &format!("fd00:9::5 dev {NODE_END} proto 83")));
    let neighbours = world.node.ip(&format!("neigh show dev {NODE_END} nud permanent"));
    assert!(has(&neighbours, "10.9.0.5") && has(&neighbours, "fd00:9::5"), "{neighbours}");
    assert!(has(&pod.ip("neigh show dev veth0 nud permanent"), "10.9.2.2"));

    for name in ["all", "eth0", "veth0"] {
        assert_eq!(pod.get(&format!("ipv4/conf/{name}/rp_filter")), "0");
    }
    runtime.must(&world.node, "CHECK");
}

#[test]
fn del_leaves_nothing_and_adding_again_is_as_the_first_time() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, CONTAINER);
    let (node_before, pod_before) = (world.node.all(), pod.all());
    runtime.must(&world.node, "ADD");
    let made = (world.node.all(), pod.all());
    runtime.must(&world.node, "ADD");
    assert_eq!((world.node.all(), pod.all()), made, "ADD twice is ADD once");
    runtime.must(&world.node, "CHECK");
    runtime.must(&world.node, "DEL");
    // The rule for the table of pods is the node's, and stays.
    let without_rule = world
        .node
        .all()
        .lines()
        .filter(|line| !line.contains("lookup 500"))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert_eq!(without_rule, node_before.lines().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(pod.all(), pod_before);
    runtime.must(&world.node, "DEL");
    assert_eq!(pod.all(), pod_before);
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "CHECK");
}

#[test]
fn a_del_needs_neither_an_add_nor_an_agent_nor_a_namespace() {
    let world = World::new();
    let pod = world.pod(5);
    let mut runtime = Runtime::new(&pod, CONTAINER);
    runtime.agent_says(500, &json!("the API server is away"));
    let before = (world.node.all(), pod.all());
    runtime.must(&world.node, "DEL");
    runtime.must(&world.node, "DEL");
    assert_eq!((world.node.all(), pod.all()), before);
    runtime.agent_says(200, &crate::call::cluster());
    runtime.must(&world.node, "ADD");
    runtime.agent_says(500, &json!("the API server is away"));
    runtime.netns = "/proc/4194305/ns/net".into();
    runtime.must(&world.node, "DEL");
    assert!(!has(&world.node.ip("-o link show"), NODE_END));
    assert!(!has(&world.node.ip("route show table all"), "table 500"));
}

#[test]
fn an_add_that_was_killed_is_finished_by_the_next() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, CONTAINER);
    runtime.must(&world.node, "ADD");
    let whole = (world.node.all(), pod.all());
    runtime.must(&world.node, "DEL");
    // Somewhere in between, whichever that is on this machine.
    for microseconds in (0..6000).step_by(300) {
        let mut child = runtime.start(&world.node, "ADD");
        thread::sleep(Duration::from_micros(microseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        runtime.must(&world.node, "ADD");
        let now = (world.node.all(), pod.all());
        assert_eq!(forget_numbers(&now.0), forget_numbers(&whole.0));
        assert_eq!(forget_numbers(&now.1), forget_numbers(&whole.1));
        runtime.must(&world.node, "CHECK");
        runtime.must(&world.node, "DEL");
    }
}

/// Interfaces get new numbers each time.
fn forget_numbers(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.split_once(": ").map_or(line, |(_, rest)| rest))
        .map(|line| {
            line.split("@if").map(|part| part.trim_start_matches(char::is_numeric)).collect::<String>()
        })
        .map(|line| line.split(" link-netns").next().unwrap_or_default().to_owned())
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_second_coordinator_in_the_chain_changes_nothing() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, CONTAINER);
    runtime.must(&world.node, "ADD");
    let made = (world.node.all(), pod.all());
    let second = Runtime::new(&pod, CONTAINER);
    assert_eq!(second.must(&world.node, "ADD"), second.previous());
    assert_eq!((world.node.all(), pod.all()), made);
    assert!(second.log().contains("\"changes\":0"), "{}", second.log());
}

#[test]
fn check_says_what_is_missing() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, CONTAINER);
    let break_and_look = |space: &Space, commands: &[&str], wanted: &str| {
        runtime.must(&world.node, "ADD");
        runtime.must(&world.node, "CHECK");
        for command in commands {
            space.ip(command);
        }
        let (code, message) = runtime.fails(&world.node, "CHECK");
        assert!(code == 103 && message.contains(wanted), "{wanted} is not in {message}");
    };
    break_and_look(
        &pod,
        &["route del 10.96.0.0/12"],
        "add the route 10.96.0.0/12 via 10.9.0.2 dev veth0 src 10.9.0.5",
    );
    break_and_look(
        &pod,
        &["rule del fwmark 0x20000000/0x20000000"],
        "add the IPv4 rule priority 1000 fwmark",
    );
    break_and_look(&pod, &["neigh del 10.9.0.2 dev veth0"], "set the neighbour 10.9.0.2 dev veth0");
    break_and_look(
        &world.node,
        &["route del 10.9.0.5 table 500"],
        "add the route 10.9.0.5 dev veth0123456789a table 500 on the node",
    );
    break_and_look(
        &world.node,
        &["rule del table 500"],
        "add the IPv4 rule priority 1000 lookup 500 on the node",
    );
    break_and_look(&world.node, &[&format!("link del {NODE_END}")], "lay the cable from veth0");
}

#[test]
fn further_interfaces_have_tables_of_their_own_which_hot_plug_does_not_confuse() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, CONTAINER);
    runtime.must(&world.node, "ADD");
    let plug = |name: &str, n: u8| {
        world.attach(&pod, name, n, 5);
        let further = Runtime::new(&pod, CONTAINER).with_interface(name);
        further.must(&world.node, "ADD");
        further.must(&world.node, "CHECK");
        further
    };
    let table = |address: &str| {
        let rules = pod.ip(&format!("{} rule show", if address.contains(':') { "-6" } else { "-4" }));
        let lines = lines_with(&rules, &format!("from {address} lookup "));
        let [line] = lines.as_slice() else { return None };
        line.split("lookup ").nth(1).unwrap().split(' ').next().unwrap().parse::<u32>().ok()
    };
    let _one = plug("net1", 1);
    let two = plug("net2", 2);
    assert_eq!((table("10.9.0.5"), table("10.9.1.5"), table("10.9.2.5")), (Some(101), Some(102), Some(103)));
    assert_eq!(
        (table("fd00:9::5"), table("fd00:9:1::5"), table("fd00:9:2::5")),
        (Some(101), Some(102), Some(103))
    );
    let main = pod.ip("route show table main");
    assert_eq!(lines_with(&main, "default"), ["default via 10.9.0.1 dev eth0 "], "{main}");
    let own = pod.ip("route show table 103");
    for wanted in [
        "default via 10.9.2.1 dev net2",
        "10.9.2.0/24 dev net2",
        "10.9.0.2 dev veth0",
        "10.96.0.0/12 via 10.9.0.2 dev veth0",
    ] {
        assert!(has(&own, wanted), "{wanted} is not in\n{own}");
    }

    // The first leaves, and one more comes: counting would give 103 twice.
    let one = Runtime::new(&pod, CONTAINER).with_interface("net1");
    one.must(&world.node, "DEL");
    pod.ip("link del net1");
    assert_eq!(table("10.9.1.5"), None);
    assert!(!has(&world.node.ip("route show table 500"), "10.9.1.5"));
    let _three = plug("net3", 1);
    assert_eq!((table("10.9.1.5"), table("10.9.2.5")), (Some(102), Some(103)));
    two.must(&world.node, "CHECK");
    runtime.must(&world.node, "CHECK");

    for name in ["net3", "net2"] {
        Runtime::new(&pod, CONTAINER).with_interface(name).must(&world.node, "DEL");
        pod.ip(&format!("link del {name}"));
    }
    runtime.must(&world.node, "DEL");
    let rest = pod.all();
    assert!(!has(&rest, "proto 83") && !has(&rest, "veth0"), "{rest}");
    assert!(!has(&world.node.ip("route show table all"), "table 500"));
}

#[test]
fn the_default_route_is_that_of_the_interface_which_the_agent_names() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, CONTAINER);
    runtime.cluster_with("podDefaultRouteNIC", json!("net1"));
    runtime.must(&world.node, "ADD");
    world.attach(&pod, "net1", 1, 5);
    let net1 = Runtime::new(&pod, CONTAINER).with_interface("net1");
    net1.cluster_with("podDefaultRouteNIC", json!("net1"));
    net1.must(&world.node, "ADD");
    net1.must(&world.node, "CHECK");
    for (family, gateway, old) in [("-4", "10.9.1.1", "10.9.0.1"), ("-6", "fd00:9:1::1", "fd00:9::1")] {
        let main = pod.ip(&format!("{family} route show table main"));
        let defaults = lines_with(&main, "default");
        assert!(
            defaults.len() == 1 && defaults[0].contains(&format!("default via {gateway} dev net1")),
            "{main}"
        );
        assert!(has(
            &pod.ip(&format!("{family} route show table 101")),
            &format!("default via {old} dev eth0")
        ));
    }
    // A third does not take it.
    world.attach(&pod, "net2", 2, 5);
    let net2 = Runtime::new(&pod, CONTAINER).with_interface("net2");
    net2.cluster_with("podDefaultRouteNIC", json!("net1"));
    net2.must(&world.node, "ADD");
    let main = pod.ip("route show table main");
    assert!(lines_with(&main, "default").len() == 1 && has(&main, "default via 10.9.1.1 dev net1"), "{main}");
    // When it leaves, the first has it again.
    net1.must(&world.node, "DEL");
    pod.ip("link del net1");
    assert!(has(&pod.ip("route show table main"), "default via 10.9.0.1 dev eth0"));
    assert!(has(&pod.ip("-6 route show table main"), "default via fd00:9::1 dev eth0"));
}

#[test]
fn the_annotation_names_the_default_route_before_the_network_configuration_and_that_before_the_cluster() {
    let world = World::new();
    for (last, own, source, expected) in [
        (5, None, Some("spiderCoordinator"), "net1"),
        (6, Some("eth0"), Some("spiderCoordinator"), "eth0"),
        (7, Some("eth0"), Some("annotation"), "net1"),
        (8, Some("eth0"), Some("somebody-new"), "net1"),
        // Upstream's agent.
        (9, Some("eth0"), None, "net1"),
    ] {
        let pod = world.pod(last);
        let told = |name: &str| {
            let mut runtime = Runtime::new(&pod, &format!("pod{last}-with-default")).with_interface(name);
            let mut cluster = cluster();
            cluster["podDefaultRouteNIC"] = json!("net1");
            if let Some(source) = source {
                cluster["podDefaultRouteNICSource"] = json!(source);
            }
            runtime.agent_says(200, &cluster);
            if let Some(own) = own {
                runtime.network["podDefaultRouteNic"] = json!(own);
            }
            runtime.must(&world.node, "ADD");
        };
        told("eth0");
        world.attach(&pod, "net1", 1, last);
        told("net1");
        let main = pod.ip("route show table main default");
        assert!(main.lines().count() == 1 && main.contains(&format!("dev {expected}")), "{source:?}: {main}");
    }
}

#[test]
fn default_routes_that_the_plugin_before_appended_are_taken_apart() {
    let world = World::new();
    let pod = world.pod(5);
    Runtime::new(&pod, CONTAINER).must(&world.node, "ADD");
    world.attach(&pod, "net1", 1, 5);
    // As upstream's plugins do from 1.2 on: with the same metric, beside what is there.
    pod.ip("route del default dev net1");
    pod.ip("-6 route del default dev net1");
    pod.ip("route append default via 10.9.1.1 dev net1");
    pod.ip("-6 route append default via fd00:9:1::1 dev net1");
    let net1 = Runtime::new(&pod, CONTAINER).with_interface("net1");
    net1.must(&world.node, "ADD");
    net1.must(&world.node, "CHECK");
    for (family, first, own) in [("-4", "10.9.0.1", "10.9.1.1"), ("-6", "fd00:9::1", "fd00:9:1::1")] {
        let main = pod.ip(&format!("{family} route show table main"));
        let defaults = lines_with(&main, "default");
        assert!(defaults.len() == 1 && defaults[0].contains(&format!("via {first} dev eth0")), "{main}");
        assert!(has(
            &pod.ip(&format!("{family} route show table 102")),
            &format!("default via {own} dev net1")
        ));
    }
}

#[test]
fn what_the_configuration_asks_of_the_interface_is_done() {
    let world = World::new();
    let pod = Space::new();
    world.attach_as("macvlan mode bridge", &pod, "eth0", 0, 5);
    let mut runtime = Runtime::new(&pod, CONTAINER);
    runtime.network["podMACPrefix"] = json!("0a:1b");
    runtime.network["txQueueLen"] = json!(777);
    runtime.network["vethMTU"] = json!(1300);
    runtime.network["vethLinkAddress"] = json!("169.254.100.1");
    runtime.network["podRPFilter"] = json!(2);
    runtime.network["hostRuleTable"] = json!(600);
    runtime.network["hijackCIDR"] = json!(["169.254.0.0/16", "203.0.113.9/24"]);
    runtime.network["policyRoutes"] = json!([{ "dst": "192.0.2.0/24", "gw": "10.9.0.1" }]);
    let result = runtime.must(&world.node, "ADD");
    assert_eq!(result["interfaces"][0]["mac"], "0a:1b:0a:09:00:05");
    let link = pod.ip("link show eth0");
    assert!(has(&link, "0a:1b:0a:09:00:05") && has(&link, "qlen 777"), "{link}");
    assert!(has(&pod.ip("link show veth0"), "mtu 1300"));
    assert!(has(&pod.ip("address show veth0"), "169.254.100.1/32"));
    assert_eq!(pod.get("ipv4/conf/eth0/rp_filter"), "2");
    assert!(has(&world.node.ip("route show table 600"), "10.9.0.5"));
    let main = pod.ip("route show table main");
    for wanted in [
        "169.254.0.0/16 via 10.9.0.2 dev veth0",
        "203.0.113.0/24 via 10.9.0.2",
        "192.0.2.0/24 via 10.9.0.1 dev eth0",
    ] {
        assert!(has(&main, wanted), "{wanted} is not in\n{main}");
    }
    runtime.must(&world.node, "CHECK");
    runtime.must(&world.node, "DEL");
}

#[test]
fn a_mode_that_switches_off_changes_nothing() {
    let world = World::new();
    let pod = world.pod(5);
    let before = (world.node.all(), pod.all());
    let mut runtime = Runtime::new(&pod, CONTAINER);
    runtime.cluster_with("mode", json!("disabled"));
    for verb in ["ADD", "CHECK", "DEL"] {
        runtime.must(&world.node, verb);
    }
    // With the pod's own word nobody need be asked.
    runtime.agent_says(500, &json!("not ready"));
    for mode in ["disable", "disabled"] {
        runtime.network["mode"] = json!(mode);
        assert_eq!(runtime.must(&world.node, "ADD"), runtime.previous());
    }
    assert_eq!((world.node.all(), pod.all()), before);
}

#[test]
fn what_a_former_owner_of_the_address_left_gives_way_and_neighbours_of_its_cable_mislead_nobody() {
    let world = World::new();
    let pod = world.pod(5);
    // As a pod that had the address leaves it when its node end outlives it.
    let left = [
        "link add gone type veth peer name gone-pod",
        "link set gone up",
        "link set gone-pod up",
        "route add 10.9.0.5 dev gone table 500",
        "route add fd00:9::5 dev gone table 500",
        "neigh add 10.9.0.5 lladdr 02:00:00:00:00:77 dev gone nud permanent",
    ];
    world.node.ip_batch(&[], &left.map(str::to_owned));
    let runtime = Runtime::new(&pod, CONTAINER);
    runtime.must(&world.node, "ADD");
    for (family, address) in [("-4", "10.9.0.5"), ("-6", "fd00:9::5")] {
        let routes = world.node.ip(&format!("{family} route show table 500"));
        assert_eq!(lines_with(&routes, address).len(), 1, "{routes}");
        assert!(has(&world.node.ip(&format!("{family} route get {address}")), NODE_END), "{routes}");
    }
    let neighbours = world.node.ip("neigh show 10.9.0.5 nud permanent");
    assert!(has(&neighbours, NODE_END), "{neighbours}");
    runtime.must(&world.node, "CHECK");
}

#[test]
fn without_tuning_a_further_interface_gets_the_nodes_side_only() {
    let world = World::new();
    let pod = world.pod(5);
    world.attach(&pod, "net1", 1, 5);
    let eth0 = Runtime::new(&pod, CONTAINER);
    let net1 = Runtime::new(&pod, CONTAINER).with_interface("net1");
    for runtime in [&eth0, &net1] {
        runtime.cluster_with("tunePodRoutes", json!(false));
    }
    eth0.must(&world.node, "ADD");
    let before = pod.all();
    net1.must(&world.node, "ADD");
    assert_eq!(pod.all(), before, "no table, no rule, no route moves");
    for (family, address) in [("-4", "10.9.1.5"), ("-6", "fd00:9:1::5")] {
        let routes = world.node.ip(&format!("{family} route show table 500"));
        assert!(has(&routes, &format!("{address} dev {NODE_END} proto 83")), "{routes}");
    }
    net1.must(&world.node, "CHECK");
    net1.must(&world.node, "DEL");
    assert!(!has(&world.node.ip("route show table 500"), "10.9.1.5"));
    assert_eq!(pod.all(), before);
}
