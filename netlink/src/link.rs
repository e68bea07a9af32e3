use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use crate::rtnetlink::{
    GET_ADDRESS, GET_LINK, NEW_ADDRESS, NEW_LINK, Want, ask, attribute, attributes, number,
};
use crate::{Error, Mac};

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;
const IFF_LOWER_UP: u32 = 0x1_0000;

/// A network interface in the calling thread's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, which is of this namespace only.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its address, if it is an Ethernet.
    pub mac: Option<Mac>,
    flags: u32,
}

impl Link {
    /// Finds one by its name; nothing when there is none.
    pub fn find(name: &str) -> Result<Option<Self>, Error> {
        let mut payload = vec![0; 16];
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        attribute(&mut payload, IFLA_IFNAME, &text);
        let doing = format!("look up the interface {name}");
        let message = match ask(&doing, GET_LINK, Want::One, &payload) {
            Ok(messages) => messages.into_iter().find(|message| message.kind == NEW_LINK),
            Err(Error::Kernel { source, .. }) if is_missing(&source) => return Ok(None),
            Err(error) => return Err(error),
        };
        let malformed = || Error::Malformed { doing: doing.clone() };
        let payload = message.ok_or_else(malformed)?.payload;
        let index = number(&payload, 4).ok_or_else(malformed)?;
        let flags = number(&payload, 8).ok_or_else(malformed)?;
        let mac = attributes(payload.get(16..).unwrap_or_default())
            .find(|(kind, _)| *kind == IFLA_ADDRESS)
            .and_then(|(_, value)| value.try_into().ok())
            .map(Mac);
        Ok(Some(Self { index, name: name.to_owned(), mac, flags }))
    }

    /// Whether somebody set it up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Whether its neighbours are found by asking: false for loopback, tunnels and ipvlan's L3 mode.
    #[must_use]
    pub const fn has_neighbours(&self) -> bool {
        self.flags & IFF_NOARP == 0 && self.mac.is_some()
    }

    /// Sets it up, and waits until frames can leave it, but no longer than `patience`.
    ///
    /// Returns whether they can: a switch port may take its time.
    pub fn bring_up(&self, patience: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + patience;
        if !self.is_up() {
            let mut payload = vec![0; 4];
            payload.extend(self.index.to_ne_bytes());
            payload.extend(IFF_UP.to_ne_bytes());
            payload.extend(IFF_UP.to_ne_bytes());
            ask(&format!("set the interface {} up", self.name), NEW_LINK, Want::Done, &payload)?;
        }
        loop {
            if Self::find(&self.name)?.is_some_and(|link| link.flags & IFF_LOWER_UP != 0) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The addresses that it has, with their prefix lengths.
    pub fn addresses(&self) -> Result<Vec<(IpAddr, u8)>, Error> {
        let doing = format!("list the addresses of the interface {}", self.name);
        let messages = ask(&doing, GET_ADDRESS, Want::All, &[0; 8])?;
        let ours = messages
            .iter()
            .filter(|message| message.kind == NEW_ADDRESS && number(&message.payload, 4) == Some(self.index));
        Ok(ours.filter_map(|message| address(&message.payload)).collect())
    }
}

fn address(payload: &[u8]) -> Option<(IpAddr, u8)> {
    let find = |wanted| attributes(payload.get(8..).unwrap_or_default()).find(|(kind, _)| *kind == wanted);
    // On a point-to-point interface the other attribute is the peer's.
    let (_, value) = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
    let address = match value.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?)),
    };
    Some((address, *payload.get(1)?))
}

/// The kernel says "no such device", and for names that cannot exist "out of range" or "invalid".
fn is_missing(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::NODEV | rustix::io::Errno::RANGE | rustix::io::Errno::INVAL))
}
