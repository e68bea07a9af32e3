//! What leaves a pool: by evidence first, by the brake second.

use std::collections::BTreeMap;

use crate::address_set::AddressSet;
use crate::moment::Moment;
use crate::nic::NicUse;
use crate::node::Match;
use crate::plan::Input;
use crate::plan::absence::Memory;
use crate::plan::gate::Stock;
use crate::plan::wanted::{Demand, Wanted};
use crate::pool::{Origin, Pool, PoolSpec};
use crate::reading::Sight;

/// One pool of ours that exists.
pub(super) struct Held<'a> {
    pub(super) pool: &'a Pool,
    pub(super) origin: &'a Origin,
    pub(super) spec: &'a PoolSpec,
}

/// What leaves a pool.
#[derive(Default)]
pub(super) struct Loss {
    /// Addresses that the latest reading misses.
    pub(super) missing: AddressSet,
    /// The part of them that may leave the pool.
    pub(super) removed: AddressSet,
    /// The part of them that stays, but is not handed out, now or when the pod that holds it is gone.
    pub(super) denied: AddressSet,
    pub(super) why: String,
    pub(super) gone: Option<String>,
    pub(super) superseded: bool,
    /// When the reading began that says so; for a node that is gone, the time of the pass.
    at: Moment,
}

impl Loss {
    /// Returns whether the pool that said `spec` has to be written before anything enters any pool.
    pub(super) fn shrinks(&self, spec: &PoolSpec) -> bool {
        !self.removed.is_empty() || !self.denied.is_subset(&spec.denied)
    }
}

/// What is known about the addresses of a pool that exists.
enum Evidence<'a> {
    /// Nothing may be concluded.
    Silence,
    /// A complete reading that began then shows these addresses on its NIC.
    Shown(&'a AddressSet, Moment),
    /// A complete reading that began then shows that its NIC serves pods no more.
    Denied(Moment),
    /// Its addresses belong into another pool of the same NIC and node.
    Superseded,
    /// Its node is not in the cluster.
    NodeGone,
}

/// Decides what a pool loses, before anything is asked about how much that is in all.
pub(super) fn loss(input: &Input<'_>, demand: &Demand, held: &Held<'_>, memory: &mut Memory) -> Loss {
    let Held { pool, origin, spec } = held;
    let nothing = AddressSet::new();
    let (shown, at) = match evidence(input, demand, held) {
        Evidence::Silence => {
            return Loss { denied: spec.denied.clone(), ..Loss::default() };
        }
        Evidence::Superseded => {
            let removed = spec.ips.difference(&pool.allocated);
            let denied = spec.ips.intersection(&pool.allocated).difference(&spec.excluded_by_people());
            let why = format!("its addresses moved to another pool of NIC {}", origin.nic);
            return Loss { removed, denied, why, superseded: true, ..Loss::default() };
        }
        Evidence::NodeGone => {
            // Half a pool of a node that is gone serves nobody: it goes whole, or waits whole.
            let removed = if pool.allocated.is_empty() { spec.ips.clone() } else { nothing };
            let (node, why) = (origin.node.clone(), format!("node {} left the cluster", origin.node));
            let denied = spec.denied.clone();
            return Loss { removed, denied, why, gone: Some(node), at: input.now, ..Loss::default() };
        }
        Evidence::Shown(shown, at) => (shown, at),
        Evidence::Denied(at) => (&nothing, at),
    };
    let missing = spec.ips.difference(shown);
    let twice = memory.miss(&pool.name, &missing, at, input.policy.resync);
    let removed = twice.difference(&pool.allocated);
    let denied = missing.difference(&removed).difference(&spec.excluded_by_people());
    let why = format!("provider {} shows them on NIC {} no more", origin.provider, origin.nic);
    Loss { missing, removed, denied, why, at, ..Loss::default() }
}

fn evidence<'a>(input: &'a Input<'_>, demand: &'a Demand, held: &Held<'_>) -> Evidence<'a> {
    let Held { pool, origin, spec } = held;
    if let Some(wanted) = demand.pools.get(&pool.name).filter(|wanted| wanted.origin.nic == origin.nic) {
        return Evidence::Shown(&wanted.shown, wanted.at);
    }
    let Some((node, matched)) = input.nodes.get(&origin.node) else {
        return Evidence::NodeGone;
    };
    let successor =
        demand.by_nic.get(&(origin.nic.clone(), spec.family())).and_then(|name| demand.pools.get(name));
    // A pool of another block does not take over: there, what is missing is missing.
    let succeeds = |wanted: &Wanted| wanted.origin.node == node.name && wanted.subnet == spec.subnet;
    if successor.is_some_and(succeeds) {
        return Evidence::Superseded;
    }
    // A node that was re-created on another instance leaves the old instance's pools to what the cloud says of it.
    let provider = match matched {
        Match::Instance { provider, .. } if *provider == origin.provider => provider,
        Match::Instance { .. } | Match::None(_) if node.uid != origin.node_uid => &origin.provider,
        Match::Instance { .. } | Match::None(_) => return Evidence::Silence,
    };
    let Some(reading) = input.readings.get(provider) else {
        return Evidence::Silence;
    };
    match reading.sight(&origin.instance) {
        Sight::Unknown => Evidence::Silence,
        Sight::Absent(at) => Evidence::Denied(at),
        Sight::Present(nics, at) => match nics.iter().find(|nic| nic.id == origin.nic) {
            None => Evidence::Denied(at),
            Some(nic) if matches!(nic.use_, NicUse::LeftAlone(_)) => Evidence::Denied(at),
            Some(nic) if matches!(nic.use_, NicUse::Unclear(_)) => Evidence::Silence,
            Some(nic) => match reading.subnet(&nic.subnet) {
                Some(subnet) if subnet.block(spec.family()) != Some(spec.subnet) => Evidence::Denied(at),
                // The NIC serves pods, but not through this node: unclear names, rivals, an unknown subnet.
                Some(_) if node.uid != origin.node_uid => Evidence::Denied(at),
                Some(_) | None => Evidence::Silence,
            },
        },
    }
}

/// What the brake took back.
#[derive(Default)]
pub(super) struct HeldBack {
    /// How many addresses.
    pub(super) count: u128,
    /// What to say of it.
    pub(super) notes: Vec<String>,
}

/// Takes losses back that are too many at once and not yet confirmed.
pub(super) fn brake(
    input: &Input<'_>,
    held: &BTreeMap<&str, Held<'_>>,
    losses: &mut BTreeMap<&str, Loss>,
    memory: &mut Memory,
) -> HeldBack {
    let mut back = HeldBack::default();
    let stock = Stock::new(held.values().map(|held| (held.origin.node.as_str(), &held.spec.ips)));
    let (share, resync) = (input.policy.max_share, input.policy.resync);
    // A loss is as fresh as the oldest reading that it rests on.
    let oldest =
        |losses: &mut dyn Iterator<Item = &Loss>| losses.map(|loss| loss.at).min().unwrap_or(input.now);
    // What another pool of the same NIC takes over is not lost.
    let lost = |loss: &&Loss| loss.gone.is_some() || !loss.missing.is_empty();
    let removed: AddressSet =
        losses.values().filter(lost).flat_map(|loss| loss.removed.ranges().to_vec()).collect();
    let at = oldest(&mut losses.values().filter(lost).filter(|loss| !loss.removed.is_empty()));
    if !memory.removals.admits(&removed, at, &stock, share, resync) {
        back.count = removed.count();
        back.notes.push(format!(
            "removal of {} addresses waits for a second confirmation: it is more than {share} % of the cluster's",
            removed.count()
        ));
        let people =
            |name: &str| held.get(name).map(|held| held.spec.excluded_by_people()).unwrap_or_default();
        for (name, loss) in losses.iter_mut().filter(|(_, loss)| lost(&&**loss)) {
            let kept = std::mem::take(&mut loss.removed);
            if loss.gone.is_none() {
                loss.denied = loss.denied.union(&kept.difference(&people(name)));
            }
        }
    }
    let fresh = |name: &str, loss: &Loss| {
        let before = held.get(name).map(|held| held.spec.denied.clone()).unwrap_or_default();
        loss.denied.difference(&before)
    };
    let denying = || losses.iter().filter(|(_, loss)| lost(loss));
    let denied: AddressSet = denying().flat_map(|(name, loss)| fresh(name, loss).ranges().to_vec()).collect();
    let new = denying().filter(|(name, loss)| !fresh(name, loss).is_empty()).map(|(_, loss)| loss);
    let at = oldest(&mut { new });
    if !memory.denials.admits(&denied, at, &stock, share, resync) {
        back.count = back.count.saturating_add(denied.count());
        back.notes.push(format!(
            "denial of {} addresses waits for a second confirmation: it is more than {share} % of the cluster's",
            denied.count()
        ));
        for (name, loss) in losses.iter_mut().filter(|(_, loss)| lost(&&**loss)) {
            loss.denied = loss.denied.difference(&fresh(name, loss));
        }
    }
    back
}
