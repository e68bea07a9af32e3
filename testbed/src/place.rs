//! Where a control plane runs, and at which addresses it is reached.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::error::Error;
use crate::netns::Netns;
use crate::proxy::Proxy;
use crate::vpc::Families;

/// The service range of a cluster that has IPv4, unless it is told another one.
const SERVICES_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16));
/// The same for IPv6; 108 is the longest prefix that Kubernetes hands out whole.
const SERVICES_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0), 108));

/// Where a control plane runs.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// On the machine's own loopback, for nobody else.
    Loopback,
    /// In a VPC's namespace, for nodes there, and on the machine's own loopback too.
    Vpc {
        /// The namespace.
        netns: Netns,
        /// At which address of it nodes find the API server.
        gateway: IpAddr,
        /// The service ranges, the primary family first.
        services: Vec<IpNet>,
    },
}

impl Place {
    /// The service ranges, the primary family first.
    pub(crate) fn services(&self) -> Vec<IpNet> {
        match self {
            Self::Loopback => usual_services(Families::V4),
            Self::Vpc { services, .. } => services.clone(),
        }
    }

    /// The addresses beside loopback that servers answer at: the first one of each service range is the API server's.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.services().into_iter().map(first).collect();
        if let Self::Vpc { gateway, .. } = self {
            addresses.push(*gateway);
        }
        addresses
    }

    /// Makes `command` start there.
    pub(crate) fn put(&self, command: &mut Command) {
        if let Self::Vpc { netns, .. } = self {
            netns.place(command);
        }
    }

    /// Runs `work` there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match self {
            Self::Loopback => work(),
            Self::Vpc { netns, .. } => netns.run(work)?,
        }
    }

    /// Opens the same loopback port on the machine as there.
    pub(crate) fn door(&self, port: u16) -> Result<Option<Proxy>, Error> {
        let Self::Vpc { netns, .. } = self else { return Ok(None) };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address)
            .map_err(|source| Error::Network { action: format!("listen on {address}"), source })?;
        Proxy::start(listener, netns, address).map(Some)
    }
}

/// The service ranges of a cluster that is told no others, the primary family first.
pub(crate) fn usual_services(families: Families) -> Vec<IpNet> {
    match families {
        Families::V4 => vec![SERVICES_V4],
        Families::V6 => vec![SERVICES_V6],
        Families::Dual => vec![SERVICES_V4, SERVICES_V6],
    }
}

/// The address after the network's own.
fn first(range: IpNet) -> IpAddr {
    match range {
        IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()).saturating_add(1)).into(),
        IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()).saturating_add(1)).into(),
    }
}
