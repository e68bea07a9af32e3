use std::net::IpAddr;

use crate::address::{address_of, octets};
use crate::message::{Message, aligned, attribute, attributes, number, short};
use crate::socket::{CREATE, EXCLUSIVE, Request};
use crate::{Block, Family};

pub(crate) const NEW_ROUTE: u16 = 24;
pub(crate) const DELETE_ROUTE: u16 = 25;
pub(crate) const GET_ROUTE: u16 = 26;

const RTA_DST: u16 = 1;
pub(crate) const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
pub(crate) const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
pub(crate) const RTA_TABLE: u16 = 15;

const UNICAST: u8 = 1;
const ONLINK: u32 = 4;
/// A copy in the route cache, which old kernels list.
const CLONED: u32 = 0x200;

/// The table in which routes are unless somebody says otherwise.
pub const MAIN: u32 = 254;
/// What we write beside each route, rule and neighbour that we make (`proto` for iproute2), as no routing daemon does: so what
/// is ours is told from what is not.
pub const PROTOCOL: u8 = 83;

/// How far a route's destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anywhere.
    Universe,
    /// On the other side of the interface.
    Link,
    /// Another one of the kernel's, by its number.
    Other(u8),
}

impl Scope {
    const fn number(self) -> u8 {
        match self {
            Self::Universe => 0,
            Self::Link => 253,
            Self::Other(number) => number,
        }
    }

    const fn parse(number: u8) -> Self {
        match number {
            0 => Self::Universe,
            253 => Self::Link,
            number => Self::Other(number),
        }
    }
}

/// A unicast route through one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: Block,
    /// The number of the interface.
    pub device: u32,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The address to send from when the sender does not care.
    pub source: Option<IpAddr>,
    /// The table.
    pub table: u32,
    /// The metric: of two routes to one destination the lower counts.
    pub priority: u32,
    /// How far.
    pub scope: Scope,
    /// Who made it; [`PROTOCOL`] is us.
    pub protocol: u8,
    /// Whether the gateway is believed to be on the interface though no route says so.
    pub onlink: bool,
    /// The kernel's metrics such as an MTU, as they came.
    pub metrics: Vec<u8>,
}

impl Route {
    /// The metric that the kernel writes when nobody says one.
    #[must_use]
    pub const fn default_priority(family: Family) -> u32 {
        match family {
            Family::V4 => 0,
            Family::V6 => 1024,
        }
    }

    /// Ours, to what is on the other side of an interface.
    #[must_use]
    pub const fn direct(to: Block, device: u32, table: u32) -> Self {
        Self {
            to,
            device,
            gateway: None,
            source: None,
            table,
            priority: Self::default_priority(to.family()),
            // IPv6 knows no scopes.
            scope: match to.family() {
                Family::V4 => Scope::Link,
                Family::V6 => Scope::Universe,
            },
            protocol: PROTOCOL,
            onlink: false,
            metrics: Vec::new(),
        }
    }

    /// Ours, through a gateway.
    #[must_use]
    pub const fn via(to: Block, gateway: IpAddr, device: u32, table: u32) -> Self {
        let mut route = Self::direct(to, device, table);
        route.gateway = Some(gateway);
        route.scope = Scope::Universe;
        route.onlink = true;
        route
    }

    /// The same with another source; none is left to the kernel.
    #[must_use]
    pub fn from(mut self, source: Option<IpAddr>) -> Self {
        self.source = source;
        self
    }

    pub(crate) fn parse_all(messages: &[Message]) -> Vec<Self> {
        let routes = messages.iter().filter(|message| message.kind == NEW_ROUTE);
        routes.filter_map(Self::parse).flatten().collect()
    }

    /// None when it is not unicast. IPv6's routes of several interfaces are so many routes, which can be removed one by one; one of
    /// IPv4 is a whole of which nothing can be removed, so it is passed over.
    fn parse(message: &Message) -> Option<Vec<Self>> {
        let payload = &message.payload;
        let family = Family::parse(*payload.first()?)?;
        let flags = number(payload, 8)?;
        if *payload.get(7)? != UNICAST || flags & CLONED != 0 {
            return None;
        }
        let (mut to, mut source) = (family.zero(), None);
        let (mut hop, mut hops) = (Hop { device: None, gateway: None, flags }, Vec::new());
        let (mut table, mut priority, mut metrics) = (u32::from(*payload.get(4)?), 0, Vec::new());
        for (kind, value) in attributes(payload.get(12..)?) {
            match kind {
                RTA_DST => to = address_of(value)?,
                RTA_OIF => hop.device = number(value, 0),
                RTA_GATEWAY => hop.gateway = address_of(value),
                RTA_PRIORITY => priority = number(value, 0)?,
                RTA_PREFSRC => source = address_of(value),
                RTA_METRICS => metrics = value.to_vec(),
                RTA_MULTIPATH if family == Family::V6 => hops = Hop::parse_all(value),
                RTA_TABLE => table = number(value, 0)?,
                _ => {}
            }
        }
        if hop.device.is_some() {
            hops = vec![hop];
        }
        let to = Block::holding(to, *payload.get(1)?)?;
        let (scope, protocol) = (Scope::parse(*payload.get(6)?), *payload.get(5)?);
        let route = |hop: Hop| {
            Some(Self {
                to,
                device: hop.device?,
                gateway: hop.gateway,
                source,
                table,
                priority,
                scope,
                protocol,
                onlink: hop.flags & ONLINK != 0,
                metrics: metrics.clone(),
            })
        };
        Some(hops.into_iter().filter_map(route).collect())
    }

    pub(crate) fn request(&self, kind: u16) -> Request {
        let Self { to, device, gateway, source, table, priority, scope, protocol, onlink, metrics } = self;
        // Tables from 256 on are in the attribute only.
        let short_table = u8::try_from(*table).unwrap_or(0);
        let mut payload =
            vec![to.family().number(), to.prefix(), 0, 0, short_table, *protocol, scope.number(), UNICAST];
        payload.extend((if *onlink { ONLINK } else { 0 }).to_ne_bytes());
        if to.prefix() > 0 {
            attribute(&mut payload, RTA_DST, &octets(to.first()));
        }
        attribute(&mut payload, RTA_OIF, &device.to_ne_bytes());
        if let Some(gateway) = gateway {
            attribute(&mut payload, RTA_GATEWAY, &octets(*gateway));
        }
        if let Some(source) = source {
            attribute(&mut payload, RTA_PREFSRC, &octets(*source));
        }
        if *priority > 0 {
            attribute(&mut payload, RTA_PRIORITY, &priority.to_ne_bytes());
        }
        if !metrics.is_empty() {
            attribute(&mut payload, RTA_METRICS | crate::message::NESTED, metrics);
        }
        attribute(&mut payload, RTA_TABLE, &table.to_ne_bytes());
        Request { kind, flags: if kind == NEW_ROUTE { CREATE | EXCLUSIVE } else { 0 }, payload }
    }
}

/// One of the ways of a route.
struct Hop {
    device: Option<u32>,
    gateway: Option<IpAddr>,
    flags: u32,
}

impl Hop {
    /// Those of an attribute: each a length, flags and the interface's number, with attributes behind.
    fn parse_all(mut rest: &[u8]) -> Vec<Self> {
        let mut hops = Vec::new();
        while let Some(length) = short(rest, 0).map(usize::from).filter(|length| *length >= 8) {
            let Some(hop) = rest.get(..length) else { break };
            let gateway = attributes(hop.get(8..).unwrap_or_default()).find(|(kind, _)| *kind == RTA_GATEWAY);
            hops.push(Self {
                device: number(hop, 4),
                gateway: gateway.and_then(|(_, value)| address_of(value)),
                flags: hop.get(2).copied().map_or(0, u32::from),
            });
            rest = rest.get(aligned(length)..).unwrap_or_default();
        }
        hops
    }
}

/// The question for the routes of one family that have this number in this attribute.
pub(crate) fn question(family: Family, kind: u16, number: u32) -> Vec<u8> {
    let mut payload = vec![family.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    attribute(&mut payload, kind, &number.to_ne_bytes());
    payload
}

/// The question which way the kernel would take to an address.
pub(crate) fn way_question(to: IpAddr) -> Vec<u8> {
    let family = Family::of(to);
    let mut payload = vec![family.number(), family.bits(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    attribute(&mut payload, RTA_DST, &octets(to));
    payload
}

/// The address that the kernel would send from, in its answer.
pub(crate) fn source_of(messages: &[Message]) -> Option<IpAddr> {
    let message = messages.iter().find(|message| message.kind == NEW_ROUTE)?;
    let (_, value) = attributes(message.payload.get(12..)?).find(|(kind, _)| *kind == RTA_PREFSRC)?;
    address_of(value)
}
