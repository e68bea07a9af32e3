//! Blocking kernel verbs, for programs without an async runtime: network namespaces, links, ARP and neighbour discovery.
//!
//! Everything acts on the network namespace of the calling thread; [`Netns::run`] gives a closure a thread in another one.

mod arp;
mod error;
mod link;
mod mac;
mod ndp;
mod netns;
mod packet;
mod probe;
mod rtnetlink;

pub use error::Error;
pub use link::Link;
pub use mac::Mac;
pub use netns::Netns;
pub use probe::{Conflict, Patience, announce, conflict, silent_gateways};
