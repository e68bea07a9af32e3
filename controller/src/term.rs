//! What lives while we lead with one configuration: the readers of the clouds, what they showed, and the plan's memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::SpiderIPPool;
use config::{Cloud, Config};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use model::{Input, InstanceId, Match, Memory, Moment, Plan, Policy, ProviderName, Reading, Sight};
use providers::Measured;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::admission::Book;
use crate::apply::{Applied, MOST_POOL_WRITES, apply};
use crate::clouds::{Observation, Pace, Readers};
use crate::events::{Events, Severity};
use crate::lease::Leadership;
use crate::metrics::{AddressState, Census, Condition, Metrics, PassOutcome};
use crate::wait::backoff;
use crate::world::World;
use crate::writer::Writer;

/// Shortest and longest wait before the writes that failed are tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long the first pass waits for the first readings: before them every node would be written as not read.
const GRACE: Duration = Duration::from_secs(5);
/// Shortest and longest wait before an instance that a reading did not show is asked for again.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));
/// An instance is asked for this often, over about a minute; then the whole listings must show it. A node whose
/// instance is gone for good costs no calls of its own.
const ASKS: u32 = 6;

/// One term under one configuration.
pub(crate) struct Term {
    config: Arc<Config>,
    policy: Policy,
    clouds: Vec<Arc<Measured<Cloud>>>,
    readers: Readers,
    pub(crate) observations: UnboundedReceiver<Observation>,
    readings: BTreeMap<ProviderName, Reading>,
    memory: Memory,
    leadership: Leadership,
    started: Instant,
    /// Until when a pass waits for providers that have not been heard of: one that hangs must not stop the others.
    grace: Instant,
    /// Instances that were asked for: how often, and when next.
    asked: BTreeMap<InstanceId, (u32, Instant)>,
    unsynced: BTreeMap<String, Instant>,
    said: BTreeSet<String>,
    /// What was said of pools, by UID.
    flaws: BTreeSet<(String, String)>,
    failures: u32,
}

/// When to come back after a pass.
pub(crate) enum Next {
    /// When something changes.
    OnChange,
    /// Then, whatever happens.
    At(Instant),
}

impl Term {
    /// Begins to read the clouds.
    pub(crate) fn begin(
        config: Arc<Config>,
        clouds: Vec<Measured<Cloud>>,
        leadership: Leadership,
        memory: Memory,
        started: Instant,
    ) -> Self {
        let (told, observations) = unbounded_channel();
        let clouds: Vec<_> = clouds.into_iter().map(Arc::new).collect();
        let pace = Pace { resync: config.resync, join_window: config.join_window };
        let readers = Readers::start(&clouds, pace, started, &told);
        Self {
            policy: config.policy(),
            config,
            clouds,
            readers,
            observations,
            readings: BTreeMap::new(),
            memory,
            leadership,
            started,
            grace: Instant::now() + GRACE,
            asked: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            said: BTreeSet::new(),
            flaws: BTreeSet::new(),
            failures: 0,
        }
    }

    /// Ends the term, and returns the memory for the next one of this process.
    pub(crate) fn end(self) -> Memory {
        self.memory
    }

    pub(crate) fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Takes in what a provider showed.
    pub(crate) fn observe(&mut self, observation: Observation, events: &Events, on: &ObjectReference) {
        let Observation { provider, began, outcome } = observation;
        let reading = self.readings.entry(provider.clone()).or_default();
        match outcome {
            Ok(inventory) => {
                let nics = inventory.nic_count();
                let recovered = reading.failure().is_some();
                reading.absorb(inventory, began);
                if recovered {
                    info!(%provider, nics, "provider read again");
                    events.report(
                        on.clone(),
                        Severity::Normal,
                        "ProviderRead",
                        "Read",
                        &format!("provider {provider} was read again"),
                    );
                }
            }
            Err(error) => {
                let first = reading.failure().is_none();
                reading.fail(error.message.clone(), error.class.failure());
                warn!(%provider, class = error.class.as_str(), "provider not read, what it showed before is kept: {error}");
                if first {
                    events.report(
                        on.clone(),
                        Severity::Warning,
                        "ProviderNotRead",
                        "Read",
                        &format!("provider {provider}: {error}"),
                    );
                }
            }
        }
    }

    /// Returns when a pass that is due then may begin: not before every provider was heard of, for better or worse.
    pub(crate) fn earliest(&self, due: Instant) -> Instant {
        let heard = self.policy.providers.keys().all(|provider| self.readings.contains_key(provider));
        if heard { due } else { due.max(self.grace) }
    }

    /// Plans and applies once.
    pub(crate) async fn pass(
        &mut self,
        world: &mut World,
        book: &Book,
        writer: &Writer,
        events: &Events,
        metrics: &Metrics,
    ) -> Next {
        let began = Instant::now();
        let clouds = || self.clouds.iter().map(AsRef::as_ref);
        let claim = |node: &model::Node| providers::claim(clouds(), node, &self.readings);
        let nodes = world.nodes(&self.config.node_selector, claim);
        let input = Input {
            now: Moment(began.saturating_duration_since(self.started)),
            policy: &self.policy,
            nodes: &nodes,
            readings: &self.readings,
            pools: world.pools(),
        };
        let mut plan = model::plan(&input, std::mem::take(&mut self.memory));
        self.memory = std::mem::take(&mut plan.memory);
        let selector = &self.config.node_selector;
        if !selector.is_empty() {
            plan.nodes.retain(|node, _| world.selects(selector, node));
        }
        self.say(&plan);
        self.say_flaws(world, book, events);
        self.count(&plan, world, metrics);
        let ask = self.ask(&nodes, began);
        // After failures all is tried: what fails for ever must not keep the rest from its turn.
        let rest = self.failures == 0 && cut(&mut plan);
        let applied = apply(&plan, world, writer, events, Timestamp::now()).await;
        let Applied { seen, writes, failures, more, interrupted } = applied;
        for seen in seen {
            world.take(seen);
        }
        world.wait_for(plan.in_use);
        let outcome = match (failures, interrupted) {
            (_, true) => PassOutcome::Interrupted,
            (0, false) => PassOutcome::Done,
            (_, false) => PassOutcome::Partial,
        };
        metrics.pass(outcome, began.elapsed());
        if interrupted {
            warn!(writes, "pass interrupted: this controller does not lead any more, or was told to stop");
        } else if writes > 0 || failures > 0 {
            info!(writes, failures, steps = plan.steps.len(), took = ?began.elapsed(), "pass");
        }
        self.failures = if failures == 0 { 0 } else { self.failures.saturating_add(1) };
        let retry = (failures > 0).then(|| Instant::now() + backoff(RETRY, self.failures - 1));
        let rest = (failures == 0 && (rest || more)).then(Instant::now);
        match [retry, ask, rest].into_iter().flatten().min() {
            Some(at) => Next::At(at),
            None => Next::OnChange,
        }
    }

    /// Asks for the instances of nodes that no reading has shown, less and less often; returns when to ask next.
    fn ask(&mut self, nodes: &BTreeMap<String, (model::Node, Match)>, now: Instant) -> Option<Instant> {
        let mut missing = BTreeSet::new();
        for (_, matched) in nodes.values() {
            let Match::Instance { provider, instance } = matched else { continue };
            // Before the first whole listing there is nothing to add to: it is under way.
            let listed = self.readings.get(provider).filter(|reading| reading.whole().is_some());
            if !listed.is_some_and(|reading| matches!(reading.sight(instance), Sight::Absent(_))) {
                continue;
            }
            missing.insert(instance);
            let (times, next) = self.asked.entry(instance.clone()).or_insert((0, now));
            if *next <= now && *times < ASKS {
                self.readers.ask(provider, instance.clone());
                *next = now + backoff(ASK_AGAIN, *times);
                *times += 1;
            }
        }
        self.asked.retain(|instance, _| missing.contains(instance));
        self.asked.values().filter(|(times, _)| *times < ASKS).map(|(_, next)| *next).min()
    }

    /// Logs what is odd, once for as long as it lasts.
    fn say(&mut self, plan: &Plan) {
        let now: BTreeSet<String> = plan.notes.iter().cloned().collect();
        for note in now.difference(&self.said) {
            warn!("{note}");
        }
        self.said = now;
    }

    /// Says in an Event on the pool what cannot be read of it, and which addresses another pool of people gives out as
    /// well, once for each version of the text.
    fn say_flaws(&mut self, world: &World, book: &Book, events: &Events) {
        let unreadable = world.flaws();
        let unreadable = unreadable
            .map(|(pool, flaws)| ("Unreadable", pool.name.clone(), pool.uid.clone(), flaws.join("; ")));
        let shared = book.shared().into_iter();
        let shared = shared.map(|shared| ("AddressesShared", shared.pool, shared.uid, shared.note));
        let mut now = BTreeSet::new();
        for (reason, name, uid, text) in unreadable.chain(shared) {
            let said = (uid, text);
            if !self.flaws.contains(&said) {
                let on = ObjectReference {
                    api_version: Some(SpiderIPPool::api_version(&()).into_owned()),
                    kind: Some(SpiderIPPool::kind(&()).into_owned()),
                    name: Some(name),
                    uid: Some(said.0.clone()),
                    ..ObjectReference::default()
                };
                events.report(on, Severity::Warning, reason, "Read", &said.1);
            }
            now.insert(said);
        }
        self.flaws = now;
    }

    fn count(&mut self, plan: &Plan, world: &World, metrics: &Metrics) {
        let mut census = Census::default();
        for target in plan.pools.values() {
            let (provider, family) = (&target.origin.provider, target.spec.family());
            census.pool(provider, family);
            census.addresses(provider, family, AddressState::Offered, target.spec.offered().count());
            census.addresses(provider, family, AddressState::Denied, target.spec.denied.count());
            if plan.in_use.contains(&target.name)
                && let Some(pool) = world.pools().get(&target.name)
            {
                census.addresses(provider, family, AddressState::InUseAbsent, pool.allocated.count());
            }
        }
        let now = Instant::now();
        for (name, report) in &plan.nodes {
            census.node(Condition::Discovered, report.discovered.status);
            census.node(Condition::Synced, report.synced.status);
            census.node(Condition::SufficientIps, report.sufficient.status);
            if report.synced.status == model::Truth::True {
                self.unsynced.remove(name);
            } else {
                let since = self.unsynced.entry(name.clone()).or_insert(now);
                census.unsynced_for(now.saturating_duration_since(*since));
            }
        }
        self.unsynced.retain(|name, _| plan.nodes.contains_key(name));
        census.held_back(plan.held_back);
        metrics.publish(&census);
    }
}

/// Leaves the first steps of a plan, and nothing to say of nodes before all are done; returns whether more is to be done.
fn cut(plan: &mut Plan) -> bool {
    let rest = plan.steps.split_off(plan.steps.len().min(MOST_POOL_WRITES));
    if !rest.is_empty() {
        plan.nodes.clear();
    }
    !rest.is_empty()
}
