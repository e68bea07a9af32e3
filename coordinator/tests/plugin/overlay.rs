//! A pod whose first interface an overlay network made: a veth pair with the node, and everything through it.

use serde_json::json;

use crate::call::Runtime;
use crate::space::Space;
use crate::world::World;

/// As Calico makes it: a /32, and a gateway that the node's end answers for.
pub(crate) fn overlay_pod(world: &World) -> Space {
    let pod = Space::new();
    world.node.ip(&format!("link add cali1 type veth peer name eth0 netns {}", pod.pid()));
    world.node.ip("link set cali1 up");
    world.node.ip("address add fd00:244::1/128 dev cali1 nodad");
    world.node.set("ipv4/conf/cali1/proxy_arp", "1");
    world.node.ip("route add 10.244.0.5 dev cali1 scope link src 10.9.0.2");
    world.node.ip("-6 route add fd00:244::5 dev cali1");
    pod.ip("address add 10.244.0.5/32 dev eth0");
    pod.ip("address add fd00:244::5/128 dev eth0 nodad");
    pod.ip("link set eth0 up");
    pod.ip("route add 169.254.1.1 dev eth0 scope link");
    pod.ip("route add default via 169.254.1.1 dev eth0");
    pod.ip("-6 route add fd00:244::1 dev eth0");
    pod.ip("-6 route add default via fd00:244::1 dev eth0");
    pod
}

#[test]
fn a_further_interface_of_an_overlay_pod_has_its_table_and_leaves_nothing() {
    let world = World::new();
    let pod = overlay_pod(&world);
    world.attach(&pod, "net1", 1, 5);
    let before = (world.node.all(), pod.all());
    let runtime = Runtime::new(&pod, "overlay").with_interface("net1");
    runtime.cluster_with("overlayPodCIDR", json!(["10.244.0.0/16", "fd00:244::/64"]));
    runtime.must(&world.node, "ADD");
    let made = (world.node.all(), pod.all());
    runtime.must(&world.node, "CHECK");
    runtime.must(&world.node, "ADD");
    assert_eq!((world.node.all(), pod.all()), made);
    assert!(!pod.all().contains("veth0"), "no cable of our own");
    let main = pod.ip("route show table main");
    for wanted in [
        "default via 169.254.1.1 dev eth0",
        "10.9.0.2 dev eth0 proto 83 scope link src 10.244.0.5",
        "10.96.0.0/12 via 10.9.0.2 dev eth0",
    ] {
        assert!(main.contains(wanted), "{wanted} is not in\n{main}");
    }
    assert_eq!(main.matches("default").count(), 1, "{main}");
    let rules = pod.ip("rule show");
    assert!(
        rules.contains("from 10.244.0.5 lookup 101") && rules.contains("from 10.9.1.5 lookup 102"),
        "{rules}"
    );
    assert!(pod.ip("route show table 102").contains("default via 10.9.1.1 dev net1"));
    assert!(world.node.ip("route show table 500").contains("10.9.1.5 dev cali1 proto 83 scope link"));

    world.node.serve("10.9.0.2:80");
    world.node.serve_udp("10.9.0.2:53");
    world.outside.serve_udp("198.51.100.7:53");
    assert_eq!(pod.call("10.9.0.2:80"), Some("10.244.0.5".parse().unwrap()));
    assert_eq!(pod.call_udp("10.9.1.5", "10.9.0.2:53"), Some("10.9.1.5".parse().unwrap()));
    assert_eq!(pod.call_udp("10.9.1.5", "198.51.100.7:53"), Some("10.9.1.5".parse().unwrap()));
    pod.serve("10.9.1.5:80");
    assert!(world.node.call("10.9.1.5:80").is_some());
    // A client in the further interface's subnet that calls the overlay's address is answered through the overlay.
    assert!(pod.ip("route get 10.9.1.77 from 10.244.0.5").contains("dev eth0"));

    runtime.must(&world.node, "DEL");
    let node: Vec<_> =
        world.node.all().lines().filter(|line| !line.contains("lookup 500")).map(str::to_owned).collect();
    assert_eq!(node.join("\n"), before.0);
}
