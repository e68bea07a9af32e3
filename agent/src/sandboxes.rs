//! What is known of this node's sandboxes: which are gone, and which are still there, as the runtime said or as their network
//! namespaces show.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{reclaim, short_container};
use tokio::time::Instant;

/// How many sandboxes that are gone are remembered: far more than a node has pods. A forgotten one costs nothing but the
/// time until its pod is gone as well.
const DEPARTED: usize = 4096;

/// For how long the runtime's word that it has a sandbox is trusted: it lists them rarely, and a DEL may be lost.
const FRESH: Duration = Duration::from_secs(15);

/// What is known of the sandboxes of this node. Lost with the process: then time decides. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Sandboxes(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Interfaces of sandboxes whose DEL came, and whose address was kept because their pod is alive; oldest first.
    departed: VecDeque<(String, String)>,
    /// The sandboxes that the runtime listed last, if it ever did.
    listed: Option<(BTreeSet<String>, Instant)>,
    /// Where the runtime keeps the network namespaces of sandboxes that got addresses: it takes one away after its DELs.
    /// Where they cannot be seen from here (in a pod without a mount of them), none of them is ever there.
    namespaces: BTreeMap<String, PathBuf>,
}

impl Sandboxes {
    /// Remembers that one interface of a sandbox is gone.
    pub fn departed(&self, container: &str, nic: &str) {
        let key = key(container, nic);
        let mut known = self.known();
        if known.departed.contains(&key) {
            return;
        }
        if known.departed.len() >= DEPARTED {
            known.departed.pop_front();
        }
        known.departed.push_back(key);
    }

    /// Remembers that one interface of a sandbox asks for its address, and where its network namespace is: it is there,
    /// whatever was said before.
    pub fn arrived(&self, container: &str, nic: &str, namespace: &Path) {
        let key = key(container, nic);
        let mut known = self.known();
        known.departed.retain(|departed| *departed != key);
        // A node has some hundred: to look at all costs less than a millisecond.
        known.namespaces.retain(|_, namespace| namespace.exists());
        if is_of_a_sandbox(namespace) && namespace.exists() {
            known.namespaces.insert(key.0.clone(), namespace.to_owned());
        }
        if let Some((listed, _)) = &mut known.listed {
            listed.insert(key.0);
        }
    }

    /// Remembers all sandboxes that the runtime has.
    pub fn list<'a>(&self, containers: impl IntoIterator<Item = &'a str>) {
        let listed = containers.into_iter().map(|id| short_container(id).to_owned()).collect();
        self.known().listed = Some((listed, Instant::now()));
    }

    /// Returns what is known of the sandbox that a record was written for.
    #[must_use]
    pub fn sight(&self, container: &str, nic: &str) -> reclaim::Sandbox {
        if container.is_empty() {
            return reclaim::Sandbox::Unknown;
        }
        let key = key(container, nic);
        let known = self.known();
        if known.departed.contains(&key) {
            return reclaim::Sandbox::Departed;
        }
        if known.namespaces.get(&key.0).is_some_and(|namespace| namespace.exists()) {
            return reclaim::Sandbox::Listed;
        }
        match &known.listed {
            Some((listed, at)) if listed.contains(&key.0) && at.elapsed() < FRESH => reclaim::Sandbox::Listed,
            // A runtime lists the sandboxes of one network: who is not among them may be of another.
            _ => reclaim::Sandbox::Unknown,
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Every change under the lock stands alone: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a path comes and goes with a sandbox. One in `/proc` is of a process, whose number another may have later, or has
/// in this pod.
fn is_of_a_sandbox(namespace: &Path) -> bool {
    namespace.is_absolute() && !namespace.starts_with("/proc")
}

fn key(container: &str, nic: &str) -> (String, String) {
    (short_container(container).to_owned(), nic.to_owned())
}

#[cfg(test)]
mod tests {
    use model::reclaim::Sandbox;

    use super::*;

    #[test]
    fn a_sandbox_is_departed_after_its_del_and_there_again_after_its_add() {
        let sandboxes = Sandboxes::default();
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Unknown);
        sandboxes.departed("c1", "eth0");
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Departed);
        assert_eq!(sandboxes.sight("c1", "net1"), Sandbox::Unknown);
        sandboxes.arrived("c1", "eth0", Path::new(""));
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Unknown);
    }

    #[test]
    fn a_sandbox_is_there_while_its_network_namespace_is() {
        let (folder, sandboxes) = (tempfile::tempdir().unwrap(), Sandboxes::default());
        let namespace = folder.path().join("cni-1");
        sandboxes.arrived("c1", "eth0", &namespace);
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Unknown, "it cannot be seen from here");
        sandboxes.arrived("c1", "eth0", Path::new("/proc/self/ns/net"));
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Unknown, "it is of a process");
        std::fs::write(&namespace, "").unwrap();
        sandboxes.arrived("c1", "eth0", &namespace);
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Listed);
        sandboxes.departed("c1", "eth0");
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Departed, "its address was taken away in it");
        assert_eq!(sandboxes.sight("c1", "net1"), Sandbox::Listed);
        std::fs::remove_file(&namespace).unwrap();
        assert_eq!(sandboxes.sight("c1", "net1"), Sandbox::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sandbox_is_there_for_a_while_after_the_runtime_listed_it() {
        let sandboxes = Sandboxes::default();
        sandboxes.list(["c1"]);
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Listed);
        assert_eq!(sandboxes.sight("c2", "eth0"), Sandbox::Unknown, "it may be of another network");
        sandboxes.arrived("c2", "eth0", Path::new(""));
        assert_eq!(sandboxes.sight("c2", "eth0"), Sandbox::Listed);
        assert_eq!(sandboxes.sight("", "eth0"), Sandbox::Unknown);
        tokio::time::advance(FRESH).await;
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Unknown, "it may be gone since");
    }

    #[test]
    fn a_long_identifier_is_known_by_its_beginning() {
        let (long, sandboxes) = ("0123456789abcdef0123456789abcdef", Sandboxes::default());
        sandboxes.departed(long, "eth0");
        assert_eq!(sandboxes.sight(short_container(long), "eth0"), Sandbox::Departed);
    }

    #[test]
    fn only_so_many_departed_sandboxes_are_remembered() {
        let sandboxes = Sandboxes::default();
        for n in 0..=DEPARTED {
            sandboxes.departed(&format!("c{n}"), "eth0");
        }
        assert_eq!(sandboxes.sight("c0", "eth0"), Sandbox::Unknown);
        assert_eq!(sandboxes.sight("c1", "eth0"), Sandbox::Departed);
    }
}
