//! The pair of interfaces between a pod and its node.

use cni::ContainerId;
use netlink::{Error, Link, Mac, Veth};

use crate::plan::{Cable, Unfit, Way};
use crate::scene::Pod;
use crate::sides::{Made, Sides};

/// The pod's end; upstream's name.
pub const POD_END: &str = "veth0";
/// What the name of the node's end begins with; upstream's.
const NODE_END: &str = "veth";
/// Of the container's ID in the name of the node's end; the kernel allows 15 bytes in all.
const OF_CONTAINER: usize = 11;

/// Both ends.
pub type Ends = Cable;

/// Why there is no cable.
#[derive(Debug)]
pub enum NoCable {
    /// The kernel refused.
    Kernel(Error),
    /// What is there is none, or none of ours.
    Unfit(Unfit),
}

impl From<Error> for NoCable {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

/// The name of the node's end for a container.
#[must_use]
pub fn node_end(container: &ContainerId) -> String {
    let id = container.as_str();
    // The grammar of IDs is ASCII.
    format!("{NODE_END}{}", id.get(..OF_CONTAINER).unwrap_or(id))
}

/// Finds the cable; nothing when an underlay pod has none yet.
pub fn find(
    sides: &mut Sides,
    pod: &Pod,
    way: Way,
    first_nic: &str,
    container: &ContainerId,
) -> Result<Option<Cable>, NoCable> {
    if way == Way::Overlay {
        return overlay(sides, pod, first_nic).map(Some);
    }
    let name = node_end(container);
    let node = sides.node.link(&name)?;
    let unfit = |why: String| Err(NoCable::Unfit(Unfit(why)));
    match (pod.link(POD_END), node) {
        (None, None) => Ok(None),
        (Some(pod), Some(node)) if joined(pod, &node) => Ok(Some(Cable { pod: pod.clone(), node })),
        (Some(pod), _) => unfit(format!(
            "the pod already has an interface {POD_END} ({}), whose other end is not {name} of this node: another plugin made it, so give its interface another name",
            if pod.kind.is_empty() { "hardware" } else { &pod.kind }
        )),
        (None, Some(_)) => unfit(format!(
            "the node already has an interface {name}, whose other end is not in this pod: remove it if nothing needs it"
        )),
    }
}

/// Both ends of one pair. That the numbers agree could be chance only if a pair of another namespace had both.
pub(crate) fn joined(pod: &Link, node: &Link) -> bool {
    pod.kind == "veth" && node.kind == "veth" && pod.peer == Some(node.index) && node.peer == Some(pod.index)
}

fn overlay(sides: &mut Sides, pod: &Pod, first_nic: &str) -> Result<Cable, NoCable> {
    let missing = |why: String| NoCable::Unfit(Unfit(why));
    let first = pod.link(first_nic).ok_or_else(|| {
        missing(format!("mode overlay needs the interface {first_nic} in the pod, which an overlay network makes, and there is none"))
    })?;
    let links = sides.node.links()?;
    let node = links.into_iter().find(|node| joined(first, node)).ok_or_else(|| {
        missing(format!(
            "mode overlay needs the node's end of {first_nic}, and {first_nic} ({}) is no veth pair with the node: use mode underlay for the pod's first interface",
            if first.kind.is_empty() { "hardware" } else { &first.kind }
        ))
    })?;
    Ok(Cable { pod: first.clone(), node })
}

/// Lays a new one.
pub fn lay(sides: &mut Sides, made: &mut Made, container: &ContainerId, mtu: u32) -> Result<Cable, NoCable> {
    let veth = Veth {
        name: node_end(container),
        mac: mac(container, "node"),
        peer_name: POD_END.to_owned(),
        peer_mac: mac(container, "pod"),
        mtu,
    };
    sides.lay(&veth)?;
    made.cable = Some(veth.name.clone());
    let gone = |name: &str| {
        NoCable::Unfit(Unfit(format!(
            "the interface {name} was removed by somebody else as soon as it was made"
        )))
    };
    let pod = sides.pod.link(POD_END)?.ok_or_else(|| gone(POD_END))?;
    made.in_pod(sides, &[netlink::Change::SetUp(pod.index)])?;
    let node = sides.node.link(&veth.name)?.ok_or_else(|| gone(&veth.name))?;
    Ok(Cable { pod, node })
}

/// A MAC address of our own making that is the same each time, and another for each container and end (FNV-1a).
fn mac(container: &ContainerId, end: &str) -> Mac {
    let hash = container.as_str().bytes().chain(end.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [_, _, first, rest @ ..] = hash.to_be_bytes();
    let mut mac = [first & 0xfc | 0x02, 0, 0, 0, 0, 0];
    // Given out by nobody, and of one interface.
    for (byte, hashed) in mac.iter_mut().skip(1).zip(rest) {
        *byte = hashed;
    }
    Mac(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_end_is_named_as_upstream_names_it() {
        let name = |id| node_end(&ContainerId::parse(id).unwrap());
        assert_eq!(name("0123456789abcdef"), "veth0123456789a");
        assert_eq!(name("short"), "vethshort");
    }

    #[test]
    fn mac_addresses_are_of_one_interface_and_given_out_by_nobody() {
        for id in ["a", "b", "0123456789abcdef", "zzz"] {
            let id = ContainerId::parse(id).unwrap();
            let (pod, node) = (mac(&id, "pod"), mac(&id, "node"));
            assert_ne!(pod, node);
            assert!(pod.0[0] & 3 == 2 && node.0[0] & 3 == 2, "{pod} {node}");
        }
    }
}
