//! What the interface's neighbours say to the addresses that it is about to get.
//!
//! The whole process moves into the sandbox's namespace. It has one thread, and all that it does afterwards is the same in
//! every network namespace: files, stdout, and the agent's socket, which is a path.

use std::net::IpAddr;
use std::time::Duration;

use netlink::{Conflict, Error, Link, Netns, Patience};

/// A switch port may take a moment to forward; one that takes longer fails the probes in any case.
const CARRIER_PATIENCE: Duration = Duration::from_secs(1);

/// What the agent wants to know before the addresses are used.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// All addresses of the interface.
    pub(crate) addresses: Vec<IpAddr>,
    /// Those that nobody else may have.
    pub(crate) exclusive: Vec<IpAddr>,
    /// Addresses with the gateway that must answer to them.
    pub(crate) gateways: Vec<(IpAddr, IpAddr)>,
}

impl Questions {
    pub(crate) const fn is_empty(&self) -> bool {
        self.exclusive.is_empty() && self.gateways.is_empty()
    }
}

/// What came out.
#[derive(Debug)]
pub(crate) enum Finding {
    /// Nothing against the addresses.
    Fine,
    /// There is no interface yet: its plugin asks for addresses first, as ptp does. Nobody could be asked.
    NoInterface,
    /// Somebody else has one of them.
    Conflict(Conflict),
    /// A gateway does not answer.
    SilentGateway(IpAddr),
}

/// Asks what is to be asked, and then tells the neighbours where the addresses are now: the kernel does that only for an
/// interface that comes up with its addresses, and this one is up before it has them.
///
/// Not for nothing: closing a packet socket waits for every processor to pass a point of rest, 10 ms on a busy machine.
pub(crate) fn ask(netns: Netns, interface: &str, questions: &Questions) -> Result<Finding, Error> {
    netns.enter()?;
    let Some(link) = Link::find(interface)? else { return Ok(Finding::NoInterface) };
    let Questions { addresses, exclusive, gateways } = questions;
    link.bring_up(CARRIER_PATIENCE)?;
    if let Some(conflict) = netlink::conflict(&link, exclusive, Patience::default())? {
        return Ok(Finding::Conflict(conflict));
    }
    if let Some(gateway) = netlink::silent_gateways(&link, gateways, Patience::default())?.first() {
        return Ok(Finding::SilentGateway(*gateway));
    }
    netlink::announce(&link, addresses)?;
    Ok(Finding::Fine)
}

/// Which of these addresses the interface lacks; nothing when there is no such interface.
pub(crate) fn missing(
    netns: Netns,
    interface: &str,
    wanted: &[IpAddr],
) -> Result<Option<Vec<IpAddr>>, Error> {
    netns.enter()?;
    let Some(link) = Link::find(interface)? else { return Ok(None) };
    let has = link.addresses()?;
    Ok(Some(wanted.iter().copied().filter(|address| !has.iter().any(|(held, _)| held == address)).collect()))
}
