use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Family;
use crate::message::{Message, attribute, attributes, number};
use crate::socket::{CREATE, EXCLUSIVE, Request};

pub(crate) const NEW_ADDRESS: u16 = 20;
pub(crate) const DELETE_ADDRESS: u16 = 21;
pub(crate) const GET_ADDRESS: u16 = 22;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// The kernel still asks whether it is free, or found that it is not.
const NOT_USABLE: u32 = 0x40 | 0x08;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub device: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// Whether packets can be sent from it already: duplicate address detection takes a second, and may say no.
    pub usable: bool,
}

impl Address {
    pub(crate) fn parse_all(messages: &[Message]) -> Vec<Self> {
        messages.iter().filter(|message| message.kind == NEW_ADDRESS).filter_map(Self::parse).collect()
    }

    pub(crate) fn parse(message: &Message) -> Option<Self> {
        let payload = &message.payload;
        let find = |wanted| attributes(payload.get(8..)?).find(|(kind, _)| *kind == wanted);
        // On a point-to-point interface the other attribute is the peer's.
        let (_, value) = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
        let short_flags = u32::from(*payload.get(2)?);
        let flags = find(IFA_FLAGS).and_then(|(_, value)| number(value, 0)).unwrap_or(short_flags);
        Some(Self {
            device: number(payload, 4)?,
            address: address_of(value)?,
            prefix: *payload.get(1)?,
            usable: flags & NOT_USABLE == 0,
        })
    }

    pub(crate) fn request(&self, kind: u16) -> Request {
        let mut payload = vec![Family::of(self.address).number(), self.prefix, 0, 0];
        payload.extend(self.device.to_ne_bytes());
        let octets = octets(self.address);
        attribute(&mut payload, IFA_LOCAL, &octets);
        attribute(&mut payload, IFA_ADDRESS, &octets);
        Request { kind, flags: if kind == NEW_ADDRESS { CREATE | EXCLUSIVE } else { 0 }, payload }
    }
}

pub(crate) fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
