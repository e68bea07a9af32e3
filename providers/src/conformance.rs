//! The contract of [`Provider`] as a suite that every provider runs in its own tests, over a world of its own kind.
//!
//! A provider implements [`Harness`] (how to arrange a world of machines) and [`World`] (how to break it), and calls
//! [`run`]. What its kind of world cannot show it declares as a [`Limit`] with the reason; nothing is skipped silently.

mod clauses;
mod machines;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{InstanceId, Node, ProviderName};

use crate::Provider;

pub use machines::{Machine, MachineNic, Owner};

/// Arranges worlds of one kind: a cloud's simulator, an inventory file.
pub trait Harness {
    /// What `arrange` gives.
    type World: World;

    /// Returns what this kind of world cannot show, each with the reason, for people.
    fn limits(&self) -> BTreeMap<Limit, &'static str>;

    /// Returns the gateway that this kind of world gives to a block, if any.
    fn gateway(&self, block: IpNet) -> Option<IpAddr>;

    /// Returns how many NICs a listing needs to fill more than two pages.
    fn crowd(&self) -> usize;

    /// Arranges a new world that holds exactly these machines, and opens a provider of this name on it.
    fn arrange(&self, name: &ProviderName, machines: &[Machine]) -> impl Future<Output = Self::World>;
}

/// One world with a provider open on it. Dropping it tears it down.
pub trait World {
    /// The provider under test.
    type Provider: Provider;

    /// Returns the provider.
    fn provider(&self) -> &Self::Provider;

    /// Returns the machine as Kubernetes would show its node.
    fn node(&self, machine: &str) -> Node;

    /// Returns an identifier that is well-formed here and that no instance has.
    fn unknown_instance(&self) -> InstanceId;

    /// Breaks every later call, or mends all with `None`. Never called with a fault that is a declared [`Limit`].
    fn break_with(&self, fault: Option<Fault>) -> impl Future<Output = ()>;

    /// Returns the texts that must never appear in a value or an error: keys, tokens.
    fn secrets(&self) -> Vec<String>;
}

/// A way for a world to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Every call is told to come back later.
    Throttled,
    /// Every call is refused for its credentials or permissions.
    Denied,
    /// Every reply breaks off in the middle.
    CutReply,
    /// The first page is fine, every later one fails.
    LaterPage,
    /// Connections are taken and nothing is ever answered.
    Silence,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Throttled, Self::Denied, Self::CutReply, Self::LaterPage, Self::Silence];
}

/// Something that a kind of world cannot show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// It marks no address as the node's own.
    NoPrimaryAddresses,
    /// It has no way to say that a NIC is somebody else's.
    NoForeignNics,
    /// Every instance has a NIC.
    NoBareInstances,
    /// It has no NIC without IPv4.
    NoIpv6OnlyNics,
    /// It has no delegated prefixes.
    NoPrefixes,
    /// It does not know Ethernet addresses.
    NoMacs,
    /// It cannot fail in this way.
    Never(Fault),
}

/// Runs every clause of the contract that the harness's kind of world can show.
///
/// # Panics
/// With the clause, when it is broken.
pub async fn run<H: Harness>(harness: &H) {
    clauses::an_empty_world_is_a_complete_reading(harness).await;
    clauses::every_machine_is_an_instance_of_its_own(harness).await;
    clauses::a_listing_is_the_whole_world(harness).await;
    clauses::a_description_covers_what_was_asked(harness).await;
    clauses::every_page_is_read(harness).await;
    clauses::what_cannot_be_read_is_an_error(harness).await;
}
