//! Whether the record of an address may go: decided on the pod's UID, and never on what is not known.
//!
//! Pure: who asks has read the records first and the pods after them, so that a record without its pod is one whose pod
//! is gone, and not one whose pod is yet to come.

mod why;

use std::time::Duration;

pub use why::Why;

use crate::holder::Holder;

/// How long after its pod ended a record waits for the sandbox's own DEL: until that came, the address may still be
/// configured in a network namespace. A kubelet that is alive tears a sandbox down within a second or two.
pub const DEL_GRACE: Duration = Duration::from_secs(10);

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Why),
    /// It goes: the address may be given out again.
    Free(Why),
}

impl Verdict {
    /// Returns why.
    #[must_use]
    pub fn why(&self) -> &Why {
        match self {
            Self::Keep(why) | Self::Free(why) => why,
        }
    }

    /// Returns whether the record goes.
    #[must_use]
    pub fn frees(&self) -> bool {
        matches!(self, Self::Free(_))
    }
}

/// Whom a pool serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// Pods of one node: elsewhere its addresses are of no use.
    Node(&'a str),
    /// Pods of several nodes.
    Shared,
}

/// What is known of the pod that has the record's name, or the record's UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing: it could not be read. Not the same as [`Sight::Absent`].
    Unknown,
    /// The API server has no such pod.
    Absent,
    /// It is there.
    Present(Pod),
}

/// A pod as the API server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Every UID under which a runtime may know it: its `metadata.uid`, and of a static pod the kubelet's own as well.
    pub uids: Vec<String>,
    /// Its node; empty before it is scheduled.
    pub node: String,
    /// How far it has come.
    pub life: Life,
}

/// How far a pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not ended and not told to: waiting pods included.
    Alive,
    /// It was told to end.
    Terminating {
        /// How long ago its grace period ended (`deletionTimestamp`, which contains the period); `None`: it has not.
        overdue: Option<Duration>,
    },
    /// It succeeded or failed, and nothing in it will start again.
    Finished,
}

/// What is known of the sandbox that the record was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Nothing.
    Unknown,
    /// Its DEL came, or the runtime listed its sandboxes and this one was not among them.
    Departed,
    /// The runtime listed it, or its network namespace is there: the address is configured in it.
    Listed,
}

/// What is known of the record's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeSight {
    /// Nothing, or the record names none.
    Unknown,
    /// The API server has no such node.
    Absent,
    /// It is there, and its kubelet reports.
    Ready,
    /// It is there, and its kubelet does not report.
    NotReady,
}

/// Whether the address belongs to a name that outlives its pods: that of a `StatefulSet`'s pod or of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// It does not.
    No,
    /// It does, and whoever owns the name still wants the pod.
    Valid,
    /// It did: the owner is gone, or was scaled below this pod.
    Invalid,
    /// It may: the owner could not be read.
    Unknown,
}

/// What the `SpiderEndpoint` of the pod's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Nothing: there is none, it was not looked at, or it is about another pod than the one that has the name now.
    Silent,
    /// The pod that has the name now holds this address.
    Here,
    /// The pod that has the name now holds others, and not this one.
    Elsewhere,
}

/// Whether pods that do not end in time lose their addresses, by the state of their node: upstream's switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zombies {
    /// On nodes that are ready.
    pub ready: Overdue,
    /// On nodes that are not.
    pub not_ready: Overdue,
}

/// What becomes of the addresses of a pod whose grace period is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// They are freed.
    Free,
    /// They wait until the pod is gone.
    Wait,
}

impl Default for Zombies {
    /// Both free, as upstream does.
    fn default() -> Self {
        Self { ready: Overdue::Free, not_ready: Overdue::Free }
    }
}

/// All that is known of one record.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The record.
    pub holder: &'a Holder,
    /// Its pool.
    pub binding: Binding<'a>,
    /// The pod of its name.
    pub pod: &'a Sight,
    /// For how long the pod is known to have ended (gone, finished, or another one under its name).
    pub ended: Duration,
    /// Its sandbox.
    pub sandbox: Sandbox,
    /// Its node.
    pub node: NodeSight,
    /// Whether its name outlives it.
    pub fixed: Fixed,
    /// What the endpoint of its name says.
    pub endpoint: Endpoint,
    /// The switches.
    pub zombies: Zombies,
}

/// Judges one record.
///
/// A pod that is alive under the record's UID keeps it, whatever else is said. What is [`Sight::Unknown`] or
/// [`Fixed::Unknown`] frees nothing.
#[must_use]
pub fn verdict(facts: &Facts<'_>) -> Verdict {
    let holder = facts.holder;
    if holder.pod.name.is_empty() || holder.pod.namespace.is_empty() {
        return Verdict::Keep(Why::Nameless);
    }
    match facts.pod {
        Sight::Unknown => Verdict::Keep(Why::PodUnknown(holder.pod.clone())),
        Sight::Absent => gone(facts, Why::PodGone(holder.pod.clone())),
        Sight::Present(_) if holder.uid.is_empty() => Verdict::Keep(Why::UidUnknown(holder.pod.clone())),
        Sight::Present(pod) if pod.uids.contains(&holder.uid) => same(facts, pod.life),
        Sight::Present(pod) => another(facts, pod),
    }
}

/// Judges the record of a pod that is there.
fn same(facts: &Facts<'_>, life: Life) -> Verdict {
    let name = facts.holder.pod.clone();
    if life == Life::Alive {
        return Verdict::Keep(Why::PodAlive(name));
    }
    if let Some(stays) = stays_fixed(facts) {
        return stays;
    }
    match life {
        Life::Alive => Verdict::Keep(Why::PodAlive(name)),
        Life::Finished => ended(facts, Why::PodFinished(name)),
        Life::Terminating { .. } if facts.sandbox == Sandbox::Listed => {
            Verdict::Keep(Why::SandboxListed(name))
        }
        Life::Terminating { .. } if facts.sandbox == Sandbox::Departed => {
            Verdict::Free(Why::SandboxDeparted(name))
        }
        Life::Terminating { .. } if facts.node == NodeSight::Absent => {
            Verdict::Free(Why::NodeGone { pod: name, node: node_of(facts) })
        }
        Life::Terminating { overdue: Some(overdue) } if overdue >= DEL_GRACE => {
            let policy = match facts.node {
                NodeSight::NotReady => facts.zombies.not_ready,
                NodeSight::Ready | NodeSight::Absent => facts.zombies.ready,
                // Either switch may be the one that counts.
                NodeSight::Unknown if facts.zombies == Zombies::default() => Overdue::Free,
                NodeSight::Unknown => Overdue::Wait,
            };
            match policy {
                Overdue::Free => Verdict::Free(Why::PodOverdue(name, overdue)),
                Overdue::Wait => Verdict::Keep(Why::ZombieKept(name, overdue)),
            }
        }
        Life::Terminating { .. } => Verdict::Keep(Why::PodTerminating(name)),
    }
}

/// Judges the record of a pod whose name belongs to another pod now: the one that is there.
fn another(facts: &Facts<'_>, there: &Pod) -> Verdict {
    let name = facts.holder.pod.clone();
    let why = Why::OtherPod { pod: name.clone(), uid: facts.holder.uid.clone() };
    if facts.fixed != Fixed::Valid {
        return gone(facts, why);
    }
    // The successor takes the address over when it asks for it, if it may have it where it is.
    match facts.binding {
        Binding::Node(node) if !there.node.is_empty() && there.node != node => {
            ended(facts, Why::MovedAway { pod: name, node: there.node.clone() })
        }
        _ if facts.endpoint == Endpoint::Elsewhere => ended(facts, Why::OtherAddress(name)),
        _ => stays_fixed(facts).unwrap_or(Verdict::Keep(Why::FixedAddress(name))),
    }
}

/// Judges the record of a pod that is gone.
fn gone(facts: &Facts<'_>, why: Why) -> Verdict {
    stays_fixed(facts).unwrap_or_else(|| ended(facts, why))
}

/// Returns why a record stays whose name outlives its pods, if it does.
fn stays_fixed(facts: &Facts<'_>) -> Option<Verdict> {
    let name = facts.holder.pod.clone();
    // Nobody can use the address of a node that is gone, whoever owns it.
    if facts.node == NodeSight::Absent && matches!(facts.binding, Binding::Node(_)) {
        return None;
    }
    match facts.fixed {
        Fixed::Valid => Some(Verdict::Keep(Why::FixedAddress(name))),
        Fixed::Unknown => Some(Verdict::Keep(Why::OwnerUnknown(name))),
        Fixed::No | Fixed::Invalid => None,
    }
}

/// Judges the record of a pod that has ended for good: it goes when its sandbox has, or must have.
fn ended(facts: &Facts<'_>, why: Why) -> Verdict {
    match facts.sandbox {
        Sandbox::Departed => Verdict::Free(why),
        Sandbox::Listed => Verdict::Keep(Why::SandboxListed(facts.holder.pod.clone())),
        // No kubelet of that node tears anything down any more.
        Sandbox::Unknown if facts.node == NodeSight::Absent => Verdict::Free(why),
        Sandbox::Unknown if facts.ended >= DEL_GRACE => Verdict::Free(why),
        Sandbox::Unknown => Verdict::Keep(Why::AwaitingDel(facts.holder.pod.clone())),
    }
}

fn node_of(facts: &Facts<'_>) -> String {
    match facts.binding {
        Binding::Node(node) => node.to_owned(),
        Binding::Shared => facts.holder.node.clone(),
    }
}

#[cfg(test)]
mod tests;
