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
        let (mut nodes, mut outsides) = (Vec::new(), Vec::new());
        for n in 0..3 {
            outsides.extend([
                format!("link add port{n} type veth peer name eth{n} netns {}", node.pid()),
                format!("link set port{n} up"),
                format!("address add 10.9.{n}.1/24 dev port{n}"),
                format!("address add fd00:9:{n}::1/64 dev port{n} nodad"),
            ]);
            nodes.extend([
                format!("link set eth{n} up"),
                format!("address add 10.9.{n}.2/24 dev eth{n}"),
                format!("address add fd00:9:{n}::2/64 dev eth{n} nodad"),
            ]);
        }
        nodes.extend(["10.9.0.1", "fd00:9:0::1"].map(|gateway| format!("route add default via {gateway}")));
        outsides.extend(["198.51.100.7/32", "2001:db8::7/128"].map(|ip| format!("address add {ip} dev lo")));
        outside.ip_batch(&[], &outsides);
        node.ip_batch(&[], &nodes);
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
        kernel_has("ipvlan", is_there)
    }

    pub(crate) fn attach_as(&self, kind: &str, pod: &Space, name: &str, n: u8, last: u8) {
        self.node.ip(&format!("link add link eth{n} name m{last}n{n} netns {} type {kind}", pod.pid()));
        let metric = if name == "eth0" { String::new() } else { format!(" metric {}", 2000 + u32::from(n)) };
        let plan = [
            format!("link set m{last}n{n} name {name}"),
            format!("address add 10.9.{n}.{last}/24 dev {name}"),
            format!("address add fd00:9:{n}::{last}/64 dev {name} nodad"),
            format!("link set {name} up"),
            format!("route add default via 10.9.{n}.1 dev {name}{metric}"),
            format!("route add default via fd00:9:{n}::1 dev {name}{metric}"),
        ];
        pod.ip_batch(&[], &plan);
    }

    /// A pod with its first interface.
    pub(crate) fn pod(&self, last: u8) -> Space {
        let pod = Space::new();
        self.attach(&pod, "eth0", 0, last);
        pod
    }
}

/// Passes on whether this kernel has a feature. Who booted the kernel may say of which features it is (`SPIDERPOOL_KERNEL`): then
/// a test cannot take the other way by mistake.
pub(crate) fn kernel_has(feature: &str, found: bool) -> bool {
    if let Ok(features) = std::env::var("SPIDERPOOL_KERNEL") {
        let is_said = features.split(' ').any(|it| it == feature);
        assert_eq!(found, is_said, "{feature}, in a kernel that is said to have {features:?}");
    }
    found
}
