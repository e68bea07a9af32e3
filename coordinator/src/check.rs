//! CHECK: a plan made now has nothing to do.

use cni::{Attachment, Error};
use netlink::Change;

use crate::add::{ask, closed, families, misplaced, no_cable, refused, settings, unfit};
use crate::cable::{self, POD_END};
use crate::codes::CHANGED;
use crate::config::Local;
use crate::marks;
use crate::plan::{Situation, Way, plan, way};
use crate::scene::Pod;
use crate::sides::Sides;
use crate::sysctl;

/// How much of what is missing is said; the rest is counted.
const SHOWN: usize = 5;

pub(crate) fn check(attachment: &Attachment, local: &Local) -> Result<(), Error> {
    let Some(config) = ask(attachment, local)? else { return Ok(()) };
    let path = attachment.netns.as_deref().unwrap_or_else(|| "".as_ref());
    let mut sides = Sides::open(path).map_err(closed)?;
    let nic = attachment.if_name.as_str();
    let pod = Pod::read(&mut sides.pod).map_err(refused)?;
    let has_cable = pod.link(POD_END).is_some();
    let Some(way) = way(config.mode, nic, &config.first_nic, has_cable).map_err(misplaced)? else {
        return Ok(());
    };
    let found = cable::find(&mut sides, &pod, way, &config.first_nic, &attachment.container_id);
    let Some(ends) = found.map_err(no_cable)? else {
        let node_end = cable::node_end(&attachment.container_id);
        return Err(lacking(&[format!("lay the cable from {POD_END} to {node_end}")]));
    };
    let node = sides.read_node(&pod, &ends, config.host_table).map_err(refused)?;
    let situation = Situation { config: &config, way, nic, cable: &ends, pod: &pod, node: &node };
    let plan = plan(&situation).map_err(unfit)?;
    let describe = |netlink: &netlink::Rtnetlink, changes: &[Change]| {
        changes.iter().map(|change| netlink.describe(change)).collect::<Vec<_>>()
    };
    let mut missing = describe(&sides.pod, &plan.pod);
    missing.extend(describe(&sides.node, &plan.node).into_iter().map(|text| format!("{text} on the node")));
    if !ends.pod.is_up() {
        missing.push(format!("set {} up", ends.pod.name));
    }
    if !ends.node.is_up() {
        missing.push(format!("set {} up on the node", ends.node.name));
    }
    let settings = settings(&config, way, &ends, &pod, nic);
    missing.extend(sides.in_pod(|| sysctl::wrong(&settings)).map_err(refused)?);
    if way == Way::UnderlayFirst {
        missing.extend(marks::check(&sides, &families(&pod, nic)).map_err(refused)?);
    }
    if missing.is_empty() { Ok(()) } else { Err(lacking(&missing)) }
}

fn lacking(missing: &[String]) -> Error {
    let shown = missing.get(..SHOWN).unwrap_or(missing).join("; ");
    let rest = missing.len().saturating_sub(SHOWN);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    Error::new(
        CHANGED,
        format!(
            "the pod is not as the coordinator made it: to have it so again, one would have to {shown}{more}: delete the pod, so that it is made anew"
        ),
    )
}
