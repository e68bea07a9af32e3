//! Why the interfaces are not as they were asked for.

use std::path::PathBuf;
use std::{fmt, io};

/// Why the interfaces are not as they were asked for. What was begun is taken back.
#[derive(Debug)]
pub enum Failed {
    /// The node has something else in that place, or lacks what the request names.
    Unfit(String),
    /// The kernel does not know such interfaces.
    NoSuchKind {
        /// The interface that was asked for.
        device: String,
        /// What it would be.
        kind: Kind,
    },
    /// The kernel refused.
    Kernel(netlink::Error),
    /// The kernel refused, and then also to take back what was begun.
    HalfDone {
        /// Why it refused at first.
        why: Box<Self>,
        /// What is left, in words.
        left: Vec<String>,
    },
    /// Others are at work for too long.
    Busy(PathBuf),
    /// The file that keeps two from working at once cannot be had.
    Lock {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record says something that cannot be used; it is kept.
    Record {
        /// Its path, or that of the folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// What a kernel may have been built without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// VLANs.
    Vlan,
    /// Bonds.
    Bond,
}

impl Kind {
    const fn module(self) -> &'static str {
        match self {
            Self::Vlan => "8021q",
            Self::Bond => "bonding",
        }
    }
}

impl From<netlink::Error> for Failed {
    fn from(error: netlink::Error) -> Self {
        Self::Kernel(error)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(why) => f.write_str(why),
            Self::NoSuchKind { device, kind } => {
                let (what, module) = (if *kind == Kind::Vlan { "VLANs" } else { "bonds" }, kind.module());
                write!(
                    f,
                    "cannot create the interface {device}: this kernel has no {what}: load the module {module} on the node, or install the kernel's package that has it"
                )
            }
            Self::Kernel(error) => error.fmt(f),
            Self::HalfDone { why, left } => write!(f, "{why}; left behind: {}", left.join("; ")),
            Self::Busy(path) => write!(
                f,
                "cannot lock {}: another ifacer has held it for too long: see which process has it open",
                path.display()
            ),
            Self::Lock { path, source } => {
                write!(f, "cannot lock {}: {source}: the plugin must be able to write there", path.display())
            }
            Self::Record { path, why } => write!(
                f,
                "cannot use the record {}: {why}: it is kept; delete it if nobody needs its interface",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Failed {}
