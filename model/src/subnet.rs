//! A subnet (vSwitch): its blocks and gateways.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::address::Family;
use crate::nic::SubnetId;

/// A subnet of a VPC or of a rack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subnet {
    /// The cloud's identifier.
    pub id: SubnetId,
    /// The IPv4 block, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<Ipv4Net>,
    /// The IPv4 gateway, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4_gateway: Option<Ipv4Addr>,
    /// The IPv6 block, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Ipv6Net>,
    /// The IPv6 gateway, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6_gateway: Option<Ipv6Addr>,
    /// The zone it lies in; empty where there are none.
    #[serde(default)]
    pub zone: String,
}

impl Subnet {
    /// Returns the block of a family, in network form.
    #[must_use]
    pub fn block(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.v4.map(|net| IpNet::V4(net.trunc())),
            Family::V6 => self.v6.map(|net| IpNet::V6(net.trunc())),
        }
    }

    /// Returns the gateway of a family.
    #[must_use]
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4_gateway.map(IpAddr::V4),
            Family::V6 => self.v6_gateway.map(IpAddr::V6),
        }
    }
}
