//! Interfaces that stand on others of the same node: VLANs and bonds.
//!
//! The numbers are of `include/uapi/linux/if_link.h`, the widths of `drivers/net/bonding/bond_netlink.c` in Linux.

use std::net::Ipv4Addr;

use crate::Mac;
use crate::link::{
    IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO, IFLA_MTU, NEW_LINK,
    head, new_up,
};
use crate::message::{attribute, attributes, nested, short, text};
use crate::socket::{CREATE, EXCLUSIVE, Request};

const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
/// `IFLA_BOND_MODE`.
const BOND_MODE: u16 = 1;
/// 802.1Q, which the kernel takes when nobody says a protocol (`linux/if_ether.h`).
pub(crate) const DOT1Q: u16 = 0x8100;

/// What VLAN or bond an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stacked {
    /// A VLAN of its parent.
    Vlan {
        /// Its number, of 12 bits.
        id: u16,
        /// Whether its frames are those of 802.1Q, and not of 802.1ad.
        is_plain: bool,
    },
    /// A bond.
    Bond {
        /// The kernel's number of its mode.
        mode: u8,
        /// All that the kernel tells of it, by `IFLA_BOND_*`.
        options: Vec<(u16, Vec<u8>)>,
    },
}

impl Stacked {
    pub(crate) fn parse(kind: &str, data: &[u8]) -> Option<Self> {
        let find = |wanted| attributes(data).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        match kind {
            "vlan" => {
                let protocol = find(IFLA_VLAN_PROTOCOL).and_then(|value| short(value, 0));
                Some(Self::Vlan {
                    id: short(find(IFLA_VLAN_ID)?, 0)?,
                    is_plain: protocol.is_none_or(|protocol| u16::from_be(protocol) == DOT1Q),
                })
            }
            "bond" => Some(Self::Bond {
                mode: *find(BOND_MODE)?.first()?,
                options: attributes(data).map(|(kind, value)| (kind, value.to_vec())).collect(),
            }),
            _ => None,
        }
    }
}

/// A VLAN that is to be there, up, with the MAC address of its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Its name.
    pub name: String,
    /// The number of the interface below, which must be up.
    pub parent: u32,
    /// The VLAN's number, from 1 to 4094.
    pub id: u16,
    /// The longest packet in bytes; none is the parent's, which is also the most.
    pub mtu: Option<u32>,
}

impl Vlan {
    pub(crate) fn request(&self) -> Request {
        let mut payload = new_up();
        text(&mut payload, IFLA_IFNAME, &self.name);
        attribute(&mut payload, IFLA_LINK, &self.parent.to_ne_bytes());
        if let Some(mtu) = self.mtu {
            attribute(&mut payload, IFLA_MTU, &mtu.to_ne_bytes());
        }
        nested(&mut payload, IFLA_LINKINFO, |info| {
            attribute(info, IFLA_INFO_KIND, b"vlan");
            nested(info, IFLA_INFO_DATA, |data| attribute(data, IFLA_VLAN_ID, &self.id.to_ne_bytes()));
        });
        Request { kind: NEW_LINK, flags: CREATE | EXCLUSIVE, payload }
    }
}

/// A bond that is to be there, up, without parts yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// Its name.
    pub name: String,
    /// The kernel's number of its mode, from 0 to 6.
    pub mode: u8,
    /// Its MAC address. If none is set, the kernel's is a random one that the node's systemd-udevd replaces, at a time when its
    /// parts may have got it already.
    pub mac: Option<Mac>,
    /// The longest packet in bytes, which its parts get, too.
    pub mtu: u32,
    /// What else.
    pub options: Vec<BondOption>,
}

impl Bond {
    pub(crate) fn request(&self) -> Request {
        let mut payload = new_up();
        text(&mut payload, IFLA_IFNAME, &self.name);
        attribute(&mut payload, IFLA_MTU, &self.mtu.to_ne_bytes());
        if let Some(mac) = self.mac {
            attribute(&mut payload, IFLA_ADDRESS, &mac.0);
        }
        let mode = BondOption { attribute: BOND_MODE, value: BondValue::Byte(self.mode) };
        data(&mut payload, std::iter::once(&mode).chain(&self.options));
        Request { kind: NEW_LINK, flags: CREATE | EXCLUSIVE, payload }
    }
}

/// One setting of a bond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BondOption {
    /// Its `IFLA_BOND_*`.
    pub attribute: u16,
    /// Its value, as wide as the kernel wants it.
    pub value: BondValue,
}

/// The value of a setting of a bond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BondValue {
    /// Of 8 bits.
    Byte(u8),
    /// Of 16 bits.
    Short(u16),
    /// Of 32 bits; also the number of an interface.
    Number(u32),
    /// A MAC address.
    Mac(Mac),
    /// A list of addresses.
    Addresses(Vec<Ipv4Addr>),
}

impl BondOption {
    /// Whether a bond has it so; nothing when the kernel does not tell.
    #[must_use]
    pub fn is_in(&self, held: &[(u16, Vec<u8>)]) -> Option<bool> {
        let (_, held) = held.iter().find(|(attribute, _)| *attribute == self.attribute)?;
        Some(*held == self.value.bytes())
    }

    pub(crate) fn request(&self, device: u32) -> Request {
        let mut payload = head(device);
        data(&mut payload, std::iter::once(self));
        Request { kind: NEW_LINK, flags: 0, payload }
    }
}

impl BondValue {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Byte(value) => vec![*value],
            Self::Short(value) => value.to_ne_bytes().to_vec(),
            Self::Number(value) => value.to_ne_bytes().to_vec(),
            Self::Mac(mac) => mac.0.to_vec(),
            Self::Addresses(addresses) => {
                let mut bytes = Vec::new();
                for (index, address) in (0..).zip(addresses) {
                    attribute(&mut bytes, index, &address.octets());
                }
                bytes
            }
        }
    }
}

fn data<'a>(payload: &mut Vec<u8>, options: impl Iterator<Item = &'a BondOption>) {
    nested(payload, IFLA_LINKINFO, |info| {
        attribute(info, IFLA_INFO_KIND, b"bond");
        nested(info, IFLA_INFO_DATA, |data| {
            for BondOption { attribute: number, value } in options {
                match value {
                    BondValue::Addresses(_) => nested(data, *number, |list| list.extend(value.bytes())),
                    _ => attribute(data, *number, &value.bytes()),
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bond_is_asked_for_is_found_in_what_the_kernel_would_tell_of_it() {
        let asked = [
            BondOption { attribute: 3, value: BondValue::Number(100) },
            BondOption { attribute: 8, value: BondValue::Addresses(vec![[10, 0, 0, 1].into()]) },
            BondOption { attribute: 25, value: BondValue::Short(7) },
        ];
        let mut told = Vec::new();
        attribute(&mut told, BOND_MODE, &[1]);
        attribute(&mut told, 3, &100u32.to_ne_bytes());
        nested(&mut told, 8, |list| attribute(list, 0, &[10, 0, 0, 1]));
        attribute(&mut told, 25, &8u16.to_ne_bytes());
        let Some(Stacked::Bond { mode, options }) = Stacked::parse("bond", &told) else { panic!() };
        let held: Vec<_> = asked.iter().map(|option| option.is_in(&options)).collect();
        assert_eq!((mode, held), (1, vec![Some(true), Some(true), Some(false)]));
        assert_eq!(BondOption { attribute: 4, value: BondValue::Number(0) }.is_in(&options), None);
    }

    #[test]
    fn a_vlan_is_told_from_one_of_a_provider() {
        for (protocol, is_plain) in [(Some(0x8100u16), true), (Some(0x88a8), false), (None, true)] {
            let mut told = Vec::new();
            attribute(&mut told, IFLA_VLAN_ID, &5u16.to_ne_bytes());
            if let Some(protocol) = protocol {
                attribute(&mut told, IFLA_VLAN_PROTOCOL, &protocol.to_be_bytes());
            }
            assert_eq!(Stacked::parse("vlan", &told), Some(Stacked::Vlan { id: 5, is_plain }));
        }
        assert_eq!(Stacked::parse("vlan", &[]), None);
        assert_eq!(Stacked::parse("veth", &[]), None);
    }
}
