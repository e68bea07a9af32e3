//! The simulated account in one region: what exists, who may ask, and how the service behaves.

mod verbs;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::calls::CallLog;
use super::clock::{Clock, later};
use super::faults::Faults;
use super::keys::Keys;
use super::metadata::Metadata;
use super::reply::Style;
use super::sts::Sts;
use super::throttle::Throttle;
use super::world::{InstanceType, World};

/// How long things take, by the cloud's clock. While one of the first two is set, every change keeps a copy of the
/// world: fill a large cloud before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// How long the ECS and VPC listings still show the state before a change.
    pub listing: Duration,
    /// How long the metadata service still shows the state before a change.
    pub metadata: Duration,
    /// How long `Attaching` lasts.
    pub attach: Duration,
    /// How long `Detaching` lasts.
    pub detach: Duration,
    /// How long `Deleting` lasts.
    pub delete: Duration,
    /// How long after a change of a NIC another one is refused with `Operation.Conflict`.
    pub busy: Duration,
}

/// What a listing may still show: the world before a change, until then.
struct Stale {
    world: Arc<World>,
    listing_until: Timestamp,
    metadata_until: Timestamp,
}

/// The answer that a `ClientToken` repeats.
pub(crate) struct Remembered {
    pub(crate) identity: String,
    pub(crate) reply: serde_json::Value,
}

/// The simulated account. [`Simulator::edit`](super::Simulator::edit) lends it out.
///
/// The verbs (`add_…`, `assign`, `move_ip`, …) change what exists, as a person at the console would, and obey
/// [`Delays::listing`]; the public fields set how the service behaves.
pub struct Cloud {
    /// The only region.
    pub region: String,
    /// The account's id.
    pub account: u64,
    /// The time in the cloud.
    pub clock: Clock,
    /// Who may call.
    pub keys: Keys,
    /// Budgets.
    pub throttle: Throttle,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// How long things take.
    pub delays: Delays,
    /// How replies are written where the real service varies.
    pub style: Style,
    /// The metadata service: which instance it serves, and how.
    pub metadata: Metadata,
    /// The roles of `AssumeRoleWithOIDC`.
    pub sts: Sts,
    pub(crate) log: CallLog,
    pub(crate) tokens: BTreeMap<String, Remembered>,
    world: Arc<World>,
    history: VecDeque<Stale>,
}

impl Default for Cloud {
    fn default() -> Self {
        let mut world = World::default();
        for kind in InstanceType::usual() {
            world.put_type(kind);
        }
        Self {
            region: "cn-hangzhou".to_owned(),
            account: 1_234_567_890_123_456,
            clock: Clock::default(),
            keys: Keys::default(),
            throttle: Throttle::default(),
            faults: Faults::default(),
            delays: Delays::default(),
            style: Style::default(),
            metadata: Metadata::default(),
            sts: Sts::default(),
            log: CallLog::default(),
            tokens: BTreeMap::new(),
            world: Arc::new(world),
            history: VecDeque::new(),
        }
    }
}

impl Cloud {
    /// Returns what exists now, whatever the listings still show.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Lends out the world for a change, after keeping the old one for those who lag behind.
    pub(crate) fn change(&mut self) -> &mut World {
        let now = self.clock.now();
        self.history.retain(|stale| stale.listing_until.max(stale.metadata_until) > now);
        let Delays { listing, metadata, .. } = self.delays;
        if !(listing.is_zero() && metadata.is_zero()) {
            self.history.push_back(Stale {
                world: Arc::clone(&self.world),
                listing_until: later(now, listing),
                metadata_until: later(now, metadata),
            });
        }
        Arc::make_mut(&mut self.world)
    }

    /// Ends the transitional states that are due.
    pub(crate) fn settle(&mut self) {
        let now = self.clock.now();
        if self.world.is_due(now) {
            self.change().settle(now);
        }
    }

    /// What the listings show: the oldest world whose lag is not over.
    pub(crate) fn listed(&self) -> Arc<World> {
        let now = self.clock.now();
        let stale = self.history.iter().find(|stale| stale.listing_until > now);
        Arc::clone(stale.map_or(&self.world, |stale| &stale.world))
    }

    /// What the metadata service shows.
    pub(crate) fn seen_by_metadata(&self) -> Arc<World> {
        let now = self.clock.now();
        let stale = self.history.iter().find(|stale| stale.metadata_until > now);
        Arc::clone(stale.map_or(&self.world, |stale| &stale.world))
    }
}
