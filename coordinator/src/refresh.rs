//! Keeping a running pod up to date.

use std::path::Path;

use netlink::{Error, Rtnetlink};

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

/// Has a running pod reach the addresses that its node has now, and the node the pod; `first_nic` is the pod's first interface, and
/// `host_table` the table on the node in which the ways to pods are.
///
/// Returns what was changed, in words: nothing most of the time, and nothing for a pod that the coordinator never served. Blocks
/// for a millisecond or two, and takes the calling thread into the pod's namespace and back: call it on a thread of your own.
pub fn refresh(netns: &Path, first_nic: &str, host_table: u32) -> Result<Vec<String>, Failed> {
    let mut sides = Sides::open(netns).map_err(Failed::Closed)?;
    let pod = Pod::read(&mut sides.pod)?;
    let Some(cable) = cable(&mut sides, &pod, first_nic)? else { return Ok(Vec::new()) };
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

/// That of a pod which has ways of ours.
fn cable(sides: &mut Sides, pod: &Pod, first_nic: &str) -> Result<Option<Cable>, Error> {
    let end = pod.link(POD_END).or_else(|| pod.link(first_nic));
    let served = |device: u32| pod.routes.iter().any(|route| is_ours(route) && route.device == device);
    let Some(end) = end.filter(|end| served(end.index)) else { return Ok(None) };
    let node = sides.node.links()?.into_iter().find(|node| joined(end, node));
    Ok(node.map(|node| Cable { pod: end.clone(), node }))
}
