//! Elastic network interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;

/// The API's `Type`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NicKind {
    /// Made with the instance; cannot be detached.
    Primary,
    /// Attached later.
    Secondary,
    /// Carries member NICs.
    Trunk,
    /// Rides on a trunk.
    Member,
    /// A type of tomorrow, in the API's word.
    Other(String),
}

impl NicKind {
    /// Returns the API's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Primary => "Primary",
            Self::Secondary => "Secondary",
            Self::Trunk => "Trunk",
            Self::Member => "Member",
            Self::Other(word) => word,
        }
    }
}

/// The API's `Status`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NicStatus {
    /// On no instance.
    Available,
    /// On its way to an instance.
    Attaching,
    /// On an instance.
    InUse,
    /// On its way off an instance.
    Detaching,
    /// About to be gone.
    Deleting,
    /// A state of tomorrow, in the API's word.
    Other(String),
}

impl NicStatus {
    /// Returns the API's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Available => "Available",
            Self::Attaching => "Attaching",
            Self::InUse => "InUse",
            Self::Detaching => "Detaching",
            Self::Deleting => "Deleting",
            Self::Other(word) => word,
        }
    }
}

/// The API's `NetworkInterfaceTrafficMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficMode {
    /// A plain NIC.
    #[default]
    Standard,
    /// An RDMA NIC.
    HighPerformance,
}

impl TrafficMode {
    /// Returns the API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::HighPerformance => "HighPerformance",
        }
    }
}

/// Where a NIC is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The instance.
    pub instance: String,
    /// `DeviceIndex`, which the API may leave out.
    pub device_index: Option<u32>,
    /// The trunk NIC of a member.
    pub trunk: Option<String>,
}

/// A NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// `eni-…`.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Type.
    pub kind: NicKind,
    /// State.
    pub status: NicStatus,
    /// MAC address, lower case, with colons.
    pub mac: String,
    /// vSwitch.
    pub vswitch: String,
    /// VPC.
    pub vpc: String,
    /// Zone.
    pub zone: String,
    /// Its own address. None only where a test wants a NIC without one.
    pub primary: Option<Ipv4Addr>,
    /// Further IPv4 addresses, in the order in which they came.
    pub secondary: Vec<Ipv4Addr>,
    /// IPv6 addresses, none of them marked as primary.
    pub ipv6: Vec<Ipv6Addr>,
    /// /28 blocks.
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// /80 blocks.
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Security groups.
    pub security_groups: Vec<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Where it is attached.
    pub attachment: Option<Attachment>,
    /// RDMA or not.
    pub traffic_mode: TrafficMode,
    /// Whether it goes when its instance goes.
    pub delete_on_release: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Until then, another change is refused with `Operation.Conflict`.
    pub busy_until: Option<Timestamp>,
}

impl Nic {
    /// Returns every single address: primary, secondary, IPv6. Prefixes are not opened.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let ipv4 = self.primary.iter().chain(&self.secondary).copied().map(IpAddr::V4);
        ipv4.chain(self.ipv6.iter().copied().map(IpAddr::V6)).collect()
    }

    /// Returns how much of the IPv4 quota is used; a /28 counts as one, as does the primary address.
    #[must_use]
    pub fn ipv4_load(&self) -> usize {
        self.secondary.len() + self.ipv4_prefixes.len() + usize::from(self.primary.is_some())
    }

    /// Returns how much of the IPv6 quota is used; a /80 counts as one.
    #[must_use]
    pub fn ipv6_load(&self) -> usize {
        self.ipv6.len() + self.ipv6_prefixes.len()
    }
}
