//! What is not as it should be: one clear error, and nothing is left.

use serde_json::json;

use crate::call::Runtime;
use crate::space::Space;
use crate::world::World;

/// That ADD fails with this code and words, and changes nothing.
fn refused(world: &World, pod: &Space, runtime: &Runtime, code: u64, words: &[&str]) {
    let before = (world.node.all(), pod.all());
    let (told, message) = runtime.fails(&world.node, "ADD");
    assert_eq!(told, code, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    let without_rule = |text: String| {
        text.lines().filter(|line| !line.contains("lookup 500")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without_rule(world.node.all()), without_rule(before.0), "{message}");
    assert_eq!(pod.all(), before.1, "{message}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let world = World::new();
    let pod = world.pod(5);
    for (key, value, code) in [
        ("mode", json!("sideways"), 7),
        ("podMACPrefix", json!("0b:1b"), 7),
        ("podMACPrefix", json!("hello"), 7),
        ("hijackCIDR", json!(["10.0.0.0/33"]), 7),
        ("serviceCIDR", json!("10.0.0.0/8"), 7),
        ("overlayPodCIDR", json!([7]), 7),
        ("policyRoutes", json!([{ "dst": "10.0.0.0/8", "gw": "fd00::1" }]), 7),
        ("policyRoutes", json!([{ "dst": "10.0.0.0/8" }]), 7),
        ("podRPFilter", json!(3), 7),
        ("hostRuleTable", json!(254), 7),
        ("hostRuleTable", json!("500"), 7),
        ("txQueueLen", json!(-1), 7),
        ("vethMTU", json!(1.5), 7),
        ("vethLinkAddress", json!("fd00::1"), 7),
        ("podDefaultCniNic", json!("a/b"), 7),
        ("tunePodRoutes", json!("yes"), 7),
        ("logOptions", json!([]), 7),
        ("agentSocketPath", json!("relative"), 7),
        ("prevResult", json!(null), 7),
        ("prevResult", json!("text"), 6),
    ] {
        let mut runtime = Runtime::new(&pod, "bad");
        runtime.network[key] = value.clone();
        refused(&world, &pod, &runtime, code, &[key]);
    }
    let runtime = Runtime::new(&pod, "bad");
    runtime.cluster_with("serviceCIDR", json!(["10.96.0.0"]));
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "DEL");
    runtime.cluster_with("serviceCIDR", json!(["ten/8"]));
    refused(&world, &pod, &runtime, 112, &["serviceCIDR", "SpiderCoordinator", "ten/8"]);
    runtime.cluster_with("mode", json!("magic"));
    refused(&world, &pod, &runtime, 112, &["mode", "SpiderCoordinator", "magic"]);
    runtime.agent_says(500, &json!("the SpiderCoordinator is not ready: no CIDR"));
    refused(&world, &pod, &runtime, 101, &["no CIDR"]);
    runtime.agent_says(200, &json!([]));
    refused(&world, &pod, &runtime, 100, &["answer of spiderpool-agent"]);
    let mut runtime = Runtime::new(&pod, "bad");
    runtime.network["agentSocketPath"] = json!("/nonexistent/agent.sock");
    refused(&world, &pod, &runtime, 100, &["/nonexistent/agent.sock"]);
}

#[test]
fn a_mode_that_does_not_go_with_the_interface_is_refused() {
    let world = World::new();
    let pod = world.pod(5);
    let with = |nic: &str, mode: &str| {
        let mut runtime = Runtime::new(&pod, "bad").with_interface(nic);
        runtime.network["mode"] = json!(mode);
        runtime
    };
    refused(&world, &pod, &with("eth0", "overlay"), 111, &["overlay", "eth0"]);
    world.attach(&pod, "net1", 1, 5);
    refused(&world, &pod, &with("net1", "underlay"), 111, &["underlay", "net1", "veth0"]);
    // Auto takes it for overlay, whose eth0 would be a veth.
    refused(&world, &pod, &with("net1", "auto"), 113, &["eth0", "no veth pair"]);
    with("eth0", "auto").must(&world.node, "ADD");
    refused(&world, &pod, &with("net1", "overlay"), 111, &["overlay", "veth0"]);
}

#[test]
fn an_interface_that_is_missing_or_bare_is_refused() {
    let world = World::new();
    let pod = Space::new();
    let runtime = Runtime::new(&pod, "bad");
    refused(&world, &pod, &runtime, 113, &["eth0"]);
    world.node.ip(&format!("link add link eth0 name bare netns {} type macvlan mode bridge", pod.pid()));
    pod.ip("link set bare name eth0");
    refused(&world, &pod, &runtime, 113, &["eth0", "no address"]);
    // Down, but with an address: its routes cannot be had, the node's ways can; the pod is as the plugin before left it.
    pod.ip("address add 10.9.0.5/24 dev eth0");
    runtime.must(&world.node, "ADD");
}

#[test]
fn a_mac_prefix_for_ipvlan_is_refused_where_there_is_ipvlan() {
    let world = World::new();
    let pod = world.pod(5);
    let mut runtime = Runtime::new(&pod, "bad");
    runtime.network["podMACPrefix"] = json!("0a:1b");
    if world.has_ipvlan() {
        refused(&world, &pod, &runtime, 113, &["podMACPrefix", "ipvlan"]);
    } else {
        runtime.must(&world.node, "ADD");
        assert!(pod.ip("link show eth0").contains("0a:1b:0a:09:00:05"));
    }
}

#[test]
fn a_namespace_that_is_gone_or_the_nodes_own_is_refused() {
    let world = World::new();
    let pod = world.pod(5);
    let mut runtime = Runtime::new(&pod, "bad");
    runtime.netns = "/proc/4194305/ns/net".into();
    refused(&world, &pod, &runtime, 4, &["/proc/4194305/ns/net"]);
    runtime.netns = world.node.path();
    refused(&world, &pod, &runtime, 113, &["the node's own"]);
    runtime.must(&world.node, "DEL");
}

#[test]
fn an_interface_of_somebody_else_in_our_place_is_left_alone() {
    let world = World::new();
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, "bad");
    pod.ip("link add veth0 type veth peer name other");
    refused(&world, &pod, &runtime, 113, &["veth0", "another plugin"]);
    pod.ip("link del veth0");
    world.node.ip("link add vethbad type veth peer name other");
    refused(&world, &pod, &runtime, 113, &["vethbad", "not in this pod"]);
}

#[test]
fn foreign_rules_and_routes_in_our_numbers_are_left_alone_and_gone_around() {
    let world = World::new();
    let pod = world.pod(5);
    for (space, rule) in [
        (&pod, "rule add from 192.0.2.1 priority 1000 lookup 100"),
        (&pod, "route add 192.0.2.0/24 dev eth0 table 101"),
        (&pod, "rule add from 192.0.2.2 lookup 102"),
        (&pod, "route add 10.96.0.0/12 via 10.9.0.1 dev eth0"),
        (&world.node, "rule add from 192.0.2.1 priority 1000 lookup 7"),
        (&world.node, "route add 192.0.2.0/24 dev eth1 table 500"),
    ] {
        space.ip(rule);
    }
    let foreign = |space: &Space| {
        let all = space.all();
        let lines = all
            .lines()
            .filter(|line| line.contains("192.0.2.") || line.contains("10.96.0.0/12 via 10.9.0.1"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = (foreign(&world.node), foreign(&pod));
    let runtime = Runtime::new(&pod, "bad");
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "CHECK");
    assert!(runtime.log().contains("10.96.0.0/12"), "{}", runtime.log());
    world.attach(&pod, "net1", 1, 5);
    let net1 = Runtime::new(&pod, "bad").with_interface("net1");
    net1.must(&world.node, "ADD");
    net1.must(&world.node, "CHECK");
    let rules = pod.ip("rule show");
    assert!(rules.contains("fwmark 0x20000000/0x20000000 lookup 1000"), "{rules}");
    assert!(
        rules.contains("from 10.9.0.5 lookup 103") && rules.contains("from 10.9.1.5 lookup 104"),
        "{rules}"
    );
    net1.must(&world.node, "DEL");
    runtime.must(&world.node, "DEL");
    assert_eq!((foreign(&world.node), foreign(&pod)), before);
}

#[test]
fn a_pod_without_ipv6_and_one_without_ipv4_are_served() {
    let world = World::new();
    let pod = Space::new();
    pod.set("ipv6/conf/all/disable_ipv6", "1");
    pod.set("ipv6/conf/default/disable_ipv6", "1");
    world.node.ip(&format!("link add link eth0 name four netns {} type macvlan mode bridge", pod.pid()));
    for command in [
        "link set four name eth0",
        "address add 10.9.0.5/24 dev eth0",
        "link set eth0 up",
        "route add default via 10.9.0.1",
    ] {
        pod.ip(command);
    }
    let runtime = Runtime::new(&pod, "four");
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "CHECK");
    assert_eq!(pod.get("ipv6/conf/veth0/disable_ipv6"), "1");
    world.node.serve("10.9.0.2:80");
    assert!(pod.call("10.9.0.2:80").is_some());

    let pod = Space::new();
    world.node.ip(&format!("link add link eth0 name six netns {} type macvlan mode bridge", pod.pid()));
    // As the plugins before do: IPv6 is on where it is used.
    pod.set("ipv6/conf/default/disable_ipv6", "1");
    for command in ["link set six name eth0", "address add fd00:9::6/64 dev eth0 nodad", "link set eth0 up"] {
        pod.ip(command);
    }
    pod.ip("-6 route add default via fd00:9::1");
    let mut runtime = Runtime::new(&pod, "six");
    runtime.network["vethLinkAddress"] = json!("169.254.100.1");
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "CHECK");
    world.node.serve("[fd00:9::2]:80");
    assert!(pod.call("[fd00:9::2]:80").is_some());
    assert!(!pod.ip("address show veth0").contains("169.254"));
}

#[test]
fn what_was_made_before_a_refusal_is_taken_back() {
    let world = World::new();
    let pod = world.pod(5);
    let mut runtime = Runtime::new(&pod, "bad");
    // The kernel says no to a gateway that is an address of the pod itself: the last thing that is tried.
    runtime.network["policyRoutes"] = json!([{ "dst": "192.0.2.0/24", "gw": "10.9.0.5" }]);
    let filter = pod.get("ipv4/conf/eth0/rp_filter");
    refused(&world, &pod, &runtime, 110, &["192.0.2.0/24 via 10.9.0.5 dev eth0"]);
    assert_eq!(pod.get("ipv4/conf/eth0/rp_filter"), filter);
    // The same for a further interface, whose routes were about to move.
    runtime.network["policyRoutes"] = json!([]);
    runtime.must(&world.node, "ADD");
    world.attach(&pod, "net1", 1, 5);
    let mut net1 = Runtime::new(&pod, "bad").with_interface("net1");
    net1.network["policyRoutes"] = json!([{ "dst": "192.0.2.0/24", "gw": "10.9.1.5" }]);
    refused(&world, &pod, &net1, 110, &["192.0.2.0/24"]);
}

#[test]
fn a_node_without_ipv6_and_one_that_has_it_off_for_new_interfaces_serve_pods_that_have_it() {
    let world = World::new();
    world.node.set("ipv6/conf/default/disable_ipv6", "1");
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, "six");
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "CHECK");
    pod.serve("[fd00:9::5]:80");
    assert!(world.node.call("[fd00:9::5]:80").is_some());
    assert_eq!(world.node.get("ipv6/conf/default/disable_ipv6"), "1");
    runtime.must(&world.node, "DEL");
    world.node.set("ipv6/conf/all/disable_ipv6", "1");
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "CHECK");
    assert!(runtime.log().contains("no IPv6 address"), "{}", runtime.log());
    pod.serve("10.9.0.5:80");
    assert!(world.node.call("10.9.0.5:80").is_some());
}

#[test]
fn a_del_whose_configuration_is_broken_takes_everything_back() {
    let world = World::new();
    let pod = world.pod(5);
    let mut runtime = Runtime::new(&pod, "broken");
    runtime.must(&world.node, "ADD");
    runtime.network["mode"] = json!("sideways");
    runtime.network["prevResult"] = json!("nonsense");
    runtime.must(&world.node, "DEL");
    assert!(!world.node.all().contains("vethbroken"));
    assert!(runtime.log().contains("mode"), "{}", runtime.log());
}

#[test]
fn pods_that_start_at_once_do_not_get_in_each_others_way() {
    let world = World::new();
    let pods: Vec<Space> = (10..26).map(|last| world.pod(last)).collect();
    let runtimes: Vec<_> =
        pods.iter().zip(0..).map(|(pod, n)| Runtime::new(pod, &format!("many{n:02}"))).collect();
    for _ in 0..2 {
        let children: Vec<_> = runtimes.iter().map(|runtime| runtime.start(&world.node, "ADD")).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        assert_eq!(world.node.ip("rule show").matches("lookup 500").count(), 1);
        assert_eq!(world.node.ip("route show table 500").lines().count(), 16);
        for runtime in &runtimes {
            runtime.must(&world.node, "CHECK");
        }
        let children: Vec<_> = runtimes.iter().map(|runtime| runtime.start(&world.node, "DEL")).collect();
        for child in children {
            assert!(child.wait_with_output().unwrap().status.success());
        }
        assert!(!world.node.all().contains("vethmany") && !world.node.all().contains("table 500"));
    }
}
