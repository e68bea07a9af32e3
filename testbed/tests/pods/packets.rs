//! Pods on one NIC, on the other and on both, and who reaches whom.

use std::net::IpAddr;

use testbed::{NAT_V4, WORLD_V4, WORLD_V6};

use crate::pod::{Draft, Pod};
use crate::space::Space;
use crate::stage::{PATIENCE, SECOND_NETWORK, Stage, stage};

/// Makes sure that each address of a pod's interface is recorded as the pod's in the pool of that node and NIC, and offered there.
fn of_the_pools(stage: &Stage, pod: &Pod, interface: &str, nic: &str) {
    let addresses = pod.of(interface);
    assert_eq!(addresses.iter().map(IpAddr::is_ipv6).collect::<Vec<_>>(), [false, true], "{pod:?}");
    let id = format!("eni-bp1{}{}", pod.node, nic.trim_start_matches("eth"));
    let assigned = stage.nodes.cloud().edit(|cloud| cloud.world().nic(&id).unwrap().addresses());
    for address in addresses {
        let pool = stage.pool(&pod.node, nic, address);
        let record = pool.held.iter().find(|record| record.address == address);
        let record = record.unwrap_or_else(|| panic!("{address} is not held in {pool:?}"));
        assert_eq!((&record.uid, &record.pod), (&pod.uid, &format!("{}/{}", pod.namespace, pod.name)));
        assert!(assigned.contains(&address), "{address} is not of {id}: {assigned:?}");
    }
}

#[test]
fn pods_get_addresses_of_the_nics_they_ask_for_and_can_be_looked_into() {
    let stage = stage();
    let space = Space::new(&stage, "nics");
    let [first, second, both] = space.run([
        Draft::new("first", "master"),
        Draft::new("second", "worker").default_network(SECOND_NETWORK),
        Draft::new("both", "worker").networks(SECOND_NETWORK),
    ]);
    of_the_pools(&stage, &first, "eth0", "eth0");
    of_the_pools(&stage, &second, "eth0", "eth1");
    of_the_pools(&stage, &both, "eth0", "eth0");
    of_the_pools(&stage, &both, "net1", "eth1");
    for pod in [&first, &second, &both] {
        let mut ips = pod.ips.clone();
        ips.sort_by_key(IpAddr::is_ipv6);
        assert_eq!(ips, pod.of("eth0"), "what kubelet says and what Multus says are one");
        let log = stage.eventually("the pod's log can be read", || {
            match stage.kubectl_now(&["logs", "-n", &space.name, &pod.name])? {
                log if log.contains("serving") => Ok(log),
                log => Err(log),
            }
        });
        assert!(log.contains("8080"), "{log}");
        let host = space.exec(&pod.name, &["/bin/probe", "get", "http://127.0.0.1:8080/"]).unwrap();
        assert!(host.contains(&format!(r#""hostname":"{}""#, pod.name)), "{host}");
    }
    space.clear(PATIENCE);
}

#[test]
fn packets_flow_on_a_node_across_nodes_across_subnets_and_to_the_world() {
    let stage = stage();
    let space = Space::new(&stage, "flow");
    let [a, b, far, second, far_second, both] = space.run([
        Draft::new("a", "master"),
        Draft::new("b", "master"),
        Draft::new("far", "worker"),
        Draft::new("second", "master").default_network(SECOND_NETWORK),
        Draft::new("far-second", "worker").default_network(SECOND_NETWORK),
        Draft::new("both", "master").networks(SECOND_NETWORK),
    ]);
    let ways = [
        ("on one node", &a, &b, "eth0"),
        ("across nodes", &a, &far, "eth0"),
        ("across subnets on one node", &a, &second, "eth0"),
        ("across nodes and subnets", &far_second, &b, "eth0"),
        ("across nodes on the second NIC", &second, &far_second, "eth0"),
        ("to the further interface of a pod", &far_second, &both, "net1"),
        ("out of a pod with two", &both, &far, "eth0"),
    ];
    for (what, from, to, interface) in ways {
        println!("{what}: {} -> {}", from.name, to.name);
        for (source, address) in from.of("eth0").into_iter().zip(to.of(interface)) {
            space.reaches(from, source, to, address);
        }
    }
    // A pod with both leaves by the NIC whose subnet it asks.
    for (source, address) in both.of("net1").into_iter().zip(second.of("eth0")) {
        space.reaches(&both, source, &second, address);
    }
    for pod in [&a, &far_second, &both] {
        assert_eq!(space.seen_by(pod, WORLD_V4.into()), NAT_V4.to_string(), "{}", pod.name);
        // Of two NICs, the first has the default route.
        let seen: IpAddr = space.seen_by(pod, WORLD_V6.into()).parse().unwrap();
        assert!(pod.of("eth0").contains(&seen), "{seen} of {pod:?}");
    }
    space.clear(PATIENCE);
}
