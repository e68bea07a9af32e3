//! The two namespaces that a cable joins, and changing both so that it can be taken back.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use netlink::{Change, Error, Family, MAIN, Netns, Nftables, Outcome, Rtnetlink};

use crate::marks::{self, Marking};
use crate::plan::{Unfit, is_ours};
use crate::scene::{Node, Pod, reachable};
use crate::sysctl::{self, Setting};

/// A pod's namespace and the node's, which is the calling thread's.
#[derive(Debug)]
pub struct Sides {
    home: Netns,
    there: Netns,
    /// The node's.
    pub node: Rtnetlink,
    /// The pod's.
    pub pod: Rtnetlink,
}

/// Why both cannot be had.
#[derive(Debug)]
pub enum Closed {
    /// The pod's namespace is gone, or there never was one.
    Gone(Error),
    /// It is none that a coordinator may change.
    Unfit(Unfit),
}

impl Sides {
    /// Opens both.
    pub fn open(path: &Path) -> Result<Self, Closed> {
        let there = Netns::open(path).map_err(Closed::Gone)?;
        let home = Netns::current().map_err(Closed::Gone)?;
        // A pod of the host's network, or a wrong path: the node itself would get a pod's routes.
        let identity = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
        if identity(path) == identity(home.path()) {
            return Err(Closed::Unfit(Unfit(format!(
                "the network namespace {} is the node's own: a pod of the host's network needs no coordinator",
                path.display()
            ))));
        }
        let node = Rtnetlink::open().map_err(Closed::Gone)?;
        let pod = there.visit(&home, Rtnetlink::open).and_then(|opened| opened).map_err(Closed::Gone)?;
        Ok(Self { home, there, node, pod })
    }

    /// The pod's namespace.
    #[must_use]
    pub const fn there(&self) -> &Netns {
        &self.there
    }

    /// Lays a cable from the node into the pod.
    pub fn lay(&mut self, veth: &netlink::Veth) -> Result<(), Error> {
        self.node.create_veth(veth, &self.there)
    }

    /// Takes the calling thread into the pod's namespace for as long as a closure runs.
    pub fn in_pod<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        self.there.visit(&self.home, work)
    }

    /// The nftables of the pod, if the kernel has any.
    pub fn nftables(&self) -> Result<Option<Nftables>, Error> {
        self.in_pod(Nftables::open)?
    }

    /// Reads of the node what matters to the pod.
    pub fn read_node(&mut self, pod: &Pod, cable: &crate::cable::Ends, table: u32) -> Result<Node, Error> {
        // What the pod has as gateway stays it: once the pod's own route is there, the node may answer another address. An
        // overlay's own gateway, in a copy of its default route, is not meant.
        let replies = |table: u32| pod.rules.iter().any(|rule| rule.mark.is_some() && rule.table == table);
        let gateways = pod
            .routes
            .iter()
            .filter(|route| is_ours(route) && route.device == cable.pod.index)
            .filter(|route| if route.to.prefix() == 0 { replies(route.table) } else { route.table == MAIN })
            .filter_map(|route| route.gateway);
        let mut toward: Vec<IpAddr> = gateways.collect();
        let links = self.node.links()?;
        let addresses = self.node.addresses()?;
        toward.retain(|gateway| addresses.iter().any(|it| it.address == *gateway));
        for family in Family::BOTH {
            let mut of_pod = pod
                .addresses
                .iter()
                .map(|it| it.address)
                .filter(|it| Family::of(*it) == family && !it.is_loopback() && !it.is_multicast());
            if let Some(address) = of_pod.next() {
                toward.extend(self.node.source_toward(address)?);
            }
        }
        Ok(Node {
            addresses: reachable(&toward, &links, &addresses),
            routes: self.node.routes_of_table(table)?,
            rules: self.node.rules()?,
            neighbours: self.node.neighbours(Some(cable.node.index))?,
        })
    }
}

/// What was made so far, to be taken back when the rest fails.
#[derive(Debug, Default)]
pub struct Made {
    /// The node's end of a cable that was not there before.
    pub cable: Option<String>,
    pod: Vec<Change>,
    node: Vec<Change>,
    settings: Vec<Setting>,
    marking: Option<Marking>,
}

impl Made {
    /// How many things were changed.
    #[must_use]
    pub fn count(&self) -> usize {
        let cable = usize::from(self.cable.is_some());
        self.pod.len() + self.node.len() + self.settings.len() + cable + usize::from(self.marking.is_some())
    }

    /// Changes the pod; stops at nothing, and fails with what the kernel refused first.
    pub fn in_pod(&mut self, sides: &mut Sides, changes: &[Change]) -> Result<(), Error> {
        apply(&mut sides.pod, changes, &mut self.pod)
    }

    /// Changes the node.
    pub fn on_node(&mut self, sides: &mut Sides, changes: &[Change]) -> Result<(), Error> {
        let outcome = apply(&mut sides.node, changes, &mut self.node);
        // The rule for the table of pods is the node's: other pods use it already.
        self.node.retain(|change| !matches!(change, Change::AddRule(_)));
        outcome
    }

    /// Writes the pod's sysctls.
    pub fn settings(&mut self, sides: &Sides, settings: &[Setting]) -> Result<(), Error> {
        sides.in_pod(|| sysctl::write(settings, &mut self.settings))?
    }

    /// Has replies marked.
    pub fn marking(&mut self, sides: &Sides, families: &[Family]) -> Result<Result<(), String>, Error> {
        match marks::ensure(sides, families)? {
            marks::Outcome::Already => Ok(Ok(())),
            marks::Outcome::Made(marking) => {
                self.marking = Some(marking);
                Ok(Ok(()))
            }
            marks::Outcome::Impossible(why) => Ok(Err(why)),
        }
    }

    /// Takes everything back, the last first. Says what could not be.
    pub fn undo(self, sides: &mut Sides) -> Vec<String> {
        let Self { cable, pod, node, settings, marking } = self;
        let mut failed = Vec::new();
        let mut note = |outcome: Result<(), String>| failed.extend(outcome.err());
        if let Some(marking) = marking {
            note(marks::remove(sides, marking).map_err(|error| error.to_string()));
        }
        let back =
            |changes: Vec<Change>| changes.iter().rev().filter_map(Change::inverse).collect::<Vec<_>>();
        note(apply(&mut sides.node, &back(node), &mut Vec::new()).map_err(|error| error.to_string()));
        note(apply(&mut sides.pod, &back(pod), &mut Vec::new()).map_err(|error| error.to_string()));
        if let Some(name) = cable {
            note(sides.node.remove_link(&name).map(|_| ()).map_err(|error| error.to_string()));
        }
        let written = sides.in_pod(|| sysctl::write(&settings, &mut Vec::new())).and_then(|written| written);
        note(written.map_err(|error| error.to_string()));
        failed
    }
}

fn apply(netlink: &mut Rtnetlink, changes: &[Change], made: &mut Vec<Change>) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut refused = None;
    for (change, outcome) in changes.iter().zip(netlink.apply(changes)?) {
        match outcome {
            Outcome::Done => made.push(change.clone()),
            Outcome::Already => {}
            Outcome::Refused(error) => refused = refused.or(Some(error)),
        }
    }
    refused.map_or(Ok(()), Err)
}
