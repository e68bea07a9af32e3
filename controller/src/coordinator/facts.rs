//! What the cluster shows of its CIDRs: read by [`read`](mod@super::read), judged by [`judge`](mod@super::judge).

use std::collections::BTreeMap;

/// What asking for one thing brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight<T> {
    /// It is there.
    There(T),
    /// The API server says that there is none, or that it knows no such kind.
    Absent,
    /// The API server says that we may not look.
    Denied(String),
    /// It did not say anything of use.
    Unread(String),
}

/// All that the cluster shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The `ServiceCIDR` objects.
    pub(super) services: Sight<Vec<Named>>,
    /// `ClusterConfiguration` in the `ConfigMap` of kubeadm.
    pub(super) kubeadm: Sight<String>,
    /// The pods of the control plane.
    pub(super) components: Sight<Vec<Component>>,
    /// The `IPPools` of Calico.
    pub(super) calico: Sight<Vec<CalicoPool>>,
    /// The `ConfigMap` of Cilium.
    pub(super) cilium: Sight<BTreeMap<String, String>>,
    /// The `CiliumPodIPPools`.
    pub(super) cilium_pools: Sight<Vec<Named>>,
}

/// An object that lists CIDRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// `metadata.name`.
    pub(super) name: String,
    /// What it lists, as it is written.
    pub(super) cidrs: Vec<String>,
}

/// A pod of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    /// `metadata.name`.
    pub(super) pod: String,
    /// The words of its commands.
    pub(super) words: Vec<String>,
}

/// An `IPPool` of Calico. Whether it is disabled is of no matter: pods that were started before still have its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CalicoPool {
    /// `metadata.name`.
    pub(super) name: String,
    /// `spec.cidr`.
    pub(super) cidr: String,
    /// `spec.allowedUses`; empty is for pods.
    pub(super) uses: Vec<String>,
}

impl CalicoPool {
    /// Whether pods get addresses of it.
    pub(super) fn serves_pods(&self) -> bool {
        self.uses.is_empty() || self.uses.iter().any(|one| one == "Workload")
    }
}
