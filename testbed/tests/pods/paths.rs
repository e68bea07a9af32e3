//! Which way packets take, and that they keep taking it while agents come and go and the node changes.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use testbed::{WORLD_V4, WORLD_V6};

use crate::pod::{Draft, Pod};
use crate::space::{PORT, Space};
use crate::stage::{PATIENCE, SECOND_NETWORK, Stage, stage, stage_alone};

/// Where the probe of every pod takes connections.
const TCP: u16 = 8081;
/// Where it answers each datagram with one.
const UDP: u16 = 8080;
/// Where every kubelet does.
pub(crate) const KUBELET: u16 = 10_250;
/// For how long there is traffic that must all arrive, and how often something is sent.
const LOOP: [&str; 6] = ["--interval", "100ms", "--for", "25s", "--timeout", "10s"];

pub(crate) fn at(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::from((address, port)).to_string()
}

#[test]
fn of_two_pods_with_two_nics_each_has_another_one_for_the_default_route() {
    let stage = stage();
    let space = Space::new(&stage, "routes");
    let both = |name: &str, node: &str| Draft::new(name, node).networks(SECOND_NETWORK);
    let [first, second] =
        space.run([both("first", "master"), both("second", "worker").default_route("net1")]);
    for (pod, interface) in [(&first, "eth0"), (&second, "net1")] {
        let seen: IpAddr = space.seen_by(pod, WORLD_V6.into()).parse().unwrap();
        assert_eq!(seen, pod.of(interface)[1], "{} goes by {interface}", pod.name);
        assert_eq!(space.seen_by(pod, WORLD_V4.into()), testbed::NAT_V4.to_string());
    }
    for (from, to) in [(&first, &second), (&second, &first)] {
        for interface in ["eth0", "net1"] {
            for (source, address) in from.of(interface).into_iter().zip(to.of(interface)) {
                space.reaches(from, source, to, address);
            }
        }
    }
    space.clear(PATIENCE);
}

/// Connects again and again; returns what was lost.
fn connect(space: &Space, pod: &Pod, target: &str) -> Value {
    let text = space.probe(&pod.name, &[&["loop"], &LOOP[..], &[target]].concat());
    serde_json::from_str(&text.unwrap_or_else(|error| panic!("{target}: {error}"))).unwrap()
}

fn kill_agents(stage: &Stage) {
    for guest in stage.nodes.guests() {
        guest.run("kill -9 $(cat /run/agent.pid)").unwrap();
    }
}

#[test]
fn no_packet_is_lost_while_agents_are_killed_and_a_pod_follows_its_nodes_addresses() {
    let stage = stage_alone();
    let space = Space::new(&stage, "steady");
    let [near, far] = space.run([Draft::new("near", "master"), Draft::new("far", "worker")]);
    let own = stage.node_addresses("master")[0];
    let [v4, v6] = far.of("eth0")[..] else { panic!("{far:?}") };
    // What is lost of a connection is sent again, of a datagram it is not.
    let datagrams = [v4, v6].map(|address| format!("udp://{}", at(address, UDP)));
    let connections = [at(v4, TCP), at(v6, TCP), at(own, KUBELET)];
    let targets: Vec<String> = connections.into_iter().chain(datagrams).collect();
    let lost = thread::scope(|scope| {
        let loops: Vec<_> =
            targets.iter().map(|target| scope.spawn(|| connect(&space, &near, target))).collect();
        for _ in 0..4 {
            thread::sleep(Duration::from_secs(5));
            kill_agents(&stage);
        }
        loops.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    for (target, said) in targets.iter().zip(&lost) {
        assert!(said["sent"].as_u64().unwrap() > 200 && said["lost"] == 0, "{target}: {said}");
    }

    // As when the node gets a further address, or a NIC: nobody asks for the pod's network again.
    let node = stage.guest("master");
    for address in ["172.31.200.250", "2001:db8:31:c0ac::c8:250"] {
        let new = at(address.parse().unwrap(), KUBELET);
        let look = ["loop", "--interval", "100ms", "--for", "200ms", "--timeout", "2s", &new];
        assert!(space.probe("near", &look).is_err(), "nobody has {address} yet");
        let flag = if address.contains(':') { " nodad" } else { "" };
        let length = if address.contains(':') { 128 } else { 32 };
        node.sh(&format!("ip addr add {address}/{length} dev eth0{flag}")).unwrap();
        stage.eventually("the pod reaches the node's new address", || space.probe("near", &look));
        node.sh(&format!("ip addr del {address}/{length} dev eth0")).unwrap();
        stage.eventually("the pod goes there no more", || match space.probe("near", &look) {
            Ok(said) => Err(said),
            Err(_) => Ok(()),
        });
    }
    space.clear(PATIENCE);
}

#[test]
fn pods_of_a_node_that_lost_its_power_have_their_addresses_again() {
    let stage = stage_alone();
    let space = Space::new(&stage, "reboot");
    let [near, far] =
        space.run([Draft::new("near", "master"), Draft::new("far", "worker").networks(SECOND_NETWORK)]);
    stage.nodes.reboot(stage.guest("worker")).unwrap();
    let own = stage.node_addresses("worker");
    stage.eventually("the pod runs again on the rebooted node", || {
        let there = space.pod("far").ok_or("it is not there")?;
        let addresses = (there.of("eth0"), there.of("net1"));
        assert_eq!((there.uid.as_str(), addresses), (far.uid.as_str(), (far.of("eth0"), far.of("net1"))));
        space.ask("far", &format!("http://{WORLD_V4}/"), 5)
    });
    space.serving("far", PORT);
    for (source, address) in near.of("eth0").into_iter().zip(far.of("eth0")) {
        space.reaches(&near, source, &far, address);
    }
    let [kubelet, ..] = own[..] else { panic!("a node without address") };
    space.probe("far", &["loop", "--for", "200ms", "--timeout", "5s", &at(kubelet, KUBELET)]).unwrap();
    space.clear(PATIENCE);
}
