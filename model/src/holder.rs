//! Who holds an address of a pool.

use std::collections::BTreeMap;
use std::fmt;

/// A pod's namespace and name; of a virtual machine's pod, the machine's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The record of one address in its pool: durable in the API before the pod gets the address.
///
/// Upstream writes the pod and its UID only, so every other part may be empty: unknown, not absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The pod.
    pub pod: PodName,
    /// The pod's `metadata.uid`: decides, the name does not.
    pub uid: String,
    /// The interface in the pod; empty: unknown.
    pub nic: String,
    /// The sandbox, shortened by [`short_container`]; empty: unknown.
    pub container: String,
    /// The pod's node; empty: unknown, or the only node of the pool.
    pub node: String,
    /// What other writers put beside: raw JSON values by key, kept as they are.
    pub others: BTreeMap<String, String>,
}

/// How much of a sandbox identifier a record keeps: 16 of its 64 hex digits tell the sandboxes of one pod apart with
/// certainty enough, and a full pool of 5,000 records stays below the 1.5 MiB that etcd takes.
const CONTAINER_DIGITS: usize = 16;

/// Returns the part of a sandbox identifier that a record keeps.
#[must_use]
pub fn short_container(id: &str) -> &str {
    id.char_indices().nth(CONTAINER_DIGITS).map_or(id, |(at, _)| &id[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_identifier_is_cut_at_characters() {
        assert_eq!(short_container("0123456789abcdef0123"), "0123456789abcdef");
        assert_eq!(short_container("short"), "short");
        assert_eq!(short_container("ééééééééééééééééé"), "éééééééééééééééé");
    }
}
