use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use crate::message::{Message, attribute, attributes, nested, number, string, text};
use crate::socket::{CREATE, EXCLUSIVE, Request, Want, ask};
use crate::{Address, Error, Mac, PROTOCOL, Stacked};

pub(crate) const NEW_LINK: u16 = 16;
pub(crate) const DELETE_LINK: u16 = 17;
pub(crate) const GET_LINK: u16 = 18;

pub(crate) const IFLA_ADDRESS: u16 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
pub(crate) const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
pub(crate) const IFLA_LINKINFO: u16 = 18;
pub(crate) const IFLA_INFO_KIND: u16 = 1;
pub(crate) const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_LINK_NETNSID: u16 = 37;

/// The group of our cables' ends on the node: `ip link show group 83` lists them, and a rule of a packet filter can name them all.
pub const GROUP: u32 = PROTOCOL as u32;

const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
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
    /// The longest packet that it takes, in bytes.
    pub mtu: u32,
    /// What it is, such as `veth` or `ipvlan`; empty for hardware.
    pub kind: String,
    /// The number of its parent or its other end, which may be in another namespace.
    pub peer: Option<u32>,
    /// Whether that is in another namespace, where the number is another's.
    pub peer_is_elsewhere: bool,
    /// The number of the bond, bridge or the like that it is a part of.
    pub master: Option<u32>,
    /// What VLAN or bond it is, if it is one.
    pub stacked: Option<Stacked>,
    /// How many packets wait in it at most.
    pub tx_queue_len: u32,
    flags: u32,
}

impl Link {
    /// One that is up and plain, for whoever decides without a kernel.
    #[must_use]
    pub fn plain(index: u32, name: &str) -> Self {
        Self {
            index,
            name: name.to_owned(),
            mac: Some(Mac([2, 0, 0, 0, 0, 0])),
            mtu: 1500,
            kind: String::new(),
            peer: None,
            peer_is_elsewhere: false,
            master: None,
            stacked: None,
            tx_queue_len: 1000,
            flags: IFF_UP,
        }
    }

    /// The same, down; likewise without a kernel.
    #[must_use]
    pub fn down(mut self) -> Self {
        self.flags &= !IFF_UP;
        self
    }

    /// Finds one by its name; nothing when there is none.
    pub fn find(name: &str) -> Result<Option<Self>, Error> {
        let mut payload = vec![0; 16];
        text(&mut payload, IFLA_IFNAME, name);
        let doing = format!("look up the interface {name}");
        let message = match ask(&doing, GET_LINK, Want::One, &payload) {
            Ok(messages) => messages.into_iter().find(|message| message.kind == NEW_LINK),
            Err(Error::Kernel { source, .. } | Error::Refused { source, .. }) if is_missing(&source) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let link = message.as_ref().and_then(Self::parse);
        link.map(Some).ok_or(Error::Malformed { doing })
    }

    pub(crate) fn parse(message: &Message) -> Option<Self> {
        let payload = &message.payload;
        let mut link = Self {
            index: number(payload, 4)?,
            name: String::new(),
            mac: None,
            mtu: 0,
            kind: String::new(),
            peer: None,
            peer_is_elsewhere: false,
            master: None,
            stacked: None,
            tx_queue_len: 0,
            flags: number(payload, 8)?,
        };
        for (kind, value) in attributes(payload.get(16..)?) {
            match kind {
                IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
                IFLA_IFNAME => link.name = string(value),
                IFLA_MTU => link.mtu = number(value, 0)?,
                IFLA_LINK => link.peer = number(value, 0),
                IFLA_MASTER => link.master = number(value, 0),
                IFLA_LINK_NETNSID => link.peer_is_elsewhere = true,
                IFLA_TXQLEN => link.tx_queue_len = number(value, 0)?,
                IFLA_LINKINFO => {
                    let info = |wanted| attributes(value).find(|(kind, _)| *kind == wanted);
                    if let Some((_, name)) = info(IFLA_INFO_KIND) {
                        link.kind = string(name);
                    }
                    let data = info(IFLA_INFO_DATA);
                    link.stacked = data.and_then(|(_, data)| Stacked::parse(&link.kind, data));
                }
                _ => {}
            }
        }
        Some(link)
    }

    /// Whether somebody set it up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Whether it leads back to where it comes from.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        self.flags & IFF_LOOPBACK != 0
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
            let request = set_up(self.index);
            ask(&format!("set the interface {} up", self.name), NEW_LINK, Want::Done, &request.payload)?;
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
        let all = Address::parse_all(&ask(&doing, crate::address::GET_ADDRESS, Want::All, &[0; 8])?);
        let ours = all.into_iter().filter(|address| address.device == self.index);
        Ok(ours.map(|address| (address.address, address.prefix)).collect())
    }
}

/// A cable of two ends, of which the other is in another namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veth {
    /// The name of the end here.
    pub name: String,
    /// Its MAC address. One is set for both ends, as the node's systemd-udevd would change it otherwise, after it was read.
    pub mac: Mac,
    /// The name of the end there.
    pub peer_name: String,
    /// Its MAC address.
    pub peer_mac: Mac,
    /// Of both ends, in bytes.
    pub mtu: u32,
}

impl Veth {
    /// The end here is up as soon as it is there; the other cannot be, since it gets its peer last.
    pub(crate) fn request(&self, peer_namespace: BorrowedFd<'_>) -> Request {
        let end = |payload: &mut Vec<u8>, flags: u32, name: &str, mac: Mac| {
            payload.extend([0; 8]);
            payload.extend(flags.to_ne_bytes());
            payload.extend(flags.to_ne_bytes());
            text(payload, IFLA_IFNAME, name);
            attribute(payload, IFLA_ADDRESS, &mac.0);
            attribute(payload, IFLA_MTU, &self.mtu.to_ne_bytes());
        };
        let mut payload = Vec::new();
        end(&mut payload, IFF_UP, &self.name, self.mac);
        attribute(&mut payload, IFLA_GROUP, &GROUP.to_ne_bytes());
        nested(&mut payload, IFLA_LINKINFO, |info| {
            attribute(info, IFLA_INFO_KIND, b"veth");
            nested(info, IFLA_INFO_DATA, |data| {
                nested(data, VETH_INFO_PEER, |peer| {
                    end(peer, 0, &self.peer_name, self.peer_mac);
                    attribute(peer, IFLA_NET_NS_FD, &peer_namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
        Request { kind: NEW_LINK, flags: CREATE | EXCLUSIVE, payload }
    }
}

/// The head of an interface that is to be there, and up as soon as it is.
pub(crate) fn new_up() -> Vec<u8> {
    let mut payload = vec![0; 8];
    payload.extend(IFF_UP.to_ne_bytes());
    payload.extend(IFF_UP.to_ne_bytes());
    payload
}

/// The head of a question or change of one interface.
pub(crate) fn head(index: u32) -> Vec<u8> {
    let mut payload = vec![0; 4];
    payload.extend(index.to_ne_bytes());
    payload.extend([0; 8]);
    payload
}

pub(crate) fn set_up(index: u32) -> Request {
    let mut payload = vec![0; 4];
    payload.extend(index.to_ne_bytes());
    payload.extend(IFF_UP.to_ne_bytes());
    payload.extend(IFF_UP.to_ne_bytes());
    Request { kind: NEW_LINK, flags: 0, payload }
}

pub(crate) fn set_down(index: u32) -> Request {
    let mut payload = head(index);
    // The flags are zeros; the mask says which of them counts.
    payload.truncate(12);
    payload.extend(IFF_UP.to_ne_bytes());
    Request { kind: NEW_LINK, flags: 0, payload }
}

pub(crate) fn set_mtu(index: u32, mtu: u32) -> Request {
    let mut payload = head(index);
    attribute(&mut payload, IFLA_MTU, &mtu.to_ne_bytes());
    Request { kind: NEW_LINK, flags: 0, payload }
}

/// Zero is none.
pub(crate) fn set_master(index: u32, master: u32) -> Request {
    let mut payload = head(index);
    attribute(&mut payload, IFLA_MASTER, &master.to_ne_bytes());
    Request { kind: NEW_LINK, flags: 0, payload }
}

pub(crate) fn set_mac(index: u32, mac: Mac) -> Request {
    let mut payload = head(index);
    attribute(&mut payload, IFLA_ADDRESS, &mac.0);
    Request { kind: NEW_LINK, flags: 0, payload }
}

pub(crate) fn set_tx_queue_len(index: u32, length: u32) -> Request {
    let mut payload = head(index);
    attribute(&mut payload, IFLA_TXQLEN, &length.to_ne_bytes());
    Request { kind: NEW_LINK, flags: 0, payload }
}

/// The kernel says "no such device", and for names that cannot exist "out of range" or "invalid".
fn is_missing(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::NODEV | rustix::io::Errno::RANGE | rustix::io::Errno::INVAL))
}
