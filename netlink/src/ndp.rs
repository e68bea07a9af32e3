//! Neighbour discovery of IPv6 over Ethernet (RFC 4861), and duplicate address detection (RFC 4862).

use std::net::Ipv6Addr;

use crate::Mac;
use crate::packet::EtherType;
use crate::probe::Heard;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ICMPV6: u8 = 58;
/// Nobody believes a neighbour's message that may have passed a router.
const HOP_LIMIT: u8 = 255;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// Replaces what is cached.
const OVERRIDE: [u8; 4] = [0x20, 0, 0, 0];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Asks who has an address without claiming one: nobody's cache is changed by it.
pub(crate) fn probe(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    frame(mac, Ipv6Addr::UNSPECIFIED, solicited_node(address), SOLICITATION, [0; 4], address, None)
}

/// Asks who has an address.
pub(crate) fn request(mac: Mac, from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    frame(mac, from, solicited_node(target), SOLICITATION, [0; 4], target, Some(SOURCE_LINK_ADDRESS))
}

/// Says to all that an address is here.
pub(crate) fn announcement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    frame(mac, address, ALL_NODES, ADVERTISEMENT, OVERRIDE, address, Some(TARGET_LINK_ADDRESS))
}

/// What a frame says of who has which address.
pub(crate) fn parse(frame: &[u8]) -> Option<Heard> {
    let mac = Mac(frame.get(6..12)?.try_into().ok()?);
    let ip = frame.get(14..)?;
    if *ip.get(6)? != ICMPV6 || *ip.get(7)? != HOP_LIMIT {
        return None;
    }
    let source = address(ip, 8)?;
    let icmp = ip.get(40..)?;
    let target = address(icmp, 8)?;
    match *icmp.first()? {
        ADVERTISEMENT => Some(Heard::Holds(target.into(), mac)),
        SOLICITATION if source.is_unspecified() => Some(Heard::Probes(target.into(), mac)),
        _ => None,
    }
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..at + 16)?.try_into().ok().map(|octets: [u8; 16]| octets.into())
}

/// The group that whoever has an address listens to.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

fn frame(
    mac: Mac,
    source: Ipv6Addr,
    group: Ipv6Addr,
    kind: u8,
    flags: [u8; 4],
    target: Ipv6Addr,
    option: Option<u8>,
) -> Vec<u8> {
    let mut icmp = vec![kind, 0, 0, 0];
    icmp.extend(flags);
    icmp.extend(target.octets());
    if let Some(option) = option {
        // Its length is counted in units of eight bytes.
        icmp.extend([option, 1]);
        icmp.extend(mac.0);
    }
    // 24 or 32.
    let length = u8::try_from(icmp.len()).unwrap_or(u8::MAX);
    let sum = checksum(source, group, length, &icmp).to_be_bytes();
    icmp.splice(2..4, sum);

    let [.., a, b, c, d] = group.octets();
    let mut frame = vec![0x33, 0x33, a, b, c, d];
    frame.extend(mac.0);
    frame.extend(EtherType::Ipv6.number().to_be_bytes());
    // Version 6, no class, no flow.
    frame.extend([0x60, 0, 0, 0, 0, length, ICMPV6, HOP_LIMIT]);
    frame.extend(source.octets());
    frame.extend(group.octets());
    frame.extend(icmp);
    frame
}

/// The internet checksum over the message and what the header says of it.
fn checksum(source: Ipv6Addr, group: Ipv6Addr, length: u8, icmp: &[u8]) -> u16 {
    let header = source.segments().into_iter().chain(group.segments()).map(u32::from).sum::<u32>()
        + u32::from(length)
        + u32::from(ICMPV6);
    let body = icmp
        .chunks(2)
        .map(|pair| {
            u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))
        })
        .sum::<u32>();
    let mut sum = header + body;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // It fits after the loop.
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
