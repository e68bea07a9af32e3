//! Having a plan's steps done: all of them, or none.

use std::{fs, io};

use netlink::{Bond, Change, Error, Link, Outcome, Rtnetlink, Vlan};

use crate::failed::{Failed, Kind};
use crate::plan::{Plan, Step, Unfit, plan};
use crate::request::Request;
use crate::scene::Scene;

/// The kernel's codes that are told apart, as numbered in linux/errno.h for every machine.
const EPERM: i32 = 1;
const EOPNOTSUPP: i32 = 95;

/// What came of a plan.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// What was done, in words.
    pub(crate) done: Vec<String>,
    /// What is not as it was asked for, and left so.
    pub(crate) warnings: Vec<String>,
}

/// Has everything as it is asked for, in the calling thread's namespace.
pub(crate) fn make(request: &Request) -> Result<Made, Failed> {
    let mut netlink = Rtnetlink::open()?;
    let scene = Scene::read(&mut netlink, request)?;
    let Plan { steps, warnings } = plan(request, &scene).map_err(|Unfit(why)| Failed::Unfit(why))?;
    let mut made = Made { done: Vec::new(), warnings };
    let mut work = Work { netlink, back: Vec::new() };
    for step in &steps {
        match work.step(step) {
            Ok(()) => made.done.push(step.to_string()),
            Err(why) if matches!(step, Step::Prefer { .. }) => made.warnings.push(why.to_string()),
            Err(why) => {
                let left = work.undo();
                return Err(if left.is_empty() {
                    why
                } else {
                    Failed::HalfDone { why: Box::new(why), left }
                });
            }
        }
    }
    Ok(made)
}

/// What of a request is not so, in words that say what one would have to do.
pub(crate) fn missing(request: &Request) -> Result<Vec<String>, Failed> {
    let mut netlink = Rtnetlink::open()?;
    let scene = Scene::read(&mut netlink, request)?;
    let plan = plan(request, &scene).map_err(|Unfit(why)| Failed::Unfit(why))?;
    Ok(plan.steps.iter().map(Step::to_string).collect())
}

/// Has an interface that nobody had up, and that is to be up for pods, not listen to routers (RFC 4861): what they advertise there would
/// give the node addresses of the pods' network, and a default route beside its own. Pods listen for themselves.
fn keep_from_routers(name: &str) {
    // Where the interface has no IPv6 there is no such file, and nothing to keep from it.
    fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_ra"), "0").unwrap_or_default();
}

struct Work {
    netlink: Rtnetlink,
    /// What takes back what was done, in the order of that.
    back: Vec<Change>,
}

impl Work {
    fn step(&mut self, step: &Step) -> Result<(), Failed> {
        match step {
            Step::SetUp(device) => {
                let link = self.link(device)?.index;
                keep_from_routers(device);
                self.change(Change::SetUp(link), Change::SetDown(link))
            }
            Step::RaiseMtu { device, mtu } => {
                let link = self.link(device)?;
                self.reversible(Change::SetMtu { device: link.index, mtu: *mtu, before: link.mtu })
            }
            Step::AddBond { name, mode, mac, mtu, settings } => {
                let mut options = Vec::new();
                for setting in settings {
                    let mut number = |part: &str| self.netlink.link(part).ok()?.map(|link| link.index);
                    let option = setting.resolve(&mut number).ok_or_else(|| gone(&setting.text))?;
                    options.push(option);
                }
                let bond = Bond { name: name.clone(), mode: *mode, mac: *mac, mtu: *mtu, options };
                self.reversible(Change::AddBond(bond)).map_err(|error| kind(error, name, Kind::Bond))
            }
            Step::Enslave { part, bond } => self.enslave(part, bond),
            Step::Prefer { bond, setting } => {
                let device = self.link(bond)?.index;
                let part = self.link(&setting.text)?.index;
                let option = setting.resolve(|_| Some(part)).ok_or_else(|| gone(&setting.text))?;
                // What is taken back is the whole bond.
                self.apply(Change::SetBondOption { device, option })
            }
            Step::AddVlan { name, parent, id, mtu } => {
                let parent = self.link(parent)?.index;
                let vlan = Vlan { name: name.clone(), parent, id: *id, mtu: *mtu };
                self.reversible(Change::AddVlan(vlan)).map_err(|error| kind(error, name, Kind::Vlan))
            }
        }
    }

    fn enslave(&mut self, part: &str, bond: &str) -> Result<(), Failed> {
        let link = self.link(part)?;
        let (device, master) = (link.index, self.link(bond)?.index);
        let join = Change::SetMaster { device, master, before: 0 };
        if link.is_up() {
            // A bond takes only what is down. What pods in other namespaces stand on it cannot be seen from here, but the kernel
            // sees it, and says so before it says that the interface is up: so they are not disturbed for nothing.
            match self.apply(join.clone()) {
                Err(Failed::Kernel(error)) if error.code() == Some(EPERM) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.back.extend(join.inverse());
                    return Ok(());
                }
            }
            self.reversible(Change::SetDown(device))?;
        }
        self.reversible(join)?;
        // The bond has done so already, but for drivers that are slow to.
        self.apply(Change::SetUp(device))
    }

    fn link(&mut self, name: &str) -> Result<Link, Failed> {
        self.netlink.link(name)?.ok_or_else(|| gone(name))
    }

    fn reversible(&mut self, change: Change) -> Result<(), Failed> {
        let back = change.inverse();
        self.apply(change)?;
        self.back.extend(back);
        Ok(())
    }

    fn change(&mut self, change: Change, back: Change) -> Result<(), Failed> {
        self.apply(change)?;
        self.back.push(back);
        Ok(())
    }

    fn apply(&mut self, change: Change) -> Result<(), Failed> {
        match self.netlink.apply(&[change])?.pop() {
            Some(Outcome::Refused(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Takes everything back, the last first. Says what could not be.
    fn undo(mut self) -> Vec<String> {
        self.back.reverse();
        match self.netlink.apply(&self.back) {
            Ok(outcomes) => {
                let refused = outcomes.into_iter().filter_map(|outcome| match outcome {
                    Outcome::Refused(error) => Some(error.to_string()),
                    Outcome::Done | Outcome::Already => None,
                });
                refused.collect()
            }
            Err(error) => vec![error.to_string()],
        }
    }
}

fn gone(name: &str) -> Failed {
    let source = io::ErrorKind::NotFound.into();
    Failed::Kernel(Error::Kernel { doing: format!("find the interface {name} again"), source })
}

/// Tells a kernel without such interfaces from one that does not want this one: both have the same code.
fn kind(error: Failed, device: &str, kind: Kind) -> Failed {
    let is_unknown = match &error {
        Failed::Kernel(Error::Refused { reason, .. }) => reason.contains("Unknown device type"),
        Failed::Kernel(Error::Kernel { .. }) => true,
        _ => false,
    };
    match &error {
        Failed::Kernel(refused) if is_unknown && refused.code() == Some(EOPNOTSUPP) => {
            Failed::NoSuchKind { device: device.to_owned(), kind }
        }
        _ => error,
    }
}
