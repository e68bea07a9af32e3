//! How a NIC shall look that a test or the demo adds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::nic::{NicKind, NicStatus, TrafficMode};

/// How a NIC shall look that a test or the demo adds. What is not said is made up: MAC, primary address, tags none.
#[derive(Clone, Debug)]
pub struct NicSpec {
    pub(crate) id: String,
    pub(crate) vswitch: String,
    pub(crate) kind: NicKind,
    pub(crate) status: Option<NicStatus>,
    pub(crate) mac: Option<String>,
    pub(crate) primary: Primary,
    pub(crate) device_index: Option<u32>,
    pub(crate) trunk: Option<String>,
    pub(crate) secondary: Vec<Ipv4Addr>,
    pub(crate) ipv6: Vec<Ipv6Addr>,
    pub(crate) ipv4_prefixes: Vec<Ipv4Net>,
    pub(crate) ipv6_prefixes: Vec<Ipv6Net>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) traffic_mode: TrafficMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Primary {
    Chosen,
    Given(Ipv4Addr),
    Missing,
}

impl NicSpec {
    /// Starts a NIC of any type.
    pub fn new(id: impl Into<String>, vswitch: impl Into<String>, kind: NicKind) -> Self {
        Self {
            id: id.into(),
            vswitch: vswitch.into(),
            kind,
            status: None,
            mac: None,
            primary: Primary::Chosen,
            device_index: None,
            trunk: None,
            secondary: Vec::new(),
            ipv6: Vec::new(),
            ipv4_prefixes: Vec::new(),
            ipv6_prefixes: Vec::new(),
            tags: BTreeMap::new(),
            traffic_mode: TrafficMode::Standard,
        }
    }

    /// Starts the primary NIC of an instance, device index 0.
    pub fn primary(id: impl Into<String>, vswitch: impl Into<String>) -> Self {
        Self::new(id, vswitch, NicKind::Primary).device_index(Some(0))
    }

    /// Starts a secondary NIC; its device index stays absent unless set.
    pub fn secondary(id: impl Into<String>, vswitch: impl Into<String>) -> Self {
        Self::new(id, vswitch, NicKind::Secondary)
    }

    /// Sets the state; without it `InUse` when attached, `Available` otherwise.
    #[must_use]
    pub fn status(mut self, status: NicStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets the MAC address.
    #[must_use]
    pub fn mac(mut self, mac: impl Into<String>) -> Self {
        self.mac = Some(mac.into());
        self
    }

    /// Sets the NIC's own address.
    #[must_use]
    pub fn primary_ip(mut self, address: Ipv4Addr) -> Self {
        self.primary = Primary::Given(address);
        self
    }

    /// Leaves the NIC without any IPv4 address of its own, which the real cloud does not do.
    #[must_use]
    pub fn without_primary_ip(mut self) -> Self {
        self.primary = Primary::Missing;
        self
    }

    /// Sets the device index, or has the API leave it out.
    #[must_use]
    pub fn device_index(mut self, index: Option<u32>) -> Self {
        self.device_index = index;
        self
    }

    /// Says on which trunk NIC a member rides.
    #[must_use]
    pub fn trunk(mut self, nic: impl Into<String>) -> Self {
        self.trunk = Some(nic.into());
        self
    }

    /// Adds single addresses of either family, unchecked.
    #[must_use]
    pub fn ips(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        for address in addresses {
            match address {
                IpAddr::V4(address) => self.secondary.push(address),
                IpAddr::V6(address) => self.ipv6.push(address),
            }
        }
        self
    }

    /// Adds a /28.
    #[must_use]
    pub fn ipv4_prefix(mut self, prefix: Ipv4Net) -> Self {
        self.ipv4_prefixes.push(prefix);
        self
    }

    /// Adds a /80.
    #[must_use]
    pub fn ipv6_prefix(mut self, prefix: Ipv6Net) -> Self {
        self.ipv6_prefixes.push(prefix);
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Makes it an RDMA NIC, or a plain one.
    #[must_use]
    pub fn traffic_mode(mut self, mode: TrafficMode) -> Self {
        self.traffic_mode = mode;
        self
    }
}
