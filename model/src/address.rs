//! One inclusive range of IP addresses of one family, and its text form `a` or `a-b`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The family of an address: Spiderpool's `ipVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4, `ipVersion: 4`.
    V4,
    /// IPv6, `ipVersion: 6`.
    V6,
}

impl Family {
    /// Both families, IPv4 first: the order in which they are listed everywhere.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Returns the family that `address` belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Returns 4 or 6, the number that Spiderpool's `ipVersion` holds.
    #[must_use]
    pub fn version(self) -> i64 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// Returns the address with this number, or `None` when the family has no such address.
    #[must_use]
    pub fn address(self, number: u128) -> Option<IpAddr> {
        match self {
            Self::V4 => u32::try_from(number).ok().map(|n| IpAddr::V4(Ipv4Addr::from(n))),
            Self::V6 => Some(IpAddr::V6(Ipv6Addr::from(number))),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.version())
    }
}

/// Returns the address as a number; the order of numbers is the order of addresses within a family.
#[must_use]
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// Why a text is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A part of the text is no IP address or CIDR.
    #[error("{text:?} is not an IP address, a range `first-last` or a CIDR")]
    Syntax {
        /// The text as it was given.
        text: String,
    },
    /// The two ends are not of one family.
    #[error("range {text:?} mixes IPv4 and IPv6")]
    Mixed {
        /// The text as it was given.
        text: String,
    },
    /// The first address is above the last one.
    #[error("range {text:?} ends before it begins")]
    Reversed {
        /// The text as it was given.
        text: String,
    },
}

/// An inclusive, never empty range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// Builds a range, or returns `None` when the families differ or the ends are reversed.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (Family::of(first) == Family::of(last) && first <= last).then_some(Self { first, last })
    }

    /// Builds the range between two numbers of one family; the caller has them in order and in bounds.
    pub(crate) fn from_numbers(family: Family, first: u128, last: u128) -> Option<Self> {
        Self::new(family.address(first)?, family.address(last)?)
    }

    /// Returns the lowest address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Returns the highest address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// Returns the family of both ends.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// Returns how many addresses the range holds; `u128::MAX` stands for all of IPv6.
    #[must_use]
    pub fn count(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// Returns whether `address` lies in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.family() == Family::of(address) && self.first <= address && address <= self.last
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        Self { first: address, last: address }
    }
}

impl From<IpNet> for AddressRange {
    /// Takes the whole block, network and broadcast address included: a delegated prefix has neither.
    fn from(net: IpNet) -> Self {
        Self { first: net.network(), last: net.broadcast() }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let syntax = || RangeError::Syntax { text: text.to_owned() };
        if text.contains('/') {
            return text.parse::<IpNet>().map(|net| Self::from(net.trunc())).map_err(|_| syntax());
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first: IpAddr = first.trim().parse().map_err(|_| syntax())?;
        let last: IpAddr = last.trim().parse().map_err(|_| syntax())?;
        if Family::of(first) != Family::of(last) {
            return Err(RangeError::Mixed { text: text.to_owned() });
        }
        Self::new(first, last).ok_or_else(|| RangeError::Reversed { text: text.to_owned() })
    }
}
