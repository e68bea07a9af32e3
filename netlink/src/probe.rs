//! Who has an address: conflicts, gateways that do not answer, and telling that we have one.
//!
//! ipvlan's interfaces all have their parent's MAC, so an answer is not judged by being "ours": whoever says that it holds the
//! address, holds it, be it a pod beside us on the same NIC. A *question* from our own MAC is the exception: a switch that sends
//! our probe back looks just like a sibling that probes at the same moment. It is taken for the former, since for the latter
//! the kernel itself refuses an address that another ipvlan of the same parent has.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::packet::{EtherType, PacketSocket};
use crate::{Error, Link, Mac, arp, ndp};

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Somebody says to hold an address.
    Holds(IpAddr, Mac),
    /// Somebody wants to know whether an address is free, in order to take it.
    Probes(IpAddr, Mac),
}

/// An address that is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The address.
    pub address: IpAddr,
    /// Who has it, or is about to take it.
    pub mac: Mac,
}

/// How often is asked, and how long is waited each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often.
    pub tries: u32,
    /// How long.
    pub wait: Duration,
}

impl Default for Patience {
    /// Upstream's: three times 100 ms. RFC 5227's three probes take 3 to 5 s, which no pod's start has.
    fn default() -> Self {
        Self { tries: 3, wait: Duration::from_millis(100) }
    }
}

/// Asks for all addresses at once whether somebody has them; takes the whole of `patience` when nobody has.
///
/// Returns the first conflict. An interface without neighbours has none.
pub fn conflict(link: &Link, addresses: &[IpAddr], patience: Patience) -> Result<Option<Conflict>, Error> {
    let Some((mac, sockets)) = Sockets::open(link, addresses)? else { return Ok(None) };
    for _ in 0..patience.tries {
        for address in addresses {
            match address {
                IpAddr::V4(address) => sockets.send_arp(&arp::probe(mac, *address))?,
                IpAddr::V6(address) => sockets.send_ndp(&ndp::probe(mac, *address))?,
            }
        }
        let deadline = Instant::now() + patience.wait;
        let mut found = None;
        sockets.hear(deadline, |heard| {
            found = match heard {
                Heard::Holds(address, holder) if addresses.contains(&address) => {
                    Some(Conflict { address, mac: holder })
                }
                Heard::Probes(address, other) if addresses.contains(&address) && other != mac => {
                    Some(Conflict { address, mac: other })
                }
                _ => None,
            };
            found.is_some()
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Asks for all gateways at once, each from the address beside it, and returns those that did not answer; takes one round trip
/// when all do.
///
/// Comes after [`conflict`], never with it: the question tells the gateway that the address is here.
pub fn silent_gateways(
    link: &Link,
    asked: &[(IpAddr, IpAddr)],
    patience: Patience,
) -> Result<Vec<IpAddr>, Error> {
    let mut silent: Vec<IpAddr> = asked.iter().map(|(_, gateway)| *gateway).collect();
    let Some((mac, sockets)) = Sockets::open(link, &silent)? else { return Ok(Vec::new()) };
    for _ in 0..patience.tries {
        for (from, gateway) in asked.iter().filter(|(_, gateway)| silent.contains(gateway)) {
            match (from, gateway) {
                (IpAddr::V4(from), IpAddr::V4(gateway)) => {
                    sockets.send_arp(&arp::request(mac, *from, *gateway))?;
                }
                (IpAddr::V6(from), IpAddr::V6(gateway)) => {
                    sockets.send_ndp(&ndp::request(mac, *from, *gateway))?;
                }
                // Of another family: nothing that could be asked.
                _ => {}
            }
        }
        sockets.hear(Instant::now() + patience.wait, |heard| {
            if let Heard::Holds(address, _) = heard {
                silent.retain(|gateway| *gateway != address);
            }
            silent.is_empty()
        })?;
        if silent.is_empty() {
            break;
        }
    }
    Ok(silent)
}

/// Tells all neighbours that the addresses are here, so that none sends to where they were before.
pub fn announce(link: &Link, addresses: &[IpAddr]) -> Result<(), Error> {
    let Some((mac, sockets)) = Sockets::open(link, addresses)? else { return Ok(()) };
    addresses.iter().try_for_each(|address| match address {
        IpAddr::V4(address) => sockets.send_arp(&arp::announcement(mac, *address)),
        IpAddr::V6(address) => sockets.send_ndp(&ndp::announcement(mac, *address)),
    })
}

/// The sockets that a set of addresses needs.
struct Sockets {
    arp: Option<PacketSocket>,
    ndp: Option<PacketSocket>,
}

impl Sockets {
    /// Nothing when there are no neighbours to talk to.
    fn open(link: &Link, addresses: &[IpAddr]) -> Result<Option<(Mac, Self)>, Error> {
        let Some(mac) = link.mac.filter(|_| link.has_neighbours()) else { return Ok(None) };
        let open = |wanted: bool, kind| wanted.then(|| PacketSocket::open(link, kind)).transpose();
        let arp = open(addresses.iter().any(IpAddr::is_ipv4), EtherType::Arp)?;
        let ndp = open(addresses.iter().any(IpAddr::is_ipv6), EtherType::Ipv6)?;
        Ok(Some((mac, Self { arp, ndp })))
    }

    fn send_arp(&self, frame: &[u8]) -> Result<(), Error> {
        self.arp.as_ref().map_or(Ok(()), |socket| socket.send(frame))
    }

    fn send_ndp(&self, frame: &[u8]) -> Result<(), Error> {
        self.ndp.as_ref().map_or(Ok(()), |socket| socket.send(frame))
    }

    /// Listens until the deadline, or until the listener has heard enough.
    fn hear(&self, deadline: Instant, mut enough: impl FnMut(Heard) -> bool) -> Result<(), Error> {
        // The longest frame that we look for has 78 bytes.
        let mut buffer = [0; 128];
        loop {
            for (socket, parse) in
                [(&self.arp, arp::parse as fn(&[u8]) -> Option<Heard>), (&self.ndp, ndp::parse)]
            {
                let Some(socket) = socket else { continue };
                while let Some(frame) = socket.receive(&mut buffer)? {
                    if parse(frame).is_some_and(&mut enough) {
                        return Ok(());
                    }
                    if Instant::now() >= deadline {
                        return Ok(());
                    }
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.wait(left)?;
        }
    }

    fn wait(&self, left: Duration) -> Result<(), Error> {
        let both = [&self.arp, &self.ndp].into_iter().flatten();
        let mut fds: Vec<_> = both.map(|socket| PollFd::new(socket.fd(), PollFlags::IN)).collect();
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut fds, timeout.as_ref()) {
            // A signal is no answer and no end: upstream took it for a failed probe.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::kernel("wait for neighbours", errno)),
        }
    }
}
