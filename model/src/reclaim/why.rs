//! The reasons of a verdict, one sentence each.

use std::fmt;
use std::time::Duration;

use crate::holder::PodName;

/// Why a record stays or goes. Prints one sentence that begins in lower case and ends without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The record names no pod: nobody can be asked.
    Nameless,
    /// The pod could not be read.
    PodUnknown(PodName),
    /// A pod has the name, but the record does not say which.
    UidUnknown(PodName),
    /// The pod lives.
    PodAlive(PodName),
    /// The pod's grace period is not over, or its sandbox may still be being torn down.
    PodTerminating(PodName),
    /// The grace period is over, and the settings say to wait nevertheless.
    ZombieKept(PodName, Duration),
    /// The name outlives its pods, and its owner still wants it.
    FixedAddress(PodName),
    /// The name may outlive its pods: the owner could not be read.
    OwnerUnknown(PodName),
    /// The runtime still has the sandbox.
    SandboxListed(PodName),
    /// The pod ended just now: its sandbox's DEL may be on the way.
    AwaitingDel(PodName),
    /// The pod is gone.
    PodGone(PodName),
    /// The name belongs to another pod now.
    OtherPod {
        /// The name.
        pod: PodName,
        /// The UID of the record, which nobody has any more.
        uid: String,
    },
    /// The pod succeeded or failed.
    PodFinished(PodName),
    /// The pod is ending, and its sandbox is gone already.
    SandboxDeparted(PodName),
    /// The pod did not end within its grace period; how long ago that was over.
    PodOverdue(PodName, Duration),
    /// The pod is ending, and its node is gone.
    NodeGone {
        /// The pod.
        pod: PodName,
        /// The node.
        node: String,
    },
    /// The pod's successor runs on another node, where the address is of no use.
    MovedAway {
        /// The pod.
        pod: PodName,
        /// The successor's node.
        node: String,
    },
    /// The pod's successor holds another address.
    OtherAddress(PodName),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nameless => {
                write!(f, "the record names no pod: if nobody uses the address, release it by hand")
            }
            Self::PodUnknown(pod) => write!(f, "pod {pod} could not be read, so nothing is decided"),
            Self::UidUnknown(pod) => {
                write!(f, "a pod {pod} is there, and the record does not say whether it is the one")
            }
            Self::PodAlive(pod) => write!(f, "pod {pod} is alive"),
            Self::PodTerminating(pod) => write!(f, "pod {pod} is ending within its grace period"),
            Self::ZombieKept(pod, overdue) => {
                let overdue = overdue.as_secs();
                write!(f, "pod {pod} should have ended {overdue} s ago, and the settings say to wait for it")
            }
            Self::FixedAddress(pod) => write!(f, "the address is fixed to {pod}, whose owner still wants it"),
            Self::OwnerUnknown(pod) => {
                write!(f, "the owner of {pod} could not be read, and the address may be fixed to it")
            }
            Self::SandboxListed(pod) => write!(f, "the runtime still has the sandbox of pod {pod}"),
            Self::AwaitingDel(pod) => {
                write!(f, "pod {pod} ended just now, and its sandbox may still have the address")
            }
            Self::PodGone(pod) => write!(f, "pod {pod} is gone"),
            Self::OtherPod { pod, uid } => {
                write!(f, "the pod {pod} with UID {uid} is gone: another has its name now")
            }
            Self::PodFinished(pod) => write!(f, "pod {pod} has finished"),
            Self::SandboxDeparted(pod) => write!(f, "pod {pod} is ending, and its sandbox is gone"),
            Self::PodOverdue(pod, overdue) => {
                write!(f, "pod {pod} should have ended {} s ago", overdue.as_secs())
            }
            Self::NodeGone { pod, node } => write!(f, "pod {pod} is ending, and its node {node} is gone"),
            Self::MovedAway { pod, node } => {
                write!(f, "{pod} runs on node {node} now, where this address is of no use")
            }
            Self::OtherAddress(pod) => write!(f, "{pod} holds another address now"),
        }
    }
}
