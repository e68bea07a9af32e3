//! A load balancer, as clouds put one before a cluster: a client's connections go to one node after the other, as the client's.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::Vpc;
use crate::error::Error;

/// Has what clients at the router send to `address` go to `nodes` in turn.
pub(super) fn balance(vpc: &Vpc, address: SocketAddr, nodes: &[SocketAddr]) -> Result<(), Error> {
    let family = if address.is_ipv4() { "ip" } else { "ip6" };
    let to = format!("{family} daddr {} tcp dport {}", address.ip(), address.port());
    let mut rules = String::new();
    for (index, node) in nodes.iter().enumerate() {
        // Of what the rules before have left, the same share for each.
        let share = format!("numgen inc mod {} 0", nodes.len() - index);
        // Writing into a String cannot fail.
        let _ = writeln!(rules, "{to} {share} dnat {family} to {node}");
    }
    vpc.nft(&format!(
        "table inet balancers {{\n chain output {{\n type nat hook output priority -100;\n {rules} }}\n}}\n"
    ))
}
