use std::net::IpAddr;

use crate::Block;
use crate::address::octets;
use crate::message::{attribute, nested, text};

const NAME: u16 = 1;
const DATA: u16 = 2;
/// The first of the registers that expressions hand values on in: 16 bytes.
const REGISTER: u32 = 1;

const META_MARK: u32 = 3;
const META_INPUT_NAME: u32 = 6;
const META_PROTOCOL: u32 = 15;
const META_INPUT_GROUP: u32 = 21;
/// What `fib` looks up: of the destination, the type of its address; and the type of this host's own.
const FIB_DESTINATION: u32 = 1 << 1;
const FIB_ADDRESS_TYPE: u32 = 3;
const LOCAL: u32 = 2;
const CT_STATE: u32 = 0;
const CT_MARK: u32 = 3;
/// The bit of a connection's state that its first packet has.
const NEW: u32 = 8;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// One part of a rule. A mark is a set of bits: others are left as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Goes on only for packets that came in through the interface of this name.
    CameThrough(String),
    /// Goes on only for a connection's first packet.
    BeginsConnection,
    /// Goes on only when the connection has these bits.
    ConnectionHas(u32),
    /// Gives the connection these bits.
    MarkConnection(u32),
    /// Gives the packet these bits.
    MarkPacket(u32),
    /// Goes on only for packets to this address.
    GoesTo(IpAddr),
    /// Goes on only for packets to an address of this block.
    GoesInto(Block),
    /// Goes on only for packets to an address that is this host's own now.
    GoesToThisHost,
    /// Goes on only for packets that came in through an interface of this group.
    CameThroughGroup(u32),
    /// Goes on only when the packet has these bits.
    PacketHas(u32),
    /// Sends the connection to this address instead.
    SendTo(IpAddr),
    /// Has the connection come from this host.
    Masquerade,
}

impl Statement {
    /// The kernel's expressions, each as the content of a list's element.
    pub(super) fn expressions(&self) -> Vec<Vec<u8>> {
        match self {
            Self::CameThrough(name) => {
                let mut padded = name.as_bytes().to_vec();
                // The whole of the kernel's field: the name and what ends it.
                padded.resize(16, 0);
                vec![meta_load(META_INPUT_NAME), compare(EQUAL, &padded)]
            }
            Self::BeginsConnection => vec![ct_load(CT_STATE), bits(NEW, 0), compare(NOT_EQUAL, &[0; 4])],
            Self::ConnectionHas(mark) => {
                vec![ct_load(CT_MARK), bits(*mark, 0), compare(EQUAL, &mark.to_ne_bytes())]
            }
            Self::MarkConnection(mark) => {
                let store = expression("ct", |data| {
                    number(data, 2, CT_MARK);
                    number(data, 4, REGISTER);
                });
                vec![ct_load(CT_MARK), bits(!mark, *mark), store]
            }
            Self::MarkPacket(mark) => {
                let store = expression("meta", |data| {
                    number(data, 2, META_MARK);
                    number(data, 3, REGISTER);
                });
                vec![meta_load(META_MARK), bits(!mark, *mark), store]
            }
            Self::GoesTo(address) => Self::GoesInto(Block::one(*address)).expressions(),
            Self::GoesInto(block) => {
                let address = block.first();
                // Where the header has its destination; the first of the two is also what nf_tables calls the family.
                let (family, offset, length) = if address.is_ipv4() { (2, 16, 4) } else { (10, 24, 16) };
                let load = expression("payload", |data| {
                    number(data, 1, REGISTER);
                    number(data, 2, 1);
                    number(data, 3, offset);
                    number(data, 4, length);
                });
                vec![
                    meta_load(META_PROTOCOL),
                    compare(EQUAL, &[family]),
                    load,
                    keep(&octets(block.mask())),
                    compare(EQUAL, &octets(address)),
                ]
            }
            Self::GoesToThisHost => {
                let load = expression("fib", |data| {
                    number(data, 1, REGISTER);
                    number(data, 2, FIB_ADDRESS_TYPE);
                    number(data, 3, FIB_DESTINATION);
                });
                vec![load, compare(EQUAL, &LOCAL.to_ne_bytes())]
            }
            Self::CameThroughGroup(group) => {
                vec![meta_load(META_INPUT_GROUP), compare(EQUAL, &group.to_ne_bytes())]
            }
            Self::PacketHas(mark) => {
                vec![meta_load(META_MARK), bits(*mark, 0), compare(EQUAL, &mark.to_ne_bytes())]
            }
            Self::Masquerade => vec![expression("masq", |_| {})],
            Self::SendTo(address) => {
                let value = expression("immediate", |data| {
                    number(data, 1, REGISTER);
                    nested(data, 2, |value| attribute(value, 1, &octets(*address)));
                });
                let nat = expression("nat", |data| {
                    number(data, 1, 1);
                    number(data, 2, if address.is_ipv4() { 2 } else { 10 });
                    number(data, 3, REGISTER);
                });
                vec![value, nat]
            }
        }
    }
}

fn expression(name: &str, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(&mut bytes, NAME, name);
    nested(&mut bytes, DATA, fill);
    bytes
}

/// Numbers of nftables are in network byte order, unlike all others of netlink.
fn number(data: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(data, kind, &value.to_be_bytes());
}

fn meta_load(key: u32) -> Vec<u8> {
    expression("meta", |data| {
        number(data, 1, REGISTER);
        number(data, 2, key);
    })
}

fn ct_load(key: u32) -> Vec<u8> {
    expression("ct", |data| {
        number(data, 1, REGISTER);
        number(data, 2, key);
    })
}

fn compare(how: u32, with: &[u8]) -> Vec<u8> {
    expression("cmp", |data| {
        number(data, 1, REGISTER);
        number(data, 2, how);
        nested(data, 3, |value| attribute(value, 1, with));
    })
}

/// Keeps the bits of an address's mask.
fn keep(mask: &[u8]) -> Vec<u8> {
    let length = u32::try_from(mask.len()).unwrap_or(16);
    expression("bitwise", |data| {
        number(data, 1, REGISTER);
        number(data, 2, REGISTER);
        number(data, 3, length);
        nested(data, 4, |value| attribute(value, 1, mask));
        nested(data, 5, |value| attribute(value, 1, &vec![0; mask.len()]));
    })
}

/// Keeps the bits of `keep`, then turns over those of `turn`.
fn bits(keep: u32, turn: u32) -> Vec<u8> {
    expression("bitwise", |data| {
        number(data, 1, REGISTER);
        number(data, 2, REGISTER);
        number(data, 3, 4);
        nested(data, 4, |value| attribute(value, 1, &keep.to_ne_bytes()));
        nested(data, 5, |value| attribute(value, 1, &turn.to_ne_bytes()));
    })
}
