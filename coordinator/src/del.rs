//! DEL: whatever is left goes, whatever is gone is gone. Nobody is asked, and nothing fails.

use std::net::IpAddr;

use cni::{Attachment, Success};
use netlink::{Block, Change, Error, Family, MAIN, PROTOCOL, Rtnetlink};
use plugin::{Level, Log};

use crate::cable::{POD_END, node_end};
use crate::config::Local;
use crate::plan::{FIRST_TABLE, Tables, is_ours};
use crate::scene::Pod;
use crate::sides::Sides;

pub(crate) fn del(attachment: &Attachment, local: &Local, log: &Log) {
    let note = |outcome: Result<(), Error>| {
        if let Err(error) = outcome {
            log.write(Level::Warn, &error.to_string(), &[]);
        }
    };
    let is_first = attachment.if_name.as_str() == local.first_nic.as_str();
    let sides = attachment.netns.as_deref().map(Sides::open);
    match sides {
        Some(Ok(mut sides)) => {
            let prev = attachment.network.prev_result().ok().flatten();
            if is_first {
                note(whole_pod(&mut sides));
            } else {
                note(one_interface(&mut sides, attachment.if_name.as_str(), local, prev.as_ref()));
            }
        }
        Some(Err(_)) | None => log.write(Level::Debug, "the pod's namespace is gone", &[]),
    }
    if is_first {
        // Its routes and neighbours go with it, and so does the other end.
        let name = node_end(&attachment.container_id);
        note(remove(&name));
    }
    log.write(Level::Info, "took the pod's ways back", &[]);
}

/// Only what is a cable goes: a name alone proves little.
fn remove(name: &str) -> Result<(), Error> {
    let mut node = Rtnetlink::open()?;
    match node.link(name)? {
        Some(link) if link.kind == "veth" => node.remove_link(name).map(|_| ()),
        _ => Ok(()),
    }
}

/// All that is ours in the pod, but for the marks of replies: nothing comes through a cable that is gone, and to take them away
/// the kernel waits until every processor has passed a point of rest, tens of milliseconds for each pod.
fn whole_pod(sides: &mut Sides) -> Result<(), Error> {
    let pod = Pod::read(&mut sides.pod)?;
    let mut changes = Vec::new();
    let rules = pod.rules.iter().filter(|rule| rule.protocol == PROTOCOL);
    changes.extend(rules.cloned().map(Change::RemoveRule));
    changes.extend(pod.routes.iter().filter(|route| is_ours(route)).cloned().map(Change::RemoveRoute));
    if let Some(cable) = pod.link(POD_END) {
        let neighbours = pod.neighbours.iter().filter(|it| it.device == cable.index);
        changes.extend(neighbours.copied().map(Change::RemoveNeighbour));
    }
    first_refusal(&mut sides.pod, &changes)
}

/// What is of one interface; the pod may go on without it.
fn one_interface(sides: &mut Sides, nic: &str, local: &Local, prev: Option<&Success>) -> Result<(), Error> {
    let pod = Pod::read(&mut sides.pod)?;
    let link = pod.link(nic);
    let mut addresses: Vec<IpAddr> =
        link.iter().flat_map(|link| pod.addresses_of(link.index)).map(|it| it.address).collect();
    let told = prev.iter().flat_map(|prev| prev.ips.iter().filter(|ip| is_of(prev, ip, nic)));
    for address in told.map(|ip| ip.address.address()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let of_interface = |block: Option<Block>| {
        block.is_some_and(|block| addresses.iter().any(|address| Block::one(*address) == block))
    };
    let mut changes = Vec::new();
    let (gone, staying): (Vec<_>, Vec<_>) = pod
        .rules
        .iter()
        .filter(|rule| rule.protocol == PROTOCOL && rule.from.is_some())
        .partition(|rule| of_interface(rule.from));
    let mut tables: Vec<u32> = gone.iter().map(|rule| rule.table).collect();
    tables.extend(link.and_then(|link| Tables::of(&pod).known(link.index)));
    tables.retain(|table| !staying.iter().any(|rule| rule.table == *table));
    changes.extend(gone.into_iter().cloned().map(Change::RemoveRule));
    let held = pod.routes.iter().filter(|route| is_ours(route) && tables.contains(&route.table));
    changes.extend(held.cloned().map(Change::RemoveRoute));
    give_default_back(&pod, link.map(|link| link.index), local, &mut changes);
    let in_pod = first_refusal(&mut sides.pod, &changes);
    on_node(sides, &pod, local, &addresses).and(in_pod)
}

/// The first interface's default route returns to main when that of this one was there.
fn give_default_back(pod: &Pod, leaving: Option<u32>, local: &Local, changes: &mut Vec<Change>) {
    let Some(first) = pod.link(local.first_nic.as_str()) else { return };
    for family in Family::BOTH {
        let mut defaults = pod.routes.iter().filter(|route| route.to == Block::all(family));
        let stays = |table: u32, device: u32| table == MAIN && Some(device) != leaving;
        if defaults.clone().any(|route| stays(route.table, route.device)) {
            continue;
        }
        let aside = defaults.find(|route| {
            is_ours(route) && route.table >= FIRST_TABLE && route.table != MAIN && route.device == first.index
        });
        if let Some(route) = aside {
            let mut back = route.clone();
            back.table = MAIN;
            // The place is free only when the other has left it.
            let leaving = pod
                .routes
                .iter()
                .filter(|it| it.table == MAIN && it.to == back.to && Some(it.device) == leaving);
            changes.extend(leaving.cloned().map(Change::RemoveRoute));
            changes.push(Change::AddRoute(back));
        }
    }
}

/// The node's ways to the addresses, through whatever cable the pod has.
fn on_node(sides: &mut Sides, pod: &Pod, local: &Local, addresses: &[IpAddr]) -> Result<(), Error> {
    let cable = pod.link(POD_END).or_else(|| pod.link(local.first_nic.as_str()));
    let Some(index) = cable.filter(|link| link.kind == "veth").and_then(|link| link.peer) else {
        return Ok(());
    };
    let is_of = |address: IpAddr| addresses.contains(&address);
    let routes = sides.node.routes_of_device(index)?;
    let routes = routes
        .into_iter()
        .filter(|it| is_ours(it) && it.to.prefix() == it.to.family().bits() && is_of(it.to.first()));
    let neighbours = sides.node.neighbours(Some(index))?.into_iter().filter(|it| is_of(it.address));
    let mut changes: Vec<Change> = routes.map(Change::RemoveRoute).collect();
    changes.extend(neighbours.map(Change::RemoveNeighbour));
    first_refusal(&mut sides.node, &changes)
}

fn first_refusal(netlink: &mut Rtnetlink, changes: &[Change]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let refused = netlink.apply(changes)?.into_iter().find_map(|outcome| match outcome {
        netlink::Outcome::Refused(error) => Some(error),
        _ => None,
    });
    refused.map_or(Ok(()), Err)
}

fn is_of(prev: &Success, ip: &cni::Ip, nic: &str) -> bool {
    let index = ip.interface.and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| prev.interfaces.get(index)).is_some_and(|found| found.name == nic)
}
