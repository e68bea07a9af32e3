//! ARP for IPv4 over Ethernet (RFC 826), and what RFC 5227 makes of it.

use std::net::Ipv4Addr;

use crate::Mac;
use crate::packet::EtherType;
use crate::probe::Heard;

const BROADCAST: [u8; 6] = [0xff; 6];
const REQUEST: u16 = 1;
/// Hardware Ethernet, protocol IPv4, lengths 6 and 4.
const FORM: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Asks who has an address without claiming one: nobody's cache is changed by it.
pub(crate) fn probe(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    request(mac, Ipv4Addr::UNSPECIFIED, address)
}

/// Says to all that an address is here.
pub(crate) fn announcement(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    request(mac, address, address)
}

/// Asks who has an address.
pub(crate) fn request(mac: Mac, from: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac.0);
    frame.extend(EtherType::Arp.number().to_be_bytes());
    frame.extend(FORM);
    frame.extend(REQUEST.to_be_bytes());
    frame.extend(mac.0);
    frame.extend(from.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// What a frame says of who has which address.
pub(crate) fn parse(frame: &[u8]) -> Option<Heard> {
    let arp = frame.get(14..42).filter(|arp| arp.starts_with(&FORM))?;
    let is_request = arp.get(6..8)? == REQUEST.to_be_bytes();
    let mac = Mac(arp.get(8..14)?.try_into().ok()?);
    let sender = Ipv4Addr::from(<[u8; 4]>::try_from(arp.get(14..18)?).ok()?);
    let target = Ipv4Addr::from(<[u8; 4]>::try_from(arp.get(24..28)?).ok()?);
    if !sender.is_unspecified() {
        return Some(Heard::Holds(sender.into(), mac));
    }
    is_request.then_some(Heard::Probes(target.into(), mac))
}
