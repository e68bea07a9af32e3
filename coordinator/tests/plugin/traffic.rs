//! Packets.

use std::net::IpAddr;
use std::process::Command;

use coordinator::refresh::refresh;
use coordinator::services::{MASQUERADE_MARK, Marked, masquerade as masquerade_services};
use netlink::{Block, Chain, Family, GROUP, Hook, Nftables, Statement, Table, xtables};
use serde_json::json;

use crate::call::Runtime;
use crate::space::Space;
use crate::world::{World, kernel_has};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn block(text: &str) -> Block {
    let (address, prefix) = text.split_once('/').unwrap();
    Block::holding(ip(address), prefix.parse().unwrap()).unwrap()
}

/// A pod with the coordinator.
fn pod(world: &World, last: u8) -> Space {
    let pod = world.pod(last);
    Runtime::new(&pod, &format!("pod{last}-of-this-test")).must(&world.node, "ADD");
    pod
}

fn plug(world: &World, pod: &Space, last: u8, name: &str, n: u8) {
    world.attach(pod, name, n, last);
    Runtime::new(pod, &format!("pod{last}-of-this-test")).with_interface(name).must(&world.node, "ADD");
}

/// What kube-proxy does to a service with one endpoint.
pub(crate) fn service(node: &Space, name: &str, address: &str, endpoint: &str) {
    let rule = vec![Statement::GoesTo(ip(address)), Statement::SendTo(ip(endpoint))];
    let chain = Chain { name: "nat".to_owned(), hook: Hook::DestinationNat, rules: vec![rule] };
    let table = Table { name: name.to_owned(), chains: vec![chain] };
    if !replaced(node, &table) {
        iptables(
            node,
            Family::of(ip(address)),
            &format!("PREROUTING -d {address} -j DNAT --to-destination {endpoint}"),
        );
    }
}

/// Whether this kernel's nftables take it.
fn replaced(node: &Space, table: &Table) -> bool {
    let take = || Nftables::open().unwrap().is_some_and(|mut nftables| nftables.replace(table).unwrap());
    kernel_has("nftables", node.inside(take))
}

/// For kernels without nftables.
fn iptables(node: &Space, family: Family, rule: &str) {
    let program = if family == Family::V4 { "iptables" } else { "ip6tables" };
    let mut command = Command::new(program);
    command.args(["-w", "-t", "nat", "-A"]).args(rule.split(' '));
    assert!(node.inside(|| command.status()).unwrap().success(), "{rule}");
}

#[test]
fn a_pod_and_its_node_reach_each_other_in_both_families() {
    let world = World::new();
    let bare = world.pod(6);
    bare.serve("10.9.0.6:80");
    for at in ["10.9.0.2:80", "[fd00:9::2]:80", "10.9.1.2:80", "[fd00:9:2::2]:80"] {
        world.node.serve(at);
    }
    assert_eq!(world.node.call_once("10.9.0.6:80"), None, "macvlan keeps them apart, as ipvlan does");
    let pod = pod(&world, 5);
    pod.serve("10.9.0.5:80");
    pod.serve("[fd00:9::5]:80");
    assert_eq!(pod.call("10.9.0.2:80"), Some(ip("10.9.0.5")));
    assert_eq!(pod.call("[fd00:9::2]:80"), Some(ip("fd00:9::5")));
    assert_eq!(pod.call("10.9.1.2:80"), Some(ip("10.9.0.5")));
    assert_eq!(pod.call("[fd00:9:2::2]:80"), Some(ip("fd00:9::5")));
    assert_eq!(world.node.call("10.9.0.5:80"), Some(ip("10.9.0.2")));
    assert!(world.node.call("[fd00:9::5]:80").is_some());
}

#[test]
fn a_pod_reaches_the_world_by_its_own_interface() {
    let world = World::new();
    let pod = pod(&world, 5);
    world.outside.serve("198.51.100.7:80");
    world.outside.serve("[2001:db8::7]:80");
    assert_eq!(pod.call("198.51.100.7:80"), Some(ip("10.9.0.5")));
    assert_eq!(pod.call("[2001:db8::7]:80"), Some(ip("fd00:9::5")));
}

#[test]
fn a_service_is_reached_through_the_node_be_its_endpoint_the_node_or_a_pod_beside() {
    let world = World::new();
    let (pod, beside) = (pod(&world, 5), pod(&world, 6));
    for (name, at, service_at, endpoint) in
        [("a", "10.9.0.2:80", "10.96.0.20", "10.9.0.2"), ("b", "[fd00:9::2]:80", "fd00:96::20", "fd00:9::2")]
    {
        world.node.serve(at);
        service(&world.node, name, service_at, endpoint);
    }
    assert_eq!(pod.call("10.96.0.20:80"), Some(ip("10.9.0.5")));
    assert_eq!(pod.call("[fd00:96::20]:80"), Some(ip("fd00:9::5")));
    beside.serve("10.9.0.6:80");
    beside.serve("[fd00:9::6]:80");
    beside.serve_udp("10.9.0.6:53");
    service(&world.node, "c", "10.96.0.21", "10.9.0.6");
    service(&world.node, "d", "fd00:96::21", "fd00:9::6");
    assert_eq!(pod.call("10.96.0.21:80"), Some(ip("10.9.0.5")));
    assert_eq!(pod.call("[fd00:96::21]:80"), Some(ip("fd00:9::5")));
    assert_eq!(pod.call_udp("10.9.0.5", "10.96.0.21:53"), Some(ip("10.9.0.5")));
}

#[test]
fn a_client_behind_the_node_is_answered_through_the_node_and_seen_as_itself() {
    let world = World::new();
    let pod = pod(&world, 5);
    // The balancer's addresses lead to the node, which keeps the client's address (externalTrafficPolicy Local).
    world.outside.ip("route add 192.0.2.10 via 10.9.0.2 src 198.51.100.7");
    world.outside.ip("route add 2001:db8:1::10 via fd00:9::2 src 2001:db8::7");
    service(&world.node, "a", "192.0.2.10", "10.9.0.5");
    service(&world.node, "b", "2001:db8:1::10", "fd00:9::5");
    pod.serve("10.9.0.5:80");
    pod.serve("[fd00:9::5]:80");
    pod.serve_udp("10.9.0.5:53");
    assert_eq!(world.outside.call("192.0.2.10:80"), Some(ip("198.51.100.7")));
    assert_eq!(world.outside.call("[2001:db8:1::10]:80"), Some(ip("2001:db8::7")));
    assert_eq!(world.outside.call_udp("198.51.100.7", "192.0.2.10:53"), Some(ip("198.51.100.7")));
    // That is the marks' work, which are made by nftables where it is.
    let nftables =
        || Nftables::open().unwrap().and_then(|mut nftables| nftables.rules("spiderpool").unwrap());
    kernel_has("nftables", pod.inside(nftables).is_some());
    let marks = xtables::Marks::Replies { input: "veth0", mark: 0x2000_0000 };
    pod.inside(|| Nftables::open().unwrap().map(|mut nftables| nftables.remove("spiderpool").unwrap()));
    for family in Family::BOTH {
        pod.inside(|| xtables::unmark(family, &marks)).unwrap();
    }
    assert_eq!(world.outside.call_once("192.0.2.10:80"), None);
    assert_eq!(world.outside.call_once("[2001:db8:1::10]:80"), None);
    // Kernels without nftables do the same by their older packet filter.
    for family in Family::BOTH {
        assert_eq!(pod.inside(|| xtables::mark(family, &marks)).unwrap(), Some(true));
    }
    assert_eq!(world.outside.call("192.0.2.10:80"), Some(ip("198.51.100.7")));
    assert_eq!(world.outside.call("[2001:db8:1::10]:80"), Some(ip("2001:db8::7")));
    assert_eq!(world.outside.call_udp("198.51.100.7", "192.0.2.10:53"), Some(ip("198.51.100.7")));
}

#[test]
fn each_of_three_interfaces_answers_for_its_own_addresses() {
    let world = World::new();
    let pod = pod(&world, 5);
    plug(&world, &pod, 5, "net1", 1);
    plug(&world, &pod, 5, "net2", 2);
    // As a cloud: what comes from the wrong interface is dropped.
    world.outside.set("ipv4/conf/all/rp_filter", "1");
    for n in 0..3 {
        pod.serve(&format!("10.9.{n}.5:80"));
        pod.serve(&format!("[fd00:9:{n}::5]:80"));
        world.outside.set(&format!("ipv4/conf/port{n}/rp_filter"), "1");
    }
    for n in 0..3 {
        world.outside.ip(&format!("route add 10.9.{n}.5 dev port{n} src 198.51.100.7"));
        assert_eq!(world.outside.call(&format!("10.9.{n}.5:80")), Some(ip("198.51.100.7")), "interface {n}");
        assert!(world.outside.call(&format!("[fd00:9:{n}::5]:80")).is_some());
        // A client whose subnet another interface of the pod is in.
        let other = (n + 1) % 3;
        world.outside.ip(&format!("route replace 10.9.{n}.5 dev port{n} src 10.9.{other}.1"));
        assert_eq!(world.outside.call(&format!("10.9.{n}.5:80")), Some(ip(&format!("10.9.{other}.1"))));
    }
}

#[test]
fn whatever_reverse_path_filter_the_node_has_every_interface_reaches_it() {
    for filter in ["0", "1", "2"] {
        let world = World::new();
        world.node.set("ipv4/conf/all/rp_filter", filter);
        world.node.set("ipv4/conf/default/rp_filter", filter);
        let pod = pod(&world, 5);
        plug(&world, &pod, 5, "net1", 1);
        plug(&world, &pod, 5, "net2", 2);
        for n in 0..3 {
            world.node.serve_udp(&format!("10.9.{n}.2:53"));
            pod.serve_udp(&format!("10.9.{n}.5:53"));
        }
        for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2)] {
            let (from, to) = (format!("10.9.{from}.5"), format!("10.9.{to}.2:53"));
            assert_eq!(pod.call_udp(&from, &to), Some(ip(&from)), "filter {filter}");
        }
        for n in 0..3 {
            assert!(
                world.node.call_udp("0.0.0.0", &format!("10.9.{n}.5:53")).is_some(),
                "filter {filter}, {n}"
            );
        }
        assert_eq!(world.node.get("ipv4/conf/all/rp_filter"), filter, "the node's own is nobody's business");
    }
}

#[test]
fn two_pods_with_each_others_interface_as_default_reach_each_other_and_services() {
    let world = World::new();
    let (one, two) = (pod(&world, 5), pod(&world, 6));
    world.attach(&two, "net1", 1, 6);
    let runtime = Runtime::new(&two, "pod6-of-this-test").with_interface("net1");
    runtime.cluster_with("podDefaultRouteNIC", json!("net1"));
    runtime.must(&world.node, "ADD");
    plug(&world, &one, 5, "net1", 1);
    for n in 0..2 {
        one.serve_udp(&format!("10.9.{n}.5:53"));
        two.serve_udp(&format!("10.9.{n}.6:53"));
    }
    for n in 0..2 {
        let (from, to) = (format!("10.9.{n}.5"), format!("10.9.{n}.6"));
        assert_eq!(one.call_udp(&from, &format!("{to}:53")), Some(ip(&from)));
        assert_eq!(two.call_udp(&to, &format!("{from}:53")), Some(ip(&to)));
    }
    world.node.serve("10.9.0.2:80");
    service(&world.node, "a", "10.96.0.20", "10.9.0.2");
    assert!(one.call("10.96.0.20:80").is_some() && two.call("10.96.0.20:80").is_some());
}

#[test]
fn a_service_whose_endpoint_is_elsewhere_answers_when_kube_proxy_is_asked_to_masquerade() {
    let world = World::new();
    let pod = pod(&world, 5);
    world.outside.ip("address add 10.9.0.77/24 dev port0");
    world.outside.ip("address add fd00:9::77/64 dev port0 nodad");
    world.outside.serve("10.9.0.77:80");
    world.outside.serve("[fd00:9::77]:80");
    service(&world.node, "a", "10.96.0.30", "10.9.0.77");
    service(&world.node, "b", "fd00:96::30", "fd00:9::77");
    // What kube-proxy does with what has its mark, in whichever mode.
    let masquerade = vec![Statement::PacketHas(MASQUERADE_MARK), Statement::Masquerade];
    let chain = Chain { name: "nat".to_owned(), hook: Hook::SourceNat, rules: vec![masquerade] };
    let kube_proxy = Table { name: "kube-proxy".to_owned(), chains: vec![chain] };
    if !replaced(&world.node, &kube_proxy) {
        for family in Family::BOTH {
            iptables(&world.node, family, "POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE");
        }
    }
    let ask = |blocks: &[Block]| {
        assert_eq!(world.node.inside(|| masquerade_services(blocks, MASQUERADE_MARK)).unwrap(), Marked::Yes);
    };
    let blocks = [block("10.96.0.0/12"), block("fd00:96::/112")];

    assert_eq!(pod.call_once("10.96.0.30:80"), None, "the endpoint answers past the node");
    ask(&blocks);
    ask(&blocks);
    assert_eq!(pod.call("10.96.0.30:80"), Some(ip("10.9.0.2")));
    assert!(pod.call("[fd00:96::30]:80").is_some());
    // A NodePort of the pod's own node, at an address that came after the marks.
    world.node.ip("address add 10.9.1.99/24 dev eth1");
    world.node.ip("address add fd00:9:1::99/64 dev eth1 nodad");
    service(&world.node, "c", "10.9.1.99", "10.9.0.77");
    service(&world.node, "d", "fd00:9:1::99", "fd00:9::77");
    world.node.inside(|| refresh(&pod.path(), "eth0", 500)).unwrap();
    assert!(pod.ip("route show table main").contains("10.9.1.99 dev veth0"));
    assert_eq!(pod.call("10.9.1.99:80"), Some(ip("10.9.0.2")));
    assert!(pod.call("[fd00:9:1::99]:80").is_some());
    // Only services: the node sees the pod as itself, and so does the world.
    world.node.serve("10.9.0.2:80");
    assert_eq!(pod.call("10.9.0.2:80"), Some(ip("10.9.0.5")));
    assert_eq!(pod.call("10.9.0.77:80"), Some(ip("10.9.0.5")));
    ask(&[]);
    assert_eq!(pod.call_once("10.96.0.30:80"), None);

    // The same by the older packet filter.
    let (blocks, own) = (&blocks[..], xtables::Own::Marked);
    let marks = xtables::Marks::Destinations { group: GROUP, blocks, own, mark: MASQUERADE_MARK };
    for family in Family::BOTH {
        assert_eq!(world.node.inside(|| xtables::mark(family, &marks)).unwrap(), Some(true));
    }
    assert_eq!(pod.call("10.96.0.30:80"), Some(ip("10.9.0.2")));
    assert!(pod.call("[fd00:96::30]:80").is_some());
    assert_eq!(pod.call("10.9.1.99:80"), Some(ip("10.9.0.2")));
    assert!(pod.call("[fd00:9:1::99]:80").is_some());
    assert_eq!(pod.call("10.9.0.2:80"), Some(ip("10.9.0.5")));
    ask(&[]);
    assert_eq!(pod.call_once("10.96.0.30:80"), None);
    assert_eq!(pod.call_once("10.9.1.99:80"), None);
}
