//! From what should be and what is, to the ordered writes.
//!
//! First everything that leaves a pool is decided (by evidence, then by the brake), then everything that enters one:
//! an address enters a pool only when no other pool names it, or when the pool that does gives it up in this plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Family;
use crate::address_set::AddressSet;
use crate::intervals::Intervals;
use crate::plan::absence::Memory;
use crate::plan::loss::{Held, Loss, brake, loss};
use crate::plan::wanted::{Demand, Wanted};
use crate::plan::{Change, Input, MultusTarget, Phase, Step};
use crate::pool::{Owner, Pool, PoolSpec, PoolTarget};
use crate::template::MultusName;

/// The outcome: writes, and what the nodes are told about them.
pub(super) struct Settled {
    pub(super) steps: Vec<Step>,
    pub(super) pools: BTreeMap<String, PoolTarget>,
    pub(super) multus: BTreeMap<MultusName, MultusTarget>,
    pub(super) notes: Vec<String>,
    pub(super) memory: Memory,
    pub(super) held_back: u128,
    pub(super) in_use: BTreeSet<String>,
    /// By node: what keeps its pools from saying what was read.
    pub(super) delays: BTreeMap<String, Vec<String>>,
}

pub(super) fn settle(input: &Input<'_>, demand: &Demand, mut memory: Memory) -> Settled {
    let held: BTreeMap<&str, Held<'_>> = input.pools.values().filter_map(|pool| hold(input, pool)).collect();
    memory.keep(|pool| held.contains_key(pool));
    let mut settled = Settled {
        steps: Vec::new(),
        pools: BTreeMap::new(),
        multus: BTreeMap::new(),
        notes: strangers(input),
        memory: Memory::default(),
        held_back: 0,
        in_use: BTreeSet::new(),
        delays: BTreeMap::new(),
    };
    let mut losses = BTreeMap::new();
    for (name, held) in &held {
        if !held.pool.terminating {
            losses.insert(*name, loss(input, demand, held, &mut memory));
        }
    }
    let back = brake(input, &held, &mut losses, &mut memory);
    settled.held_back = back.count;
    settled.notes.extend(back.notes);
    yield_to_others(input, &held, &mut losses, &mut settled);
    release(&held, &losses, demand, &mut settled);
    gain(input, demand, &held, &losses, &mut settled);
    for wanted in demand.pools.values().filter(|wanted| settled.pools.contains_key(&wanted.name)) {
        if let Some(policy) = input.policy.providers.get(&wanted.origin.provider) {
            settled.multus.entry(wanted.multus.clone()).or_insert_with(|| MultusTarget {
                name: wanted.multus.clone(),
                interface: wanted.origin.interface.clone(),
                coordinator: policy.coordinator,
            });
        }
    }
    settled.memory = memory;
    settled
}

fn hold<'a>(input: &Input<'_>, pool: &'a Pool) -> Option<(&'a str, Held<'a>)> {
    match &pool.owner {
        Owner::Ours(origin, spec) if input.policy.providers.contains_key(&origin.provider) => {
            Some((pool.name.as_str(), Held { pool, origin, spec }))
        }
        Owner::Ours(..) | Owner::Foreign => None,
    }
}

/// Says which generated pools belong to a provider that is not configured: they keep their addresses from others.
fn strangers(input: &Input<'_>) -> Vec<String> {
    let mut by_provider = BTreeMap::<_, usize>::new();
    for pool in input.pools.values() {
        if let Owner::Ours(origin, _) = &pool.owner
            && !input.policy.providers.contains_key(&origin.provider)
        {
            *by_provider.entry(&origin.provider).or_default() += 1;
        }
    }
    let sentence = |(provider, count)| {
        format!(
            "{count} generated pools belong to provider {provider}, which is not in this configuration: left alone"
        )
    };
    by_provider.into_iter().map(sentence).collect()
}

/// Denies what a pool that is not ours names as well, because somebody wrote that pool later: no address is handed out
/// twice. No brake holds this back; it ends with the other pool.
fn yield_to_others(
    input: &Input<'_>,
    held: &BTreeMap<&str, Held<'_>>,
    losses: &mut BTreeMap<&str, Loss>,
    settled: &mut Settled,
) {
    let others = input.pools.values().filter(|pool| !held.contains_key(pool.name.as_str()));
    let others = Intervals::new(
        others.flat_map(|pool| pool.ips.ranges().iter().map(|range| (*range, pool.name.as_str()))),
    );
    for (name, loss) in losses {
        let Some(Held { origin, spec, .. }) = held.get(name) else { continue };
        others.overlaps(&spec.ips.difference(&loss.removed), |both, other| {
            let both = AddressSet::from_iter([both]);
            settled.delays.entry(origin.node.clone()).or_default().push(format!(
                "pool {name}: {both} not handed out, pool {other} names them as well and is not ours"
            ));
            loss.denied = loss.denied.union(&both.difference(&spec.excluded_by_people()));
        });
    }
}

/// Writes down everything that leaves a pool.
fn release(
    held: &BTreeMap<&str, Held<'_>>,
    losses: &BTreeMap<&str, Loss>,
    demand: &Demand,
    settled: &mut Settled,
) {
    for (name, held) in held {
        let Held { pool, origin, spec } = held;
        let delays = settled.delays.entry(origin.node.clone()).or_default();
        let Some(loss) = losses.get(name) else {
            delays.push(format!("pool {name} is being deleted: addresses {} wait for it", spec.ips));
            continue;
        };
        let in_use = loss.missing.intersection(&pool.allocated);
        if !in_use.is_empty() || ((loss.gone.is_some() || loss.superseded) && !pool.allocated.is_empty()) {
            settled.in_use.insert((*name).to_owned());
        }
        if !in_use.is_empty() {
            delays.push(format!(
                "pool {name}: {in_use} left NIC {} in the cloud while pods hold them: traffic of these pods is dropped; \
                 delete the pods, or assign the addresses again",
                origin.nic
            ));
        }
        let rest = spec.ips.difference(&loss.removed);
        if loss.gone.is_some() && !pool.allocated.is_empty() {
            settled.notes.push(format!(
                "pool {name}: {}, and pods still hold {}: it goes when they are released",
                loss.why, pool.allocated
            ));
        }
        let waiting = loss.missing.difference(&in_use).difference(&loss.removed);
        if !waiting.is_empty() {
            delays.push(format!("pool {name}: {waiting} absent, to be removed after a second reading"));
        }
        let wanted = demand.pools.get(*name).filter(|wanted| wanted.origin.nic == origin.nic);
        let refill = wanted.is_some_and(|wanted| !wanted.shown.is_subset(&spec.ips));
        let bare = spec.ips.is_empty() && pool.allocated.is_empty() && wanted.is_some();
        if rest.is_empty() && !refill && (bare || !loss.removed.is_empty()) {
            let change =
                Change::Delete { name: (*name).to_owned(), gone: loss.gone.clone(), why: loss.why.clone() };
            settled.steps.push(Step { phase: Phase::Release, change, needs: BTreeSet::new() });
            continue;
        }
        let mut target = PoolSpec {
            excluded: spec.excluded_by_people().union(&loss.denied.difference(&pool.allocated)),
            denied: loss.denied.clone(),
            ips: rest,
            ..(*spec).clone()
        };
        let mut reason = (*origin).clone();
        if let Some(wanted) = wanted {
            wanted.origin.clone_into(&mut reason);
            target.gateway = wanted.gateway;
            target.default = wanted.default;
            target.nodes = vec![wanted.origin.node.clone()];
            target.multus = vec![wanted.multus.to_string()];
        }
        let target = PoolTarget { name: (*name).to_owned(), spec: target, origin: reason };
        // A pool that only gains is written once, with its gains.
        if loss.shrinks(spec) {
            settled.steps.push(Step {
                phase: Phase::Release,
                change: Change::Update(target.clone()),
                needs: BTreeSet::new(),
            });
        }
        settled.pools.insert(target.name.clone(), target);
    }
}

/// Who names an address already.
enum Holder<'a> {
    Ours(&'a str),
    Other(&'a str),
}

/// Writes down everything that enters a pool.
fn gain(
    input: &Input<'_>,
    demand: &Demand,
    held: &BTreeMap<&str, Held<'_>>,
    losses: &BTreeMap<&str, Loss>,
    settled: &mut Settled,
) {
    let holders = Intervals::new(input.pools.values().flat_map(|pool| {
        let name = pool.name.as_str();
        let ours = held.contains_key(name);
        pool.ips
            .ranges()
            .iter()
            .map(move |range| (*range, if ours { Holder::Ours(name) } else { Holder::Other(name) }))
    }));
    let shown =
        demand.pools.values().flat_map(|wanted| wanted.shown.ranges().iter().map(|range| (*range, ())));
    let twice = Intervals::new(shown).shared();
    for (name, wanted) in &demand.pools {
        let mut delays = Vec::new();
        let existing = input.pools.get(name);
        let ours = held.get(name.as_str()).filter(|held| held.origin.nic == wanted.origin.nic);
        if existing.is_some() && ours.is_none() {
            delays.push(format!(
                "a pool named {name} exists already and is not ours: rename or delete it to get addresses of NIC {}",
                wanted.origin.nic
            ));
        } else if !ours.is_some_and(|held| held.pool.terminating) {
            enter(wanted, ours, &holders, losses, &twice, settled, &mut delays);
        }
        settled.delays.entry(wanted.origin.node.clone()).or_default().append(&mut delays);
    }
}

fn enter(
    wanted: &Wanted,
    ours: Option<&Held<'_>>,
    holders: &Intervals<Holder<'_>>,
    losses: &BTreeMap<&str, Loss>,
    twice: &AddressSet,
    settled: &mut Settled,
    delays: &mut Vec<String>,
) {
    let name = &wanted.name;
    let before = ours.map(|held| held.spec.ips.clone()).unwrap_or_default();
    let mut fresh = wanted.shown.difference(&before);
    let twins = fresh.intersection(twice);
    if !twins.is_empty() {
        delays.push(format!("pool {name}: {twins} left out, the cloud shows them on two NICs"));
        fresh = fresh.difference(&twins);
    }
    let (mut blocked, mut needs) = (Vec::new(), BTreeSet::new());
    let mut said = BTreeMap::<String, Vec<_>>::new();
    holders.overlaps(&fresh, |both, holder| {
        let part = AddressSet::from_iter([both]);
        let why = match holder {
            Holder::Ours(pool) if *pool == name => return,
            Holder::Ours(pool) => {
                let leaving =
                    losses.get(pool).map(|loss| part.intersection(&loss.removed)).unwrap_or_default();
                if !leaving.is_empty() {
                    needs.insert((*pool).to_owned());
                }
                let rest = part.difference(&leaving);
                blocked.extend_from_slice(rest.ranges());
                if rest.is_empty() {
                    return;
                }
                format!("wait until they have left pool {pool}")
            }
            Holder::Other(pool) => {
                blocked.push(both);
                format!("left out, pool {pool} names them and is not ours")
            }
        };
        said.entry(why).or_default().push(both);
    });
    for (why, ranges) in said {
        delays.push(format!("pool {name}: {} {why}", ranges.into_iter().collect::<AddressSet>()));
    }
    let fresh = fresh.difference(&blocked.into_iter().collect());
    let Some(held) = ours else {
        if fresh.is_empty() {
            return;
        }
        let spec = PoolSpec {
            subnet: wanted.subnet,
            gateway: wanted.gateway,
            ips: fresh,
            excluded: AddressSet::new(),
            denied: AddressSet::new(),
            default: wanted.default,
            nodes: vec![wanted.origin.node.clone()],
            multus: vec![wanted.multus.to_string()],
        };
        let target = PoolTarget { name: name.clone(), spec, origin: wanted.origin.clone() };
        settled.steps.push(Step { phase: Phase::Gain, change: Change::Create(target.clone()), needs });
        settled.pools.insert(name.clone(), target);
        return;
    };
    let Some(target) = settled.pools.get_mut(name) else {
        return;
    };
    // What an earlier step of this plan has already written needs no second write.
    let done = losses.get(name.as_str()).is_some_and(|loss| loss.shrinks(held.spec));
    target.spec.ips = target.spec.ips.union(&fresh);
    let differs = target.spec != *held.spec || target.origin != *held.origin;
    if !fresh.is_empty() || (differs && !done) {
        settled.steps.push(Step { phase: Phase::Gain, change: Change::Update(target.clone()), needs });
    }
}

/// Returns the names of a node's pools that will exist, of both families.
pub(super) fn existing<'a>(
    pools: &'a BTreeMap<String, PoolTarget>,
    names: &'a [String],
) -> Vec<&'a PoolTarget> {
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            names.iter().filter_map(|n| pools.get(n)).filter(move |t| t.spec.family() == family)
        })
        .collect()
}
