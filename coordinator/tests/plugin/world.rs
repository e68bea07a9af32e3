use std::process::Command;

use crate::space::Space;

/// A node with three network interfaces, each of its own subnet, and outside, where their gateways are.
///
/// The subnets of interface `N` are `10.9.N.0/24` and `fd00:9:N::/64`; the gateway is 1 and the node is 2.
pub(crate) struct World {
    pub(crate) node: Space,
    pub(crate) outside: Space,
}

impl World {
    pub(crate) fn new() -> Self {
        let (node, outside) = (Space::new(), Space::new());
        for n in 0..3 {
            outside.ip(&format!("link add port{n} type veth peer name eth{n} netns {}", node.pid()));
            outside.ip(&format!("link set port{n} up"));
            outside.ip(&format!("address add 10.9.{n}.1/24 dev port{n}"));
            outside.ip(&format!("address add fd00:9:{n}::1/64 dev port{n} nodad"));
            node.ip(&format!("link set eth{n} up"));
            node.ip(&format!("address add 10.9.{n}.2/24 dev eth{n}"));
            node.ip(&format!("address add fd00:9:{n}::2/64 dev eth{n} nodad"));
        }
        node.ip("route add default via 10.9.0.1");
        node.ip("route add default via fd00:9:0::1");
        outside.ip("address add 198.51.100.7/32 dev lo");
        outside.ip("address add 2001:db8::7/128 dev lo");
        for space in [&node, &outside] {
            space.set("ipv4/ip_forward", "1");
            space.set("ipv6/conf/all/forwarding", "1");
        }
        Self { node, outside }
    }

    /// An interface of a pod on one of the node's: `10.9.N.last` and `fd00:9:N::last`, with default routes as CNI plugins make
    /// them; for one that is not the first they have a higher metric only if `metric` says so.
    pub(crate) fn attach(&self, pod: &Space, name: &str, n: u8, last: u8) {
        // As in a cloud, where the kernel has it.
        let kind = if self.has_ipvlan() { "ipvlan mode l2" } else { "macvlan mode bridge" };
        self.attach_as(kind, pod, name, n, last);
    }

    /// Whether this kernel has ipvlan.
    pub(crate) fn has_ipvlan(&self) -> bool {
        let try_it =
            || Command::new("ip").args("link add link eth2 name probe type ipvlan".split(' ')).output();
        let is_there = self.node.inside(try_it).unwrap().status.success();
        if is_there {
            self.node.ip("link del probe");
        }
        is_there
    }

    pub(crate) fn attach_as(&self, kind: &str, pod: &Space, name: &str, n: u8, last: u8) {
        self.node.ip(&format!("link add link eth{n} name m{last}n{n} netns {} type {kind}", pod.pid()));
        pod.ip(&format!("link set m{last}n{n} name {name}"));
        pod.ip(&format!("address add 10.9.{n}.{last}/24 dev {name}"));
        pod.ip(&format!("address add fd00:9:{n}::{last}/64 dev {name} nodad"));
        pod.ip(&format!("link set {name} up"));
        let metric = if name == "eth0" { String::new() } else { format!(" metric {}", 2000 + u32::from(n)) };
        pod.ip(&format!("route add default via 10.9.{n}.1 dev {name}{metric}"));
        pod.ip(&format!("-6 route add default via fd00:9:{n}::1 dev {name}{metric}"));
    }

    /// A pod with its first interface.
    pub(crate) fn pod(&self, last: u8) -> Space {
        let pod = Space::new();
        self.attach(&pod, "eth0", 0, last);
        pod
    }
}
