//! Agents, an API server between them, pods that come and go, the reclaim, and a controller that takes an address away.
//!
//! The agents' ledgers are the production code; around them is what a desk does, one atomic step each. Versions are
//! reduced to what matters of them: whether nobody has written since.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use model::ledger::{Claim, Grant, Ledger, Release, Standing};
use model::{AddressSet, Holder, Moment, PodName};

use crate::explore::{Model, Step};

/// A step of the protocol left out, or done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mutation {
    /// As it is.
    None,
    /// Writes hold whatever happened since the pool was read.
    WriteWithoutVersion,
    /// Pods are answered when the write is sent.
    AnswerBeforeWrite,
    /// The reclaim believes its cache of pods.
    ReclaimWithoutReread,
    /// Whoever gives up frees the address, shared or not.
    UndoWithoutCounting,
    /// Who has given up keeps what was written for it.
    NoUndo,
    /// The reclaim frees by address alone.
    ReclaimByAddress,
}

/// How often what may go wrong goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) crashes: u8,
    pub(crate) losses: u8,
    pub(crate) cancels: u8,
    pub(crate) denials: u8,
    /// How often a pod asks in all.
    pub(crate) tries: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    mutation: Mutation,
    budget: Budget,
    offer: AddressSet,
    records: BTreeMap<IpAddr, Holder>,
    agents: Vec<Agent>,
    pods: Vec<Pod>,
    /// Writes on their way to the API server.
    writes: Vec<Write>,
    /// A record that the reclaim is about to free.
    suspect: Option<(IpAddr, usize)>,
    /// Whether a fault may have left something that only the reclaim repairs.
    faulted: bool,
    broken: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Agent {
    ledger: Ledger,
    /// Whether the pool was read since the agent started or was refused.
    known: bool,
    /// Whether nobody has written since.
    current: bool,
    takes: Vec<Ask>,
    frees: Vec<Release>,
    undos: Vec<(IpAddr, usize)>,
    /// Who shares a record that did not exist before.
    stakes: BTreeMap<IpAddr, (usize, u8)>,
    writing: Option<Batch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ask {
    pod: usize,
    tries: u8,
    cancelled: bool,
    perhaps: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Batch {
    takes: Vec<(Ask, Option<Grant>)>,
    frees: Vec<Release>,
    reply: Option<Reply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Done { current: bool },
    Conflict,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Write {
    /// None: its agent does not wait for it any more.
    agent: Option<usize>,
    current: bool,
    records: BTreeMap<IpAddr, Holder>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pod {
    node: usize,
    life: Life,
    cni: Cni,
    tries: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Life {
    Unborn,
    Alive,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cni {
    Idle,
    Asked,
    Answered(IpAddr),
}

const NOW: Moment = Moment(Duration::ZERO);
fn uid(pod: usize) -> String {
    format!("u{pod}")
}

fn claim(ask: &Ask) -> Claim {
    let pod = PodName { namespace: String::new(), name: uid(ask.pod) };
    let container = format!("c{}", ask.tries);
    let holder = Holder { pod, uid: uid(ask.pod), nic: "eth0".into(), container, ..Holder::default() };
    Claim { holder, prefer: None }
}

impl World {
    /// Pods by the number of their node, before any of them exists.
    pub(crate) fn new(nodes: &[usize], offer: &[&str], budget: Budget, mutation: Mutation) -> Self {
        let agent = Agent {
            ledger: Ledger::new(Duration::ZERO, 100),
            known: false,
            current: false,
            takes: Vec::new(),
            frees: Vec::new(),
            undos: Vec::new(),
            stakes: BTreeMap::new(),
            writing: None,
        };
        let pod = |node: &usize| Pod { node: *node, life: Life::Unborn, cni: Cni::Idle, tries: 0 };
        Self {
            mutation,
            budget,
            offer: AddressSet::parse(offer).unwrap(),
            records: BTreeMap::new(),
            agents: vec![agent; nodes.iter().max().unwrap() + 1],
            pods: nodes.iter().map(pod).collect(),
            writes: Vec::new(),
            suspect: None,
            faulted: false,
            broken: None,
        }
    }

    fn alive(&self, uid: &str) -> bool {
        self.pods.iter().enumerate().any(|(pod, one)| self::uid(pod) == uid && one.life == Life::Alive)
    }

    /// Somebody wrote the pool.
    fn outdate(&mut self) {
        for agent in &mut self.agents {
            agent.current = false;
            if let Some(Batch { reply: Some(Reply::Done { current }), .. }) = &mut agent.writing {
                *current = false;
            }
        }
        for write in &mut self.writes {
            write.current = false;
        }
    }

    fn read(&mut self, agent: usize) {
        let (offer, records) = (self.offer.clone(), self.records.clone());
        let agent = &mut self.agents[agent];
        agent.ledger.adopt(offer, records.clone(), NOW);
        agent.stakes.retain(|address, (pod, _)| records.get(address).is_some_and(|one| one.uid == uid(*pod)));
        (agent.known, agent.current) = (true, true);
    }

    /// An agent applies all that is asked of it, and sends its write.
    fn apply(&mut self, at: usize) {
        if !self.agents[at].known {
            // Whoever writes between the reading and the write might as well write after it was sent.
            self.read(at);
        }
        let agent = &mut self.agents[at];
        let mut takes = Vec::new();
        for ask in std::mem::take(&mut agent.takes) {
            match (ask.cancelled, ask.perhaps) {
                (false, _) => takes.push((ask, None)),
                (true, Some(address)) => agent.frees.push(Release::Record { address, uid: uid(ask.pod) }),
                (true, None) => {}
            }
        }
        let frees = std::mem::take(&mut agent.frees);
        let mut refused = false;
        for release in &frees {
            let freed = agent.ledger.free(release, NOW);
            refused |= freed.is_empty();
            for (address, _) in freed {
                agent.stakes.remove(&address);
            }
        }
        for (ask, grant) in &mut takes {
            *grant = agent.ledger.take(&claim(ask), NOW).ok();
            refused |= grant.is_none();
        }
        if refused && !agent.current {
            agent.ledger.roll_back();
            agent.known = false;
            agent.takes = takes.into_iter().map(|(ask, _)| ask).collect();
            agent.frees = frees;
            return;
        }
        let batch = Batch { takes, frees, reply: None };
        if !agent.ledger.changed() {
            self.answer(at, batch);
            return;
        }
        let (current, records) = (agent.current, agent.ledger.records().clone());
        if self.mutation == Mutation::AnswerBeforeWrite {
            agent.ledger.commit();
            self.answer(at, batch);
            self.writes.push(Write { agent: None, current, records });
            return;
        }
        agent.writing = Some(batch);
        self.writes.push(Write { agent: Some(at), current, records });
    }

    /// The batch is durable.
    fn answer(&mut self, at: usize, batch: Batch) {
        for (ask, grant) in batch.takes {
            let Some(Grant { address, standing }) = grant else {
                if !ask.cancelled {
                    self.pods[ask.pod].cni = Cni::Idle;
                    self.pods[ask.pod].tries += 1;
                }
                continue;
            };
            let agent = &mut self.agents[at];
            let shared = agent.stakes.get(&address).is_some_and(|(pod, _)| *pod == ask.pod);
            let staked = shared || standing == Standing::New || ask.perhaps == Some(address);
            if staked {
                let stakes = agent.stakes.entry(address).or_insert((ask.pod, 0));
                *stakes = (ask.pod, if shared { stakes.1 + 1 } else { 1 });
            }
            if !ask.cancelled {
                agent.stakes.remove(&address);
                self.pods[ask.pod].cni = Cni::Answered(address);
            } else if staked && self.mutation != Mutation::NoUndo {
                agent.undos.push((address, ask.pod));
            }
        }
    }

    /// The API server carries out a write.
    fn carry_out(&mut self, write: Write) {
        let holds = write.current || self.mutation == Mutation::WriteWithoutVersion;
        if holds {
            let added = write.records.iter().filter(|(address, holder)| {
                self.records.get(*address).is_none_or(|before| before.uid != holder.uid)
            });
            if added.into_iter().any(|(address, _)| !self.offer.contains(*address)) {
                self.broken = Some("an address is given out that is not offered any more");
            }
            self.outdate();
            self.records = write.records;
        }
        if let Some(agent) = write.agent
            && let Some(batch) = &mut self.agents[agent].writing
        {
            batch.reply = Some(if holds { Reply::Done { current: true } } else { Reply::Conflict });
        }
    }

    fn hear(&mut self, at: usize, reply: Reply) {
        let agent = &mut self.agents[at];
        let Some(batch) = agent.writing.take() else { return };
        match reply {
            Reply::Done { current } => {
                agent.ledger.commit();
                agent.current = current;
                self.answer(at, batch);
            }
            Reply::Conflict => {
                agent.ledger.roll_back();
                agent.known = false;
                agent.takes.splice(0..0, batch.takes.into_iter().map(|(ask, _)| ask));
                agent.frees.splice(0..0, batch.frees);
            }
        }
    }

    /// The connection breaks: the write may have been carried out, or may yet be.
    fn lose(&mut self, at: usize) {
        self.budget.losses -= 1;
        self.faulted = true;
        for write in self.writes.iter_mut().filter(|write| write.agent == Some(at)) {
            write.agent = None;
        }
        let agent = &mut self.agents[at];
        let Some(batch) = agent.writing.take() else { return };
        agent.ledger.roll_back();
        agent.known = false;
        let asks = batch.takes.into_iter().map(|(mut ask, grant)| {
            if let Some(Grant { address, standing: Standing::New }) = grant {
                ask.perhaps = Some(address);
            }
            ask
        });
        agent.takes.splice(0..0, asks);
        agent.frees.splice(0..0, batch.frees);
    }

    fn crash(&mut self, at: usize) {
        self.budget.crashes -= 1;
        self.faulted = true;
        for write in self.writes.iter_mut().filter(|write| write.agent == Some(at)) {
            write.agent = None;
        }
        for pod in self.pods.iter_mut().filter(|pod| pod.node == at && pod.cni == Cni::Asked) {
            pod.cni = Cni::Idle;
            pod.tries += 1;
        }
        let fresh = Self::new(&[0], &[], self.budget, self.mutation).agents.remove(0);
        self.agents[at] = fresh;
    }

    /// The runtime gives up on a pod's request.
    fn cancel(&mut self, pod: usize) {
        let one = &mut self.pods[pod];
        if one.cni == Cni::Asked {
            one.cni = Cni::Idle;
            one.tries += 1;
        }
        let agent = &mut self.agents[one.node];
        let writing = agent.writing.iter_mut().flat_map(|batch| batch.takes.iter_mut().map(|(ask, _)| ask));
        for ask in agent.takes.iter_mut().chain(writing).filter(|ask| ask.pod == pod) {
            ask.cancelled = true;
        }
    }

    /// A pod goes; the runtime sends a DEL if it knows of an ADD that succeeded.
    fn kill(&mut self, pod: usize) {
        self.cancel(pod);
        let one = &mut self.pods[pod];
        one.life = Life::Dead;
        if let Cni::Answered(_) = one.cni {
            let release =
                Release::Nic { uid: uid(pod), nic: "eth0".into(), container: format!("c{}", one.tries) };
            self.agents[one.node].frees.push(release);
        }
        one.cni = Cni::Idle;
    }

    fn undo(&mut self, at: usize) {
        let agent = &mut self.agents[at];
        let (address, pod) = agent.undos.remove(0);
        let release = Release::Record { address, uid: uid(pod) };
        if self.mutation == Mutation::UndoWithoutCounting {
            agent.frees.push(release);
            return;
        }
        if let Some((owner, count)) = agent.stakes.get_mut(&address).filter(|(owner, _)| *owner == pod) {
            *count -= 1;
            if *count == 0 {
                debug_assert_eq!(*owner, pod);
                agent.stakes.remove(&address);
                agent.frees.push(release);
            }
        }
    }

    /// The reclaim's second look at a record whose pod its cache does not show.
    fn reclaim(&mut self) {
        let Some((address, pod)) = self.suspect.take() else { return };
        let reread = self.mutation != Mutation::ReclaimWithoutReread;
        if reread && self.pods[pod].life == Life::Alive {
            return;
        }
        let by_address = self.mutation == Mutation::ReclaimByAddress;
        let now = self.records.get(&address).map(|holder| holder.uid.clone());
        let uid = now.filter(|_| by_address).unwrap_or_else(|| uid(pod));
        let release = Release::Record { address, uid };
        let frees = &mut self.agents[0].frees;
        // Asked twice is asked once.
        if !frees.contains(&release) {
            frees.push(release);
        }
    }

    /// Records that the reclaim may take for those of pods that are gone: its cache may lag in any way.
    fn suspects(&self) -> Vec<(IpAddr, usize)> {
        let pod = |uid: &str| (0..self.pods.len()).find(|pod| self::uid(*pod) == uid);
        let asked = |(address, pod): &(IpAddr, usize)| {
            let release = Release::Record { address: *address, uid: uid(*pod) };
            self.agents[0].frees.contains(&release)
        };
        let records = self.records.iter().filter_map(|(address, holder)| Some((*address, pod(&holder.uid)?)));
        records.filter(|one| !asked(one)).collect()
    }

    /// What the reclaim makes of a quiet state when nothing disturbs it.
    fn swept(&self) -> Self {
        let mut world = self.clone();
        for suspect in world.suspects() {
            world.suspect = Some(suspect);
            world.reclaim();
            // The first write may be refused: the agent's memory may be old.
            for _ in 0..2 {
                if !world.agents[0].frees.is_empty() {
                    world.apply(0);
                }
                if let Some(write) = world.writes.pop() {
                    world.carry_out(write);
                }
                if let Some(reply) = world.agents[0].writing.as_ref().and_then(|batch| batch.reply) {
                    world.hear(0, reply);
                }
            }
        }
        world
    }

    /// Whether a record's pod is gone.
    fn leaks(&self) -> bool {
        self.records.values().any(|holder| !self.alive(&holder.uid))
    }

    /// Whether nothing is under way: what holds now holds until something new happens.
    fn is_quiet(&self) -> bool {
        let idle = |agent: &Agent| {
            agent.writing.is_none()
                && agent.takes.is_empty()
                && agent.frees.is_empty()
                && agent.undos.is_empty()
        };
        self.agents.iter().all(idle) && self.writes.is_empty() && self.suspect.is_none()
    }

    fn step(&self, name: Step, change: impl FnOnce(&mut Self)) -> (Step, Self) {
        let mut next = self.clone();
        change(&mut next);
        (name, next)
    }

    fn agent_steps(&self, at: usize, steps: &mut Vec<(Step, Self)>) {
        let agent = &self.agents[at];
        match &agent.writing {
            Some(batch) => {
                if let Some(reply) = batch.reply {
                    steps.push(self.step(("agent hears its reply", at), |world| world.hear(at, reply)));
                }
                if self.budget.losses > 0 {
                    steps.push(self.step(("agent loses its connection", at), |world| world.lose(at)));
                }
            }
            None => {
                let asked = !agent.takes.is_empty() || !agent.frees.is_empty();
                if asked {
                    steps.push(self.step(("agent applies its batch", at), |world| world.apply(at)));
                }
                if !agent.undos.is_empty() {
                    steps.push(self.step(("agent undoes", at), |world| world.undo(at)));
                }
            }
        }
        if self.budget.crashes > 0 {
            steps.push(self.step(("agent crashes", at), |world| world.crash(at)));
        }
    }

    fn pod_steps(&self, at: usize, steps: &mut Vec<(Step, Self)>) {
        let pod = &self.pods[at];
        match pod.life {
            Life::Unborn => steps.push(self.step(("pod is made", at), |world| {
                world.pods[at].life = Life::Alive;
            })),
            Life::Alive => {
                if pod.cni == Cni::Idle && pod.tries < self.budget.tries {
                    steps.push(self.step(("pod asks", at), |world| {
                        let pod = &mut world.pods[at];
                        pod.cni = Cni::Asked;
                        let ask = Ask { pod: at, tries: pod.tries, cancelled: false, perhaps: None };
                        world.agents[pod.node].takes.push(ask);
                    }));
                }
                if pod.cni == Cni::Asked && self.budget.cancels > 0 {
                    steps.push(self.step(("request is cancelled of pod", at), |world| {
                        world.budget.cancels -= 1;
                        world.cancel(at);
                    }));
                }
                steps.push(self.step(("pod goes", at), |world| world.kill(at)));
            }
            Life::Dead => {}
        }
    }
}

impl Model for World {
    fn steps(&self) -> Vec<(Step, Self)> {
        let mut steps = Vec::new();
        (0..self.agents.len()).for_each(|agent| self.agent_steps(agent, &mut steps));
        (0..self.pods.len()).for_each(|pod| self.pod_steps(pod, &mut steps));
        for (at, write) in self.writes.iter().enumerate() {
            steps.push(self.step(("API server carries out write", at), |world| {
                let write = world.writes.remove(at);
                world.carry_out(write);
            }));
            if write.agent.is_none() {
                steps.push(self.step(("never arrives: write", at), |world| {
                    world.writes.remove(at);
                }));
            }
        }
        match self.suspect {
            None => steps.extend(self.suspects().into_iter().map(|suspect| {
                self.step(("reclaim suspects pod", suspect.1), |world| world.suspect = Some(suspect))
            })),
            Some(_) => steps.push(self.step(("reclaim looks again", 0), World::reclaim)),
        }
        if self.budget.denials > 0
            && let Some(first) = self.offer.ranges().first().map(model::AddressRange::first)
        {
            steps.push(self.step(("controller denies the first address", 0), |world| {
                world.budget.denials -= 1;
                world.offer = world.offer.difference(&[first].into_iter().collect());
                world.outdate();
            }));
        }
        steps
    }

    fn broken(&self) -> Option<String> {
        if let Some(rule) = self.broken {
            return Some(rule.to_owned());
        }
        let mut held = BTreeMap::new();
        for (at, pod) in self.pods.iter().enumerate() {
            let Cni::Answered(address) = pod.cni else { continue };
            if let Some(other) = held.insert(address, at) {
                return Some(format!("pods {other} and {at} both hold {address}"));
            }
            if self.records.get(&address).is_none_or(|holder| holder.uid != uid(at)) {
                return Some(format!("pod {at} lives with {address}, which is not recorded for it"));
            }
        }
        // Without faults nothing is left at once; after faults the reclaim leaves nothing.
        let left = self.is_quiet() && self.leaks() && (!self.faulted || self.swept().leaks());
        left.then(|| "a record is left without a pod".to_owned())
    }
}
