//! Which `NetworkAttachmentDefinition` is behind which NIC of a pod.

use super::request::{BadAnnotation, Given};
use crate::template::MultusName;

/// The first NIC of every pod: what runtimes call it.
pub(super) const FIRST: &str = "eth0";

/// One network that Multus attaches beside the default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its `NetworkAttachmentDefinition`.
    pub name: MultusName,
    /// The NIC that the pod asks for by name; otherwise Multus counts: `net1`, `net2`, …
    pub interface: Option<String>,
}

/// The networks of a pod, as its annotations name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// `v1.multus-cni.io/default-network`: the network behind `eth0`.
    pub default: Given<MultusName>,
    /// `k8s.v1.cni.cncf.io/networks`: those behind the further NICs.
    pub further: Given<Vec<Network>>,
}

/// What is behind a NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind<'a> {
    /// This network.
    Network(&'a MultusName),
    /// No annotation and no setting says which.
    Unknown,
    /// The annotation that would say which cannot be read.
    Unreadable(&'a BadAnnotation),
}

impl Networks {
    /// Returns what is behind a NIC; `cluster` is the network of pods that name none.
    #[must_use]
    pub fn behind<'a>(&'a self, nic: &str, cluster: Option<&'a MultusName>) -> Behind<'a> {
        if nic == FIRST {
            return match &self.default {
                Some(Ok(name)) => Behind::Network(name),
                Some(Err(bad)) => Behind::Unreadable(bad),
                None => cluster.map_or(Behind::Unknown, Behind::Network),
            };
        }
        match &self.further {
            Some(Ok(networks)) => match interfaces(networks).position(|name| name == nic) {
                Some(at) => Behind::Network(&networks[at].name),
                None => Behind::Unknown,
            },
            Some(Err(bad)) => Behind::Unreadable(bad),
            None => Behind::Unknown,
        }
    }

    /// Returns the place of a NIC among all NICs of the pod: `eth0` is 0, the others follow in the order of the
    /// annotation. `None` when no annotation tells of the NIC.
    #[must_use]
    pub fn position(&self, nic: &str) -> Option<usize> {
        if nic == FIRST {
            return Some(0);
        }
        let Some(Ok(networks)) = &self.further else { return None };
        interfaces(networks).position(|name| name == nic).map(|at| at + 1)
    }

    /// Returns the names of all NICs that the annotations tell of, `eth0` first.
    #[must_use]
    pub fn nics(&self) -> Vec<String> {
        let further = self.further.iter().flatten().flat_map(|networks| interfaces(networks));
        std::iter::once(FIRST.to_owned()).chain(further).collect()
    }
}

fn interfaces(networks: &[Network]) -> impl Iterator<Item = String> {
    let name = |(at, network): (usize, &Network)| {
        network.interface.clone().unwrap_or_else(|| format!("net{}", at + 1))
    };
    networks.iter().enumerate().map(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, interface: Option<&str>) -> Network {
        Network { name: name.parse().unwrap(), interface: interface.map(str::to_owned) }
    }

    #[test]
    fn further_nics_are_counted_unless_they_are_named() {
        let further = vec![network("a/x", None), network("a/y", Some("data")), network("a/z", None)];
        let networks = Networks { default: None, further: Some(Ok(further)) };
        assert_eq!(networks.nics(), ["eth0", "net1", "data", "net3"]);
        let z = "a/z".parse().unwrap();
        assert_eq!(networks.behind("net3", None), Behind::Network(&z));
        assert_eq!((networks.position("eth0"), networks.position("data")), (Some(0), Some(2)));
        assert_eq!((networks.position("net2"), networks.behind("net2", Some(&z))), (None, Behind::Unknown));
    }

    #[test]
    fn the_clusters_network_is_behind_eth0_of_pods_that_name_none() {
        let (own, cluster) = ("a/own".parse().unwrap(), "kube-system/all".parse().unwrap());
        let silent = Networks::default();
        assert_eq!(silent.behind("eth0", Some(&cluster)), Behind::Network(&cluster));
        assert_eq!(silent.behind("eth0", None), Behind::Unknown);
        let outspoken = Networks { default: Some(Ok("a/own".parse().unwrap())), further: None };
        assert_eq!(outspoken.behind("eth0", Some(&cluster)), Behind::Network(&own));
    }
}
