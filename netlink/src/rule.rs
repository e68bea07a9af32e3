use crate::address::{address_of, octets};
use crate::message::{Message, attribute, attributes, number, string, text};
use crate::socket::{CREATE, EXCLUSIVE, Request};
use crate::{Block, Family, PROTOCOL};

pub(crate) const NEW_RULE: u16 = 32;
pub(crate) const DELETE_RULE: u16 = 33;
pub(crate) const GET_RULE: u16 = 34;

const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PROTOCOL: u16 = 21;
const FRA_PAD: u16 = 18;
const FRA_L3MDEV: u16 = 19;
const FRA_FLOW: u16 = 11;
const FRA_SUPPRESS_IFGROUP: u16 = 13;

const LOOKUP: u8 = 1;
const INVERTED: u32 = 2;

/// A rule that says in which table a packet's route is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Of which family's packets.
    pub family: Family,
    /// When it is asked: the lowest first.
    pub priority: u32,
    /// From where.
    pub from: Option<Block>,
    /// With which mark, and which bits of it count.
    pub mark: Option<(u32, u32)>,
    /// Come in through which interface.
    pub input: Option<String>,
    /// The table.
    pub table: u32,
    /// Who made it; [`PROTOCOL`] is us.
    pub protocol: u8,
    /// Whether it says more than this: then it is none that we made.
    pub has_more: bool,
}

impl Rule {
    /// Ours, for every packet.
    #[must_use]
    pub const fn lookup(family: Family, priority: u32, table: u32) -> Self {
        Self {
            family,
            priority,
            from: None,
            mark: None,
            input: None,
            table,
            protocol: PROTOCOL,
            has_more: false,
        }
    }

    /// Whether both select the same packets for the same table, whoever made them.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { family, priority, from, mark, input, table, protocol: _, has_more } = self;
        (*family, *priority, *from, *mark, *table, *has_more)
            == (other.family, other.priority, other.from, other.mark, other.table, other.has_more)
            && *input == other.input
    }

    pub(crate) fn parse_all(messages: &[Message]) -> Vec<Self> {
        messages.iter().filter(|message| message.kind == NEW_RULE).filter_map(Self::parse).collect()
    }

    fn parse(message: &Message) -> Option<Self> {
        let payload = &message.payload;
        let family = Family::parse(*payload.first()?)?;
        let flags = number(payload, 8)?;
        let mut rule = Self::lookup(family, 0, u32::from(*payload.get(4)?));
        rule.protocol = 0;
        rule.has_more = *payload.get(7)? != LOOKUP || flags & INVERTED != 0 || *payload.get(3)? != 0;
        let (mut mark, mut bits) = (None, u32::MAX);
        for (kind, value) in attributes(payload.get(12..)?) {
            match kind {
                FRA_SRC => rule.from = Block::holding(address_of(value)?, *payload.get(2)?),
                FRA_IIFNAME => rule.input = Some(string(value)),
                FRA_PRIORITY => rule.priority = number(value, 0)?,
                FRA_FWMARK => mark = number(value, 0),
                FRA_FWMASK => bits = number(value, 0)?,
                FRA_TABLE => rule.table = number(value, 0)?,
                FRA_PROTOCOL => rule.protocol = *value.first()?,
                FRA_SUPPRESS_PREFIXLEN | FRA_SUPPRESS_IFGROUP => {
                    rule.has_more |= number(value, 0) != Some(u32::MAX);
                }
                FRA_PAD => {}
                FRA_FLOW | FRA_L3MDEV => rule.has_more |= value.iter().any(|byte| *byte != 0),
                // The destination, ports, users, whatever comes next.
                _ => rule.has_more = true,
            }
        }
        rule.mark = mark.map(|mark| (mark, bits));
        Some(rule)
    }

    pub(crate) fn request(&self, kind: u16) -> Request {
        let Self { family, priority, from, mark, input, table, protocol, has_more: _ } = self;
        let short_table = u8::try_from(*table).unwrap_or(0);
        let length = from.map_or(0, Block::prefix);
        let mut payload = vec![family.number(), 0, length, 0, short_table, 0, 0, LOOKUP, 0, 0, 0, 0];
        if let Some(from) = from {
            attribute(&mut payload, FRA_SRC, &octets(from.first()));
        }
        if let Some(input) = input {
            text(&mut payload, FRA_IIFNAME, input);
        }
        attribute(&mut payload, FRA_PRIORITY, &priority.to_ne_bytes());
        if let Some((mark, mask)) = mark {
            attribute(&mut payload, FRA_FWMARK, &mark.to_ne_bytes());
            attribute(&mut payload, FRA_FWMASK, &mask.to_ne_bytes());
        }
        attribute(&mut payload, FRA_TABLE, &table.to_ne_bytes());
        attribute(&mut payload, FRA_PROTOCOL, &[*protocol]);
        Request { kind, flags: if kind == NEW_RULE { CREATE | EXCLUSIVE } else { 0 }, payload }
    }
}
