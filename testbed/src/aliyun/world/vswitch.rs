//! VPCs and vSwitches, and which of their addresses the cloud keeps for itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// A private network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// `vpc-…`.
    pub id: String,
    /// Its IPv4 block.
    pub cidr: Ipv4Net,
    /// Its IPv6 block, a /56.
    pub ipv6_cidr: Option<Ipv6Net>,
}

/// A subnet in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VSwitch {
    /// `vsw-…`.
    pub id: String,
    /// The VPC that it belongs to.
    pub vpc: String,
    /// The zone.
    pub zone: String,
    /// Its IPv4 block, /16 to /29.
    pub cidr: Ipv4Net,
    /// Its IPv6 block, a /64, when IPv6 is on.
    pub ipv6_cidr: Option<Ipv6Net>,
    /// Its display name.
    pub name: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// IPv4 addresses at the end of a vSwitch that the cloud keeps: gateway, service, broadcast.
const LAST_IPV4: u32 = 3;
/// IPv6 addresses at the end of a vSwitch that the cloud keeps.
const LAST_IPV6: u128 = 9;

impl VSwitch {
    /// Returns the first and the last IPv4 address that may be assigned: all but the first one and the last three.
    #[must_use]
    pub fn usable_ipv4(&self) -> (Ipv4Addr, Ipv4Addr) {
        let first = u32::from(self.cidr.network()).saturating_add(1);
        let last = u32::from(self.cidr.broadcast()).saturating_sub(LAST_IPV4);
        (first.into(), last.into())
    }

    /// Returns the first and the last IPv6 address that may be assigned: all but the first one and the last nine.
    #[must_use]
    pub fn usable_ipv6(&self) -> Option<(Ipv6Addr, Ipv6Addr)> {
        let cidr = self.ipv6_cidr?;
        let first = u128::from(cidr.network()).saturating_add(1);
        let last = u128::from(cidr.broadcast()).saturating_sub(LAST_IPV6);
        Some((first.into(), last.into()))
    }

    /// Tells whether an address may be assigned here.
    #[must_use]
    pub fn may_hold(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let (first, last) = self.usable_ipv4();
                (first..=last).contains(&address)
            }
            IpAddr::V6(address) => {
                self.usable_ipv6().is_some_and(|(first, last)| (first..=last).contains(&address))
            }
        }
    }

    /// Returns the IPv4 gateway: the third address from the end.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        u32::from(self.cidr.broadcast()).saturating_sub(2).into()
    }

    /// Returns the IPv6 gateway as the metadata service documents it: the ninth address from the end.
    #[must_use]
    pub fn ipv6_gateway(&self) -> Option<Ipv6Addr> {
        self.ipv6_cidr.map(|cidr| u128::from(cidr.broadcast()).saturating_sub(8).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vswitch(cidr: &str) -> VSwitch {
        VSwitch {
            id: "vsw-a".into(),
            vpc: "vpc-a".into(),
            zone: "z".into(),
            cidr: cidr.parse().unwrap(),
            ipv6_cidr: Some("2001:db8:0:1::/64".parse().unwrap()),
            name: String::new(),
            tags: BTreeMap::new(),
        }
    }

    #[test]
    fn the_gateway_is_the_third_address_from_the_end() {
        assert_eq!(vswitch("192.168.0.0/24").gateway().to_string(), "192.168.0.253");
        assert_eq!(vswitch("10.0.8.0/21").gateway().to_string(), "10.0.15.253");
        assert_eq!(vswitch("10.0.0.0/29").gateway().to_string(), "10.0.0.5");
        assert_eq!(
            vswitch("10.0.0.0/29").ipv6_gateway().unwrap().to_string(),
            "2001:db8:0:1:ffff:ffff:ffff:fff7"
        );
    }

    #[test]
    fn reserved_addresses_may_not_be_held() {
        let vswitch = vswitch("192.168.1.0/24");
        for reserved in ["192.168.1.0", "192.168.1.253", "192.168.1.255", "2001:db8:0:1::", "192.168.2.1"] {
            assert!(!vswitch.may_hold(reserved.parse().unwrap()), "{reserved}");
        }
        for free in ["192.168.1.1", "192.168.1.252", "2001:db8:0:1::1"] {
            assert!(vswitch.may_hold(free.parse().unwrap()), "{free}");
        }
    }
}
