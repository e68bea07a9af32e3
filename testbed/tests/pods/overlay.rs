//! Pods of an overlay network, whose further interface has an address of the cloud.

use std::net::IpAddr;

use serde_json::{Value, json};
use testbed::{NAT_V4, Plugins, WORLD_V4, WORLD_V6};

use crate::paths::{KUBELET, at};
use crate::pod::Draft;
use crate::services::{NODES, all_answer, ask_from_outside, heard, service, target};
use crate::space::Space;
use crate::stage::{PATIENCE, SECOND_NETWORK, stage};

/// The cloud's addresses of the nodes' first NICs.
const FIRST_NETWORK: &str = "kube-system/ipvlan-eth0";

/// A node's part of an overlay: its pods have addresses that exist in the cluster only, and go out as the node.
fn overlay(node: &str, number: usize, namespace: &str) -> Value {
    let config = json!({
        "cniVersion": "1.0.0", "name": "overlay", "type": "ptp", "ipMasq": true,
        "ipam": {
            "type": "host-local", "dataDir": "/run/overlay",
            "ranges": [[{"subnet": format!("10.244.{number}.0/24")}], [{"subnet": format!("fd00:10:244:{number}::/64")}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    });
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": format!("overlay-{node}"), "namespace": namespace}, "spec": {"config": config.to_string()},
    })
}

#[test]
fn a_pod_of_an_overlay_has_a_second_interface_in_the_cloud_and_each_way_goes_where_it_belongs() {
    let stage = stage();
    let space = Space::new(&stage, "overlay");
    for (node, number) in NODES.into_iter().zip(1..) {
        space.apply(&overlay(node, number, &space.name));
    }
    let in_overlay = |name: &str, node: &str| {
        let network = format!("{}/overlay-{node}", space.name);
        Draft::new(name, node).default_network(&network)
    };
    let [near, far, web, far_web] = space.run([
        in_overlay("near", "master").networks(FIRST_NETWORK),
        in_overlay("far", "worker").networks(FIRST_NETWORK),
        Draft::new("web", "master").app("web"),
        Draft::new("far-web", "worker").app("web"),
    ]);
    assert!(near.of("eth0")[0].to_string().starts_with("10.244.1."), "{near:?}");

    // In the cloud's subnets by the interface that is in them, be it asked or asking.
    for (from, to) in [(&near, &far), (&far, &near)] {
        for (source, address) in from.of("net1").into_iter().zip(to.of("net1")) {
            space.reaches(from, source, to, address);
        }
    }
    for (source, address) in web.of("eth0").into_iter().zip(near.of("net1")) {
        space.reaches(&far_web, far_web.of("eth0")[usize::from(source.is_ipv6())], &near, address);
        // What comes from elsewhere is answered by the way on which it came, though the default route is the overlay's.
        let answer = ask_from_outside(&stage, &target(address, 8080), 20);
        let answer = answer.unwrap_or_else(|error| panic!("{address}: {error}\n{}", stage.logs()));
        assert_eq!(heard(&answer).1, near.name);
    }

    // To the world by the overlay, as the node.
    assert_eq!(space.seen_by(&near, WORLD_V4.into()), NAT_V4.to_string());
    let own = stage.node_addresses("master");
    assert_eq!(space.seen_by(&near, WORLD_V6.into()), own[1].to_string());

    // Nodes and services, and back.
    for node in NODES {
        for address in stage.node_addresses(node) {
            let look = ["loop", "--for", "200ms", "--timeout", "10s", &at(address, KUBELET)];
            space.probe("near", &look).unwrap_or_else(|error| panic!("{node}: {error}\n{}", stage.logs()));
        }
    }
    for address in service(&space, "web", "web", &json!({})) {
        let url = target(address, 80);
        stage.eventually("the service is there", || space.ask("near", &url, 5));
        all_answer(&stage, &url, &[&web, &far_web], || space.ask("near", &url, 20));
    }
    let probe = Plugins::ensure().unwrap().probe();
    for interface in ["eth0", "net1"] {
        for address in near.of(interface) {
            let ask = format!("'{}' get --timeout 20s '{}'", probe.display(), target(address, 8080));
            let answer = stage.guest("master").sh(&ask).unwrap();
            assert_eq!(heard(&serde_json::from_str(&answer).unwrap()).1, near.name, "{address}");
        }
    }

    // With two further interfaces, of which one is named for the default route.
    let networks = format!("{FIRST_NETWORK},{SECOND_NETWORK}");
    let draft = in_overlay("two", "worker").networks(&networks).default_route("net1");
    let [two] = space.run([draft]);
    let seen: IpAddr = space.seen_by(&two, WORLD_V6.into()).parse().unwrap();
    assert_eq!(seen, two.of("net1")[1], "the world sees {two:?}");
    for interface in ["net1", "net2"] {
        for address in two.of(interface) {
            let answer = ask_from_outside(&stage, &target(address, 8080), 20);
            let answer = answer.unwrap_or_else(|error| panic!("{address}: {error}\n{}", stage.logs()));
            assert_eq!(heard(&answer).1, two.name);
        }
    }

    let ways = near.of("net1");
    space.clear(PATIENCE);
    for address in ways {
        let family = if address.is_ipv6() { "-6" } else { "-4" };
        let left = stage.guest("master").sh(&format!("ip {family} route show table 500 {address}")).unwrap();
        assert_eq!(left, "", "the way to a pod that is gone");
    }
}
