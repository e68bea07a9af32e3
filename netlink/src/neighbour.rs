use std::net::IpAddr;

use crate::address::{address_of, octets};
use crate::message::{Message, attribute, attributes, number, short};
use crate::socket::{CREATE, REPLACE, Request};
use crate::{Family, Mac, PROTOCOL};

pub(crate) const NEW_NEIGHBOUR: u16 = 28;
pub(crate) const DELETE_NEIGHBOUR: u16 = 29;
pub(crate) const GET_NEIGHBOUR: u16 = 30;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
pub(crate) const NDA_IFINDEX: u16 = 8;
const NDA_PROTOCOL: u16 = 12;
const PERMANENT: u16 = 0x80;

/// A neighbour that is known for good, so that nobody need ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The number of the interface.
    pub device: u32,
    /// Its address.
    pub address: IpAddr,
    /// Where frames for it go.
    pub mac: Mac,
}

impl Neighbour {
    pub(crate) fn parse_all(messages: &[Message]) -> Vec<Self> {
        messages.iter().filter(|message| message.kind == NEW_NEIGHBOUR).filter_map(Self::parse).collect()
    }

    /// Nothing when it is one that the kernel learned.
    fn parse(message: &Message) -> Option<Self> {
        let payload = &message.payload;
        if short(payload, 8)? & PERMANENT == 0 {
            return None;
        }
        let find = |wanted| attributes(payload.get(12..)?).find(|(kind, _)| *kind == wanted);
        Some(Self {
            device: number(payload, 4)?,
            address: address_of(find(NDA_DST)?.1)?,
            mac: Mac(find(NDA_LLADDR)?.1.try_into().ok()?),
        })
    }

    pub(crate) fn request(&self, kind: u16) -> Request {
        let Self { device, address, mac } = self;
        let mut payload = vec![Family::of(*address).number(), 0, 0, 0];
        payload.extend(device.to_ne_bytes());
        payload.extend(PERMANENT.to_ne_bytes());
        payload.extend([0; 2]);
        attribute(&mut payload, NDA_DST, &octets(*address));
        if kind == NEW_NEIGHBOUR {
            attribute(&mut payload, NDA_LLADDR, &mac.0);
            attribute(&mut payload, NDA_PROTOCOL, &[PROTOCOL]);
        }
        // What the kernel learned before gives way.
        Request { kind, flags: if kind == NEW_NEIGHBOUR { CREATE | REPLACE } else { 0 }, payload }
    }
}

/// The question for the neighbours of one interface; a kernel that does not filter lists all.
pub(crate) fn question(device: Option<u32>) -> Vec<u8> {
    let mut payload = vec![0; 12];
    if let Some(device) = device {
        attribute(&mut payload, NDA_IFINDEX, &device.to_ne_bytes());
    }
    payload
}
