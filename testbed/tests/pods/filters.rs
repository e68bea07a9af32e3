//! Reverse path filters of nodes with three NICs, and of pods with an interface on each.

use testbed::Plugins;

use crate::paths::{KUBELET, at};
use crate::pod::Draft;
use crate::services::{heard, target};
use crate::space::Space;
use crate::stage::{PATIENCE, SECOND_NETWORK, Stage, THIRD_NETWORK, stage_alone};

/// Sets the node's own filters, and what its further interfaces begin with.
fn filter(stage: &Stage, how: u8) {
    for guest in stage.nodes.guests() {
        guest
            .sh(&format!("for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo {how} > $file; done"))
            .unwrap();
    }
}

#[test]
fn each_of_three_interfaces_works_whatever_reverse_path_filter_the_node_has() {
    let stage = stage_alone();
    let space = Space::new(&stage, "filters");
    let probe = Plugins::ensure().unwrap().probe();
    let before = stage.guest("worker").sh("cat /proc/sys/net/ipv4/conf/all/rp_filter").unwrap();
    let before = before.trim().parse().unwrap();
    let others = space.run([
        Draft::new("first", "master"),
        Draft::new("second", "master").default_network(SECOND_NETWORK),
        Draft::new("third", "master").default_network(THIRD_NETWORK),
    ]);
    for how in [0, 1, 2] {
        filter(&stage, how);
        let name = format!("three-{how}");
        let further = format!("{SECOND_NETWORK},{THIRD_NETWORK}");
        let [three] = space.run([Draft::new(&name, "worker").networks(&further)]);
        // The kernel has such a filter for IPv4 only, so once is enough for IPv6.
        let families = if how == 1 { 2 } else { 1 };
        for (n, interface) in ["eth0", "net1", "net2"].into_iter().enumerate() {
            for (family, address) in three.of(interface).into_iter().take(families).enumerate() {
                // From its own subnet and from another, and from the node.
                for other in [&others[n], &others[(n + 1) % others.len()]] {
                    space.reaches(other, other.of("eth0")[family], &three, address);
                }
                let ask = format!("'{}' get --timeout 20s '{}'", probe.display(), target(address, 8080));
                let answer = stage.guest("worker").sh(&ask).unwrap_or_else(|error| {
                    panic!("the node does not reach {interface} at {address}, rp_filter {how}: {error}")
                });
                assert_eq!(heard(&serde_json::from_str(&answer).unwrap()).1, name, "{address}");
                space.reaches(&three, address, &others[n], others[n].of("eth0")[family]);
            }
        }
        for address in stage.node_addresses("worker").into_iter().take(families) {
            let look = ["loop", "--for", "200ms", "--timeout", "10s", &at(address, KUBELET)];
            space.probe(&name, &look).unwrap_or_else(|error| panic!("{address}, rp_filter {how}: {error}"));
        }
    }
    filter(&stage, before);
    space.clear(PATIENCE);
}
