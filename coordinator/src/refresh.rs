//! Keeping a running pod up to date.

use std::path::Path;

use netlink::{Error, Link, MAIN, Route, Rtnetlink};

use crate::cable::{POD_END, joined};
use crate::plan::{Cable, Plan, Running, Unfit, is_ours};
use crate::scene::Pod;
use crate::sides::{Closed, Made, Sides};

/// Why a pod was not looked after.
#[derive(Debug)]
pub enum Failed {
    /// Its namespace cannot be had; it may have gone in the meantime.
    Closed(Closed),
    /// The kernel refused. What was changed before stays, since all of it is right.
    Kernel(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(Closed::Gone(error)) | Self::Kernel(error) => error.fmt(f),
            Self::Closed(Closed::Unfit(Unfit(why))) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failed {}

/// Has a running pod reach the addresses that its node has now, and the node the pod. The name of the pod's first interface and the
/// table on the node in which the ways to pods are, are read from what is left; `first_nic` and `host_table` are for a pod of which
/// nothing is left that tells.
///
/// Returns what was changed, in words: nothing most of the time, and nothing for a pod that the coordinator never served. Blocks
/// for a millisecond or two, and takes the calling thread into the pod's namespace and back: call it on a thread of your own.
pub fn refresh(netns: &Path, first_nic: &str, host_table: u32) -> Result<Vec<String>, Failed> {
    let mut sides = Sides::open(netns).map_err(Failed::Closed)?;
    let pod = Pod::read(&mut sides.pod)?;
    let Some(cable) = cable(&mut sides, &pod)? else { return Ok(Vec::new()) };
    let first_nic = first(&pod, &cable).unwrap_or(first_nic);
    let host_table = table(&mut sides, &cable)?.unwrap_or(host_table);
    let node = sides.read_node(&pod, &cable, host_table)?;
    let running = Running { pod: &pod, node: &node, cable: &cable, first_nic, host_table };
    let Plan { pod: in_pod, node: on_node, .. } = running.plan();
    let words = |netlink: &Rtnetlink, changes: &[netlink::Change]| {
        changes.iter().map(|change| netlink.describe(change)).collect::<Vec<_>>()
    };
    let mut done = words(&sides.node, &on_node);
    done.extend(words(&sides.pod, &in_pod).into_iter().map(|text| format!("{text} in the pod")));
    let mut made = Made::default();
    let outcome = made.on_node(&mut sides, &on_node);
    made.in_pod(&mut sides, &in_pod)?;
    outcome?;
    Ok(done)
}

/// That of a pod which has ways of ours: its own one or, in an overlay, its first interface.
fn cable(sides: &mut Sides, pod: &Pod) -> Result<Option<Cable>, Error> {
    let served = |device: u32| pod.routes.iter().any(|route| is_ours(route) && route.device == device);
    let mut ends: Vec<&Link> =
        pod.links.iter().filter(|link| link.kind == "veth" && served(link.index)).collect();
    if ends.is_empty() {
        return Ok(None);
    }
    ends.sort_by_key(|link| link.name != POD_END);
    let links = sides.node.links()?;
    let joint = |end: &Link| {
        let node = links.iter().find(|node| joined(end, node))?;
        Some(Cable { pod: end.clone(), node: node.clone() })
    };
    Ok(ends.into_iter().find_map(joint))
}

/// The pod's first interface: from its address the pod sends to the node.
fn first<'a>(pod: &'a Pod, cable: &'a Cable) -> Option<&'a str> {
    if cable.pod.name != POD_END {
        return Some(&cable.pod.name);
    }
    let to_node = |route: &&Route| {
        is_ours(route)
            && (route.device, route.table) == (cable.pod.index, MAIN)
            && route.gateway.is_none()
            && route.to.prefix() == route.to.family().bits()
    };
    let sources = pod.routes.iter().filter(to_node).filter_map(|route| route.source);
    let mut devices =
        sources.filter_map(|source| pod.addresses.iter().find(|it| it.address == source).map(|it| it.device));
    let device = devices.next()?;
    pod.links.iter().find(|link| link.index == device).map(|link| link.name.as_str())
}

/// The table on the node in which the ways to the pod are.
fn table(sides: &mut Sides, cable: &Cable) -> Result<Option<u32>, Error> {
    let routes = sides.node.routes_of_device(cable.node.index)?;
    Ok(routes.into_iter().find(is_ours).map(|route| route.table))
}
