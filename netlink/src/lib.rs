//! Blocking kernel verbs, for programs without an async runtime: network namespaces, links,
//! routes, rules, nftables, ARP and neighbour discovery.
//!
//! Everything acts on the network namespace of the calling thread; [`Netns::run`] gives a closure a thread in another one, and
//! [`Netns::visit`] takes the thread there and back. What was opened in a namespace stays with it.

mod address;
mod arp;
mod change;
mod error;
mod family;
mod link;
mod listener;
mod mac;
mod message;
mod ndp;
mod neighbour;
mod netns;
mod nftables;
mod packet;
mod probe;
mod route;
mod rtnetlink;
mod rule;
mod socket;
mod stacked;
mod sys;
pub mod xtables;

pub use address::Address;
pub use change::Change;
pub use error::Error;
pub use family::{Block, Family};
pub use link::{GROUP, Link, Veth};
pub use listener::{Listener, News};
pub use mac::Mac;
pub use neighbour::Neighbour;
pub use netns::Netns;
pub use nftables::{Chain, Hook, Nftables, Rule as NftRule, Statement, Table};
pub use probe::{Conflict, Patience, announce, conflict, silent_gateways};
pub use route::{MAIN, PROTOCOL, Route, Scope};
pub use rtnetlink::{Outcome, Rtnetlink};
pub use rule::Rule;
pub use stacked::{Bond, BondOption, BondValue, Stacked, Vlan};
