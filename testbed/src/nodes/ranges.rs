//! The blocks of addresses that a cluster takes to be its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::place;
use crate::vpc::Families;

/// The ready-made cloud's first subnet: kube-proxy so believes of its pods that they are the cluster's own, and does not masquerade
/// what they send to services; of those of other subnets it does. Both must come back through the node.
const PODS_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(172, 31, 192, 0), 20));
/// The same for IPv6.
const PODS_V6: IpNet =
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0xc0ac, 0, 0, 0, 0), 64));

/// Which addresses a cluster takes to be its own, of the families that it has, the primary one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// From which services get theirs.
    pub services: Vec<IpNet>,
    /// What kube-proxy is told of pods (`clusterCIDR`).
    pub pods: Vec<IpNet>,
}

impl Ranges {
    /// Those of a cluster that is told nothing else.
    pub(crate) fn usual(families: Families) -> Self {
        let pods = match families {
            Families::V4 => vec![PODS_V4],
            Families::V6 => vec![PODS_V6],
            Families::Dual => vec![PODS_V4, PODS_V6],
        };
        Self { services: place::usual_services(families), pods }
    }

    /// Where pods are told to look for names: the tenth address of services, as everywhere. Nobody answers there.
    pub(crate) fn name_server(&self) -> Option<IpAddr> {
        Some(match self.services.first()? {
            IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()).saturating_add(10)).into(),
            IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()).saturating_add(10)).into(),
        })
    }
}
