//! What is to be done to a node, so that it has the interfaces that are asked for. No kernel, no clock.

use std::fmt;
use std::net::IpAddr;

use netlink::{Link, Mac, Stacked};

use crate::options::{self, MODES, Setting};
use crate::request::{Bond, Request};
use crate::scene::Scene;

/// One thing to be done. Interfaces go by their names, as some of them are not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An interface is to be up.
    SetUp(String),
    /// An interface is to take longer packets.
    RaiseMtu {
        /// Which.
        device: String,
        /// In bytes.
        mtu: u32,
    },
    /// A bond is to be there.
    AddBond {
        /// Its name.
        name: String,
        /// The kernel's number of its mode.
        mode: u8,
        /// That of its first part.
        mac: Option<Mac>,
        /// In bytes.
        mtu: u32,
        /// What else.
        settings: Vec<Setting>,
    },
    /// An interface is to be a part of a bond.
    Enslave {
        /// Which.
        part: String,
        /// Of which.
        bond: String,
    },
    /// A new bond is to prefer one of its parts for now. It need not work: the part's cable may be out.
    Prefer {
        /// The bond.
        bond: String,
        /// What is set.
        setting: Setting,
    },
    /// A VLAN is to be there.
    AddVlan {
        /// Its name.
        name: String,
        /// What it stands on.
        parent: String,
        /// Its number.
        id: u16,
        /// In bytes; none is the parent's.
        mtu: Option<u32>,
    },
}

/// The node has something else in the place of what is asked for, or lacks what that stands on. In words, with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit(pub String);

/// What is to be done, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What is not as it is asked for, and left so.
    pub warnings: Vec<String>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetUp(device) => write!(f, "set {device} up"),
            Self::RaiseMtu { device, mtu } => write!(f, "raise the MTU of {device} to {mtu}"),
            Self::AddBond { name, mode, .. } => write!(f, "create the bond {name} of mode {}", words(*mode)),
            Self::Enslave { part, bond } => write!(f, "make {part} a part of {bond}"),
            Self::Prefer { bond, setting } => write!(f, "set {} of {bond}", setting.name),
            Self::AddVlan { name, parent, id, .. } => write!(f, "create {name}, VLAN {id} of {parent}"),
        }
    }
}

/// Decides what is to be done; nothing when all is as asked for.
pub fn plan(request: &Request, scene: &Scene) -> Result<Plan, Unfit> {
    let mut plan = Plan::default();
    if let Some(bond) = &request.bond {
        plan.bond(bond, request, scene)?;
    } else {
        for name in request.interfaces.iter() {
            let link = present(name.as_str(), scene)?;
            plan.as_asked(link, request.mtu);
        }
    }
    if let Some((id, name)) = &request.vlan {
        plan.vlan(*id, name.as_str(), request, scene)?;
    }
    Ok(plan)
}

impl Plan {
    /// What an interface that is there may lack. An MTU is never lowered: others may stand on it.
    fn as_asked(&mut self, link: &Link, mtu: Option<u32>) {
        if let Some(mtu) = mtu.filter(|mtu| *mtu > link.mtu) {
            self.steps.push(Step::RaiseMtu { device: link.name.clone(), mtu });
        }
        if !link.is_up() {
            self.steps.push(Step::SetUp(link.name.clone()));
        }
    }

    fn bond(&mut self, bond: &Bond, request: &Request, scene: &Scene) -> Result<(), Unfit> {
        let name = bond.name.as_str();
        let parts: Vec<&Link> =
            request.interfaces.iter().map(|it| present(it.as_str(), scene)).collect::<Result<_, _>>()?;
        let held = scene.link(name);
        if let Some(held) = held {
            self.warnings.extend(same_bond(held, bond, scene)?);
            self.as_asked(held, request.mtu);
        } else {
            let smallest = parts.iter().map(|part| part.mtu).min();
            let (last, first): (Vec<_>, Vec<_>) = bond.settings.iter().cloned().partition(Setting::is_last);
            self.steps.push(Step::AddBond {
                name: name.to_owned(),
                mode: bond.mode,
                mac: parts.first().and_then(|part| part.mac),
                // Its parts get it: the kernel's own 1500 would cut a cloud's longer packets.
                mtu: request.mtu.or(smallest).unwrap_or(1500),
                settings: options::monitoring(&bond.settings).into_iter().chain(first).collect(),
            });
            self.parts(&parts, None, name, scene)?;
            self.steps
                .extend(last.into_iter().map(|setting| Step::Prefer { bond: name.to_owned(), setting }));
            return Ok(());
        }
        self.parts(&parts, held, name, scene)
    }

    fn parts(
        &mut self,
        parts: &[&Link],
        bond: Option<&Link>,
        name: &str,
        scene: &Scene,
    ) -> Result<(), Unfit> {
        for part in parts {
            match (part.master, bond) {
                (Some(master), Some(bond)) if master == bond.index => {
                    if !part.is_up() {
                        self.steps.push(Step::SetUp(part.name.clone()));
                    }
                }
                (Some(master), _) => {
                    return Err(Unfit(format!(
                        "{} is a part of {} already, and cannot be one of {name}, too: correct \"interfaces\" of the network configuration, or take it out there",
                        part.name,
                        scene.name(master),
                    )));
                }
                (None, _) => {
                    spare(part, name, scene)?;
                    self.steps.push(Step::Enslave { part: part.name.clone(), bond: name.to_owned() });
                }
            }
        }
        Ok(())
    }

    fn vlan(&mut self, id: u16, name: &str, request: &Request, scene: &Scene) -> Result<(), Unfit> {
        let below = request.below();
        let parent = scene.link(below);
        if let Some(held) = scene.link(name) {
            let is_same = held.stacked == Some(Stacked::Vlan { id, is_plain: true })
                && !held.peer_is_elsewhere
                && parent.is_some_and(|parent| held.peer == Some(parent.index));
            if !is_same {
                return Err(Unfit(format!(
                    "{name} is there already as {}, while VLAN {id} of {below} is asked for: remove or rename the one that is there, or ask for another VLAN",
                    what(held, scene),
                )));
            }
            self.as_asked(held, request.mtu);
            return Ok(());
        }
        let same = |link: &&Link| {
            link.stacked == Some(Stacked::Vlan { id, is_plain: true })
                && !link.peer_is_elsewhere
                && parent.is_some_and(|parent| link.peer == Some(parent.index))
        };
        if let Some(other) = scene.links.iter().find(same) {
            return Err(Unfit(format!(
                "VLAN {id} of {below} is there already under the name {}, while {name} is asked for, and one interface has each VLAN once: rename or remove {}",
                other.name, other.name,
            )));
        }
        let (name, parent) = (name.to_owned(), below.to_owned());
        self.steps.push(Step::AddVlan { name, parent, id, mtu: request.mtu });
        Ok(())
    }
}

fn present<'a>(name: &str, scene: &'a Scene) -> Result<&'a Link, Unfit> {
    scene.link(name).ok_or_else(|| {
        Unfit(format!(
            "the node has no interface {name}, which \"interfaces\" of the network configuration names: correct the name, or attach the NIC to the node"
        ))
    })
}

/// Whether it is the bond that is asked for, and what of it is not.
fn same_bond(held: &Link, bond: &Bond, scene: &Scene) -> Result<Vec<String>, Unfit> {
    let name = &held.name;
    let Some(Stacked::Bond { mode, options }) = &held.stacked else {
        return Err(Unfit(format!(
            "{name} is there already as {}, while a bond is asked for: remove or rename it, or give the bond another name",
            what(held, scene),
        )));
    };
    if *mode != bond.mode {
        let is_empty = !scene.links.iter().any(|link| link.master == Some(held.index));
        let advice = if is_empty && !held.is_up() {
            "it has no parts and is down, as the module bonding makes one when it is loaded: remove it, or give the bond another name"
        } else {
            "change one of the two, or give the bond another name"
        };
        return Err(Unfit(format!(
            "the bond {name} is there already with mode {}, while mode {} is asked for: {advice}",
            words(*mode),
            words(bond.mode),
        )));
    }
    let number = |name: &str| scene.link(name).map(|link| link.index);
    let differs = |setting: &&Setting| {
        let asked = setting.resolve(number).filter(|_| setting.is_kept());
        asked.and_then(|asked| asked.is_in(options)) == Some(false)
    };
    let differing = bond.settings.iter().filter(differs);
    Ok(differing
        .map(|setting| {
            format!(
                "the bond {name} is there already without {}={}: it is left as it is; change it on the node, or remove the bond while no pod uses it",
                setting.name, setting.text,
            )
        })
        .collect())
}

/// Refuses what the node needs by itself: a part of a bond loses its addresses' use and its routes.
fn spare(part: &Link, bond: &str, scene: &Scene) -> Result<(), Unfit> {
    let name = &part.name;
    let refused = |why: String, advice: &str| {
        Err(Unfit(format!("{name} cannot become a part of {bond}, as {why}: {advice}")))
    };
    if part.is_loopback() || part.mac.is_none() {
        return refused(
            "it is no Ethernet".to_owned(),
            "correct \"interfaces\" of the network configuration",
        );
    }
    if scene.defaults.contains(&part.index) {
        return refused(
            "the node's default route leads through it, and the node would be cut off".to_owned(),
            "take another NIC",
        );
    }
    let own = |it: &&(u32, IpAddr)| it.0 == part.index && !is_link_local(it.1);
    if let Some((_, address)) = scene.addresses.iter().find(own) {
        return refused(
            format!("it has the node's address {address}, which would be lost"),
            "take another NIC, or take the address away in the node's own network configuration",
        );
    }
    let carried = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"];
    let above = |link: &&Link| {
        link.peer == Some(part.index) && !link.peer_is_elsewhere && carried.contains(&link.kind.as_str())
    };
    if let Some(above) = scene.links.iter().find(above) {
        return refused(
            format!("{} ({}) stands on it", above.name, what(above, scene)),
            "take another NIC, or remove what stands on it",
        );
    }
    Ok(())
}

/// Every interface that is up has one of IPv6.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What an interface is, in words.
fn what(link: &Link, scene: &Scene) -> String {
    let parent = || match link.peer {
        Some(_) if link.peer_is_elsewhere => "an interface of another namespace".to_owned(),
        Some(peer) => scene.name(peer),
        None => "nothing".to_owned(),
    };
    match &link.stacked {
        Some(Stacked::Vlan { id, is_plain: true }) => format!("VLAN {id} of {}", parent()),
        Some(Stacked::Vlan { id, is_plain: false }) => {
            format!("provider VLAN (802.1ad) {id} of {}", parent())
        }
        Some(Stacked::Bond { mode, .. }) => format!("a bond of mode {}", words(*mode)),
        None if link.kind.is_empty() => "a NIC".to_owned(),
        None => format!("an interface of kind {}", link.kind),
    }
}

fn words(mode: u8) -> String {
    MODES.get(usize::from(mode)).map_or_else(|| mode.to_string(), |word| format!("{mode} ({word})"))
}

#[cfg(test)]
mod tests;
