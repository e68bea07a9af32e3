//! What is done in the node's network namespace: blocking, each time on a thread that enters it and ends there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coordinator::refresh::{Failed, refresh};
use coordinator::scene::reachable;
use coordinator::services::{self, MASQUERADE_MARK, Marked};
use coordinator::sides::Closed;
use ifacer::assert::{self, Places};
use model::PodName;
use netlink::{Block, Error, Listener, Netns, Rtnetlink};
use rustix::thread::{CapabilitySet, capabilities};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::metrics::{Look, NodeMetrics};

/// A pod's first interface, where nothing that is left of it tells.
const FIRST_NIC: &str = "eth0";

/// The node's network namespace, held open.
#[derive(Debug)]
pub(super) struct Node {
    namespace: Netns,
    /// What tells it from others: the file system of namespaces, and its number there.
    identity: (u64, u64),
}

impl Node {
    /// Opens it, and hears of its changes from now on. Says what is missing where that cannot be.
    pub(super) fn open(path: &Path) -> Result<(Self, Listener), String> {
        let needed = [("NET_ADMIN", CapabilitySet::NET_ADMIN), ("SYS_ADMIN", CapabilitySet::SYS_ADMIN)];
        let have =
            capabilities(None).map_err(|errno| format!("cannot read the agent's capabilities: {errno}"))?;
        let lacking = needed.iter().filter(|(_, one)| !have.effective.contains(*one)).map(|(name, _)| *name);
        let lacking: Vec<&str> = lacking.collect();
        if !lacking.is_empty() {
            return Err(format!(
                "the agent lacks the capabilities {}: give them to its container, or start it without --node-network",
                lacking.join(" and ")
            ));
        }
        let open = || -> Result<_, Error> {
            let namespace = Netns::open(path)?;
            let listener = namespace.run(Listener::open)??;
            Ok((namespace, listener))
        };
        let (namespace, listener) = open().map_err(|error| error.to_string())?;
        let identity = fs::metadata(path)
            .map(|file| identity(&file))
            .map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
        Ok((Self { namespace, identity }, listener))
    }

    /// The addresses by which pods may want to reach it, in order.
    pub(super) fn addresses(&self) -> Result<Vec<IpAddr>, Error> {
        self.namespace.run(|| {
            let mut netlink = Rtnetlink::open()?;
            let mut addresses = reachable(&[], &netlink.links()?, &netlink.addresses()?);
            addresses.sort_unstable();
            Ok(addresses)
        })?
    }

    /// Has kube-proxy asked to masquerade what pods send to services.
    pub(super) fn masquerade(&self, services: &[Block]) -> Result<Marked, Error> {
        self.namespace.run(|| services::masquerade(services, MASQUERADE_MARK))?
    }

    /// Has the interfaces that pods' networks stand on, which a reboot forgets.
    pub(super) fn interfaces(&self, places: &Places) -> Result<Vec<assert::Outcome>, Error> {
        self.namespace.run(|| assert::all(places))
    }

    fn refresh(&self, namespace: &Path, table: u32) -> Result<Vec<String>, Failed> {
        self.namespace.run(|| refresh(namespace, FIRST_NIC, table))?
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// One walk through all pods.
pub(super) struct Round {
    pub(super) node: Arc<Node>,
    /// Where the runtime keeps the network namespaces of sandboxes.
    pub(super) folder: PathBuf,
    /// Whose namespaces plugins told, be they in the folder or not.
    pub(super) told: BTreeMap<PathBuf, PodName>,
    /// The table on the node in which the ways to pods are.
    pub(super) table: u32,
    pub(super) metrics: NodeMetrics,
    /// Ends the walk early.
    pub(super) stop: CancellationToken,
}

impl Round {
    /// Brings every pod up to date, one after the other. Returns of how many that failed.
    pub(super) fn walk(&self) -> usize {
        let (mut changed, mut failed) = (0_usize, 0_usize);
        let spaces = self.spaces();
        let namespaces = spaces.len();
        for path in spaces {
            if self.stop.is_cancelled() {
                break;
            }
            let pod = self.told.get(&path).map(ToString::to_string).unwrap_or_default();
            let netns = path.display();
            match self.one(&path) {
                Ok(done) if done.is_empty() => self.metrics.refresh(Look::Unchanged),
                Ok(done) => {
                    changed += 1;
                    self.metrics.refresh(Look::Changed);
                    info!(pod, %netns, changes = done.join("; "), "pod's ways brought up to date");
                }
                Err(error) if self.is_gone(&path) => {
                    debug!(pod, %netns, "pod's ways not brought up to date, it is gone: {error}");
                }
                Err(error) => {
                    failed += 1;
                    self.metrics.refresh(Look::Failed);
                    warn!(pod, %netns, "pod's ways not brought up to date: {error}");
                }
            }
        }
        debug!(namespaces, changed, failed, "looked after the pods' ways");
        failed
    }

    /// A pod that comes or goes changes under our hands, and a second look sees it through.
    fn one(&self, path: &Path) -> Result<Vec<String>, Failed> {
        match self.node.refresh(path, self.table) {
            Err(Failed::Kernel(_)) => self.node.refresh(path, self.table),
            // The node's own, which somebody put in its place meanwhile.
            Err(Failed::Closed(Closed::Unfit(_))) => Ok(Vec::new()),
            other => other,
        }
    }

    /// The network namespaces that may be pods', each once; whose they are is seen in them.
    fn spaces(&self) -> Vec<PathBuf> {
        let listed = match fs::read_dir(&self.folder) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(error) => {
                debug!("cannot list {}: {error}", self.folder.display());
                Vec::new()
            }
        };
        // Those whose pod is known come first.
        let paths = self.told.keys().cloned().chain(listed);
        let mut seen = BTreeSet::from([self.node.identity]);
        paths.filter(|path| self.sight(path).is_some_and(|identity| seen.insert(identity))).collect()
    }

    /// What a path leads to, if that is a namespace: an empty file stays when a runtime was killed.
    fn sight(&self, path: &Path) -> Option<(u64, u64)> {
        let identity = fs::metadata(path).ok().as_ref().map(identity)?;
        (identity.0 == self.node.identity.0).then_some(identity)
    }

    fn is_gone(&self, path: &Path) -> bool {
        self.sight(path).is_none()
    }
}
