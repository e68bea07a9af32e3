//! What a person writes for one NIC and family.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The entries by node name.
pub type Nodes = BTreeMap<String, Vec<Entry>>;

/// The addresses of one family on one NIC. Two entries with one `interface`, one for each family, are one NIC.
///
/// The texts are checked by [`Static::new`](crate::Static::new), all of them, so that a person sees every mistake at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// The interface's name in the guest: `eth0`.
    pub interface: String,
    /// The subnet in network form: `192.0.2.0/24`.
    pub subnet: String,
    /// The gateway inside `subnet`; pods get no default route from a NIC that has none.
    #[serde(default)]
    pub gateway: Option<String>,
    /// The addresses for pods, inside `subnet`: single ones, ranges `first-last`, CIDRs.
    #[serde(default)]
    pub ips: Vec<String>,
    /// The NIC's Ethernet address, for people and for a cross-check with the node.
    #[serde(default)]
    pub mac: Option<String>,
}
