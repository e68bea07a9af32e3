//! Agents, an API server between them, pods that come and go, the reclaim, and a controller that takes an address away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use model::{AddressRange, AddressSet, Holder};

use crate::desk::{Answer, Applied, Ask, Batch, Desk, Free, Job, Pool, Reply, Stake, container, uid};
use crate::explore::{Model, Next};

/// A step of the protocol left out, or done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mutation {
    /// As it is.
    None,
    /// Writes hold whatever happened since the pool was read.
    WriteWithoutVersion,
    /// Pods are answered when the write is sent.
    AnswerBeforeWrite,
    /// What the memory does not show is not there, and what it shows is.
    BelieveMemory,
    /// What a lost write may have given to a request that was cancelled is not looked after.
    ForgetPerhaps,
    /// A batch whose reply is lost is not done again.
    ForgetRequests,
    /// The second sandbox of a pod does not say which it is.
    ClaimWithoutSandbox,
    /// Whoever gives up frees the address, shared or not.
    UndoWithoutCounting,
    /// Whoever gives up does so with any record of the address, a later one as well.
    UndoWithoutBirth,
    /// Who has given up keeps what was written for it.
    NoUndo,
    /// A DEL frees the address of the pod's NIC, whichever sandbox has it.
    DelOfAnySandbox,
    /// The reclaim believes its cache of pods.
    ReclaimWithoutReread,
    /// The reclaim frees by address alone.
    ReclaimByAddress,
    /// There is no reclaim.
    NoReclaim,
    /// The reclaim looks at what the agent remembers, and the agent never reads what others wrote.
    ReclaimFromMemory,
}

/// How often what may go wrong goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Agents that crash.
    pub(crate) crashes: u8,
    /// Writes whose reply is lost.
    pub(crate) losses: u8,
    /// Requests that the runtime gives up.
    pub(crate) cancels: u8,
    /// Addresses that the controller takes out of the offer.
    pub(crate) denials: u8,
    /// Sandboxes that end before their pod.
    pub(crate) renewals: u8,
    /// How often a pod asks in all.
    pub(crate) tries: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    mutation: Mutation,
    budget: Budget,
    /// Whether pods end in two steps: first they are deleted, then their sandbox ends.
    graceful: bool,
    pool: Pool,
    desks: Vec<Rc<Desk>>,
    pods: Vec<Pod>,
    /// Writes on their way to the API server.
    writes: Vec<Write>,
    /// What the desks gave to requests that are not answered yet: another family may fail.
    given: BTreeMap<Request, (IpAddr, Option<Stake>)>,
    /// Whether an agent has crashed: it may have left something that only the reclaim repairs.
    crashed: bool,
    /// Whether a write was carried out after its agent had looked whether it was: the same.
    late: bool,
    broken: Option<&'static str>,
    /// What is worth to be counted in this step; empty between steps.
    events: Vec<&'static str>,
}

/// A pod's request: the pod, and which of its requests and so of its sandboxes.
type Request = (usize, u8);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Write {
    agent: usize,
    /// Whether the agent waits for the reply still.
    awaited: bool,
    /// Whether nobody has written since the agent read.
    current: bool,
    records: BTreeMap<IpAddr, Holder>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pod {
    node: usize,
    /// The pod that is made before this one: the two differ by nothing else.
    after: Option<usize>,
    life: Life,
    cni: Cni,
    /// Which of its sandboxes it has or is to have.
    tries: u8,
    /// Whether a record may be left to it that its runtime does not know of: for its next sandbox.
    kept: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Life {
    Unborn,
    Alive,
    Terminating,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cni {
    Idle,
    Asked,
    Answered(IpAddr),
}

impl World {
    /// Pods by the number of their node, before any of them exists.
    pub(crate) fn new(nodes: &[usize], offer: &[&str], budget: Budget, mutation: Mutation) -> Self {
        let alone = |node: usize| nodes.iter().filter(|other| **other == node).count() == 1;
        let alike = |one: usize, other: usize| {
            nodes[one] == nodes[other] || (alone(nodes[one]) && alone(nodes[other]))
        };
        let pod = |at: usize| Pod {
            node: nodes[at],
            after: (0..at).rev().find(|before| alike(*before, at)),
            life: Life::Unborn,
            cni: Cni::Idle,
            tries: 0,
            kept: false,
        };
        Self {
            mutation,
            budget,
            graceful: budget.renewals > 0,
            pool: Pool { offer: AddressSet::parse(offer).unwrap(), records: BTreeMap::new() },
            desks: (0..=*nodes.iter().max().unwrap()).map(|node| Rc::new(Desk::new(node))).collect(),
            pods: (0..nodes.len()).map(pod).collect(),
            writes: Vec::new(),
            given: BTreeMap::new(),
            crashed: false,
            late: false,
            broken: None,
            events: Vec::new(),
        }
    }

    fn pod_of(&self, uid: &str) -> Option<usize> {
        (0..self.pods.len()).find(|pod| self::uid(*pod) == uid)
    }

    /// Somebody wrote the pool.
    fn outdate(&mut self) {
        self.desks.iter_mut().for_each(|desk| Rc::make_mut(desk).outdate());
        for write in &mut self.writes {
            write.current = false;
        }
    }

    /// Which records the requests to an agent have in hand.
    fn births(&self, at: usize) -> Vec<u8> {
        let given = self.given.iter().filter(|((pod, _), _)| self.pods[*pod].node == at);
        given.filter_map(|(_, (_, stake))| Some(stake.as_ref()?.birth)).collect()
    }

    /// Whether somebody waits for the answer still.
    fn is_awaited(&self, (pod, tries): Request) -> bool {
        self.pods[pod].cni == Cni::Asked && self.pods[pod].tries == tries
    }

    /// An agent applies all that is asked of it, and sends its write.
    fn apply(&mut self, at: usize) {
        let births = self.births(at);
        let desk = Rc::make_mut(&mut self.desks[at]);
        let applied = desk.apply(&self.pool, &births, self.mutation, &mut self.events, &mut self.broken);
        let current = desk.current;
        match applied {
            Applied::Again => {}
            Applied::Answers(answers) => self.deliver(at, answers),
            Applied::Write(records, answers) => {
                let awaited = self.desks[at].writing.is_some();
                self.writes.push(Write { agent: at, awaited, current, records });
                self.deliver(at, answers);
            }
        }
    }

    fn deliver(&mut self, at: usize, answers: Vec<Answer>) {
        for (ask, got) in answers {
            let request = (ask.pod, ask.tries);
            match (ask.cancelled, got) {
                (false, Some(got)) => drop(self.given.insert(request, got)),
                (false, None) if self.is_awaited(request) => {
                    self.pods[ask.pod].cni = Cni::Idle;
                    self.pods[ask.pod].tries += 1;
                }
                // Who has gone drops what it gets.
                (true, Some((_, Some(stake)))) => {
                    Rc::make_mut(&mut self.desks[at]).jobs.push(Job::Undo(stake));
                }
                _ => {}
            }
        }
        Rc::make_mut(&mut self.desks[at]).admit(self.mutation);
    }

    /// The API server carries out a write, if nobody was ahead of it.
    fn carry_out(&mut self, at: usize) {
        let write = self.writes.remove(at);
        let holds = write.current || self.mutation == Mutation::WriteWithoutVersion;
        self.events.push(match (write.awaited, holds) {
            (true, true) => "carries out",
            (true, false) => "refuses a write for its version",
            (false, true) => "carries out what its agent does not wait for",
            (false, false) => "refuses what its agent does not wait for",
        });
        if holds {
            let records = &self.pool.records;
            let mut added = write.records.iter().filter(|(address, holder)| {
                records.get(*address).is_none_or(|before| before.uid != holder.uid)
            });
            if added.any(|(address, _)| !self.pool.offer.contains(*address)) {
                self.broken = Some("an address is given out that is not offered any more");
            }
            self.outdate();
            self.pool.records = write.records;
        }
        let desk = Rc::make_mut(&mut self.desks[write.agent]);
        if write.awaited {
            if let Some(batch) = &mut desk.writing {
                batch.reply = Some(if holds { Reply::Done { current: true } } else { Reply::Conflict });
            }
        } else if holds && desk.known && self.mutation != Mutation::AnswerBeforeWrite {
            // The agent has looked whether it was carried out: it cannot know.
            self.events.push("carries out what its agent has given up");
            self.late = true;
        }
    }

    fn hear(&mut self, at: usize) {
        let births = self.births(at);
        let answers = Rc::make_mut(&mut self.desks[at]).hear(&births, &mut self.events);
        self.deliver(at, answers);
    }

    /// Nobody waits any more for what an agent has written.
    fn abandon(&mut self, at: usize) {
        for write in self.writes.iter_mut().filter(|write| write.agent == at) {
            write.awaited = false;
        }
        self.events.extend(self.desks[at].writing.as_ref().map(|batch| match batch.reply {
            Some(Reply::Done { .. }) => "loses the reply to a write that was carried out",
            Some(Reply::Conflict) => "loses the reply to a write that was refused",
            None => "loses a write on its way",
        }));
    }

    fn lose(&mut self, at: usize) {
        self.budget.losses -= 1;
        self.abandon(at);
        Rc::make_mut(&mut self.desks[at]).lose(self.mutation);
        Rc::make_mut(&mut self.desks[at]).admit(self.mutation);
    }

    fn crash(&mut self, at: usize) {
        self.budget.crashes -= 1;
        self.crashed = true;
        self.abandon(at);
        for pod in (0..self.pods.len()).filter(|pod| self.pods[*pod].node == at).collect::<Vec<_>>() {
            self.give_up(pod);
            self.given.retain(|(of, _), _| *of != pod);
        }
        self.desks[at] = Rc::new(Desk::new(at));
    }

    /// The runtime gives up on a pod's request: the agent sees that later.
    fn give_up(&mut self, at: usize) {
        let pod = &mut self.pods[at];
        if pod.cni == Cni::Asked {
            pod.cni = Cni::Idle;
            pod.tries += 1;
        }
    }

    /// The agent sees that the plugin has gone.
    fn cancel(&mut self, request: Request) {
        let desk = Rc::make_mut(&mut self.desks[self.pods[request.0].node]);
        match self.given.remove(&request) {
            Some((_, Some(stake))) => {
                self.events.push("gives up what it was given");
                desk.tell(Job::Undo(stake), self.mutation);
            }
            Some((_, None)) => self.events.push("gives up and leaves what it had"),
            None => {
                let writing = desk.writing.iter_mut().flat_map(Batch::asks);
                let asks = desk.takes.iter_mut().chain(writing);
                asks.filter(|ask| (ask.pod, ask.tries) == request).for_each(|ask| ask.cancelled = true);
            }
        }
    }

    /// The agent answers: the address is the pod's from now.
    fn keep(&mut self, request: Request) {
        let Some((address, stake)) = self.given.remove(&request) else { return };
        let awaited = self.is_awaited(request);
        let pod = &mut self.pods[request.0];
        if let Some(stake) = stake {
            Rc::make_mut(&mut self.desks[pod.node]).tell(Job::Keep(stake), self.mutation);
        }
        pod.kept = !awaited;
        if awaited {
            pod.cni = Cni::Answered(address);
        } else {
            self.events.push("answers who has gone");
        }
    }

    /// A pod goes, and with it its sandbox. The agent sees at once that the plugin has gone: who gives up on the request a
    /// moment before makes the other courses.
    fn kill(&mut self, at: usize) {
        let request = (at, self.pods[at].tries);
        if self.pods[at].cni == Cni::Asked {
            self.give_up(at);
            self.cancel(request);
        }
        let pod = &mut self.pods[at];
        pod.life = Life::Dead;
        if let Cni::Answered(_) = pod.cni {
            Rc::make_mut(&mut self.desks[pod.node]).frees.insert(Free::Sandbox { pod: at, tries: pod.tries });
        }
        pod.cni = Cni::Idle;
    }

    /// A sandbox ends before its pod, which gets another one.
    fn renew(&mut self, pod: usize) {
        self.budget.renewals -= 1;
        let one = &mut self.pods[pod];
        one.cni = Cni::Idle;
        one.tries += 1;
        one.kept = true;
    }

    /// DELs that may arrive of sandboxes that ended before their pod, or never began: at any time, any number of times or
    /// never. As long as the pod is alive they change nothing. When it is gone those count that find something.
    fn late_dels(&self) -> Vec<Request> {
        let mut dels = Vec::new();
        for holder in self.pool.records.values() {
            let Some(at) = self.pod_of(&holder.uid) else { continue };
            let pod = &self.pods[at];
            let ended = match pod.life {
                Life::Dead if pod.kept || self.late => {
                    (0..=pod.tries).filter(|tries| container(*tries) == holder.container).collect()
                }
                Life::Terminating => (0..pod.tries).collect(),
                // Of others the DEL has come, or the reclaim comes: that is the same.
                Life::Unborn | Life::Alive | Life::Dead => Vec::new(),
            };
            let frees = &self.desks[pod.node].frees;
            let asked = |tries: &u8| frees.contains(&Free::Sandbox { pod: at, tries: *tries });
            dels.extend(ended.into_iter().filter(|tries| !asked(tries)).map(|tries| (at, tries)));
        }
        dels
    }

    /// What the reclaim of an agent may free now: its cache of pods may lag in any way, so it asks the API server before.
    fn reclaims(&self, at: usize) -> Vec<Free> {
        let desk = &self.desks[at];
        // What it asks for during a write comes after it: the record is there still, or its pod's UID finds nothing.
        let by_address = self.mutation == Mutation::ReclaimByAddress;
        if !desk.known || (desk.writing.is_some() && !by_address) || self.mutation == Mutation::NoReclaim {
            return Vec::new();
        }
        let believes = self.mutation == Mutation::ReclaimWithoutReread;
        let nobody = |pod: &usize| believes || self.pods[*pod].life == Life::Dead;
        let records = if desk.writing.is_some() { &self.pool.records } else { desk.memory() };
        let own = records.iter().filter_map(|(address, holder)| {
            let pod = self.pod_of(&holder.uid).filter(nobody)?;
            (self.pods[pod].node == at).then_some((*address, pod))
        });
        let frees = own.map(
            |(address, pod)| {
                if by_address { Free::Address(address) } else { Free::Record { address, pod } }
            },
        );
        frees.filter(|free| !desk.frees.contains(free)).collect()
    }

    /// What the reclaim makes of a quiet state when nothing disturbs it.
    fn swept(&self) -> Self {
        let mut world = self.clone();
        for at in 0..world.desks.len() {
            if self.mutation != Mutation::ReclaimFromMemory || !world.desks[at].known {
                Rc::make_mut(&mut world.desks[at]).read(&world.pool);
            }
            let frees = world.reclaims(at);
            Rc::make_mut(&mut world.desks[at]).frees.extend(frees);
            while !world.desks[at].is_idle() {
                world.apply(at);
                (0..world.writes.len()).for_each(|_| world.carry_out(0));
                world.hear(at);
            }
        }
        world
    }

    /// Whether a request is on its way.
    fn serves(&self, request: Request) -> bool {
        let desk = &self.desks[self.pods[request.0].node];
        self.given.contains_key(&request)
            || desk.asks().any(|ask| (ask.pod, ask.tries) == request && !ask.cancelled)
    }

    /// Whether nothing is under way: what holds now holds until something new happens.
    fn is_quiet(&self) -> bool {
        self.desks.iter().all(|desk| desk.is_idle())
            && self.writes.is_empty()
            && self.given.is_empty()
            && self.pods.iter().all(|pod| pod.cni != Cni::Asked)
    }

    /// Returns the pods for which records are left that they do not live with.
    fn left(&self) -> impl Iterator<Item = &Pod> {
        self.pool.records.iter().filter_map(|(address, holder)| {
            let pod = &self.pods[self.pod_of(&holder.uid)?];
            (pod.cni != Cni::Answered(*address)).then_some(pod)
        })
    }

    /// Whether something is left that nobody will ever free.
    fn leaks(&self) -> bool {
        if !self.is_quiet() {
            return false;
        }
        // At once, unless it could not be prevented; then the next sandbox finds it, or the reclaim when the pod is gone.
        self.left().any(|pod| !self.crashed && !self.late && !pod.kept)
            || (self.left().any(|pod| pod.life == Life::Dead)
                && self.swept().left().any(|pod| pod.life == Life::Dead))
    }

    fn step(
        &self,
        steps: &mut Vec<Next<Self>>,
        name: &'static str,
        of: usize,
        change: impl FnOnce(&mut Self),
    ) {
        let mut state = self.clone();
        change(&mut state);
        let events = std::mem::take(&mut state.events);
        steps.push(Next { step: (name, of), state, events });
    }

    fn agent_steps(&self, at: usize, steps: &mut Vec<Next<Self>>) {
        let desk = &self.desks[at];
        match &desk.writing {
            Some(batch) => {
                if batch.reply.is_some() {
                    self.step(steps, "agent hears its reply", at, |world| world.hear(at));
                }
                if self.budget.losses > 0 {
                    self.step(steps, "agent loses its connection", at, |world| world.lose(at));
                }
            }
            None => {
                if !desk.takes.is_empty() || !desk.frees.is_empty() {
                    self.step(steps, "agent applies its batch", at, |world| world.apply(at));
                }
                if desk.known && !desk.current && self.mutation != Mutation::ReclaimFromMemory {
                    self.step(steps, "agent reads what others wrote", at, |world| {
                        Rc::make_mut(&mut world.desks[at]).read(&world.pool);
                    });
                }
            }
        }
        for free in self.reclaims(at) {
            self.step(steps, "reclaim frees", at, |world| {
                Rc::make_mut(&mut world.desks[at]).frees.insert(free);
            });
        }
        if self.budget.crashes > 0 {
            self.step(steps, "agent crashes", at, |world| world.crash(at));
        }
    }

    fn pod_steps(&self, at: usize, steps: &mut Vec<Next<Self>>) {
        let pod = &self.pods[at];
        match pod.life {
            Life::Unborn => {
                if pod.after.is_none_or(|before| self.pods[before].life != Life::Unborn) {
                    self.step(steps, "pod is made and asks", at, |world| {
                        world.pods[at].life = Life::Alive;
                        world.ask(at);
                    });
                }
                return;
            }
            Life::Alive => {
                if pod.cni == Cni::Idle && pod.tries < self.budget.tries {
                    self.step(steps, "pod asks again", at, |world| world.ask(at));
                }
                if matches!(pod.cni, Cni::Answered(_)) && self.budget.renewals > 0 {
                    self.step(steps, "sandbox ends of pod", at, |world| world.renew(at));
                }
                if self.graceful {
                    self.step(steps, "pod is deleted", at, |world| {
                        world.pods[at].life = Life::Terminating;
                    });
                }
            }
            Life::Terminating => {}
            Life::Dead => return,
        }
        if !self.graceful || pod.life == Life::Terminating {
            self.step(steps, "pod goes", at, |world| world.kill(at));
        }
        if pod.cni == Cni::Asked && self.budget.cancels > 0 {
            self.step(steps, "runtime gives up on pod", at, |world| {
                world.budget.cancels -= 1;
                world.give_up(at);
            });
        }
    }

    fn request_steps(&self, steps: &mut Vec<Next<Self>>) {
        for request in self.given.keys() {
            self.step(steps, "agent answers pod", request.0, |world| world.keep(*request));
        }
        let asked = self.desks.iter().flat_map(|desk| desk.asks()).filter(|ask| !ask.cancelled);
        let asked = asked.map(|ask| (ask.pod, ask.tries));
        for request in asked.chain(self.given.keys().copied()).filter(|request| !self.is_awaited(*request)) {
            self.step(steps, "agent sees that the plugin has gone of pod", request.0, |world| {
                world.cancel(request);
            });
        }
        for (pod, tries) in self.late_dels() {
            self.step(steps, "DEL arrives late of pod", pod, |world| {
                Rc::make_mut(&mut world.desks[world.pods[pod].node])
                    .frees
                    .insert(Free::Sandbox { pod, tries });
            });
        }
    }

    fn ask(&mut self, at: usize) {
        let pod = &mut self.pods[at];
        pod.cni = Cni::Asked;
        Rc::make_mut(&mut self.desks[pod.node]).takes.push(Ask::new(at, pod.tries));
    }
}

impl Model for World {
    fn steps(&self) -> Vec<Next<Self>> {
        let mut steps = Vec::new();
        (0..self.desks.len()).for_each(|agent| self.agent_steps(agent, &mut steps));
        (0..self.pods.len()).for_each(|pod| self.pod_steps(pod, &mut steps));
        self.request_steps(&mut steps);
        for (at, write) in self.writes.iter().enumerate() {
            self.step(&mut steps, "API server gets the write of agent", write.agent, |world| {
                world.carry_out(at);
            });
            if !write.awaited {
                self.step(&mut steps, "write never arrives of agent", write.agent, |world| {
                    world.writes.remove(at);
                });
            }
        }
        if self.budget.denials > 0
            && let Some(first) = self.pool.offer.ranges().first().map(AddressRange::first)
        {
            self.step(&mut steps, "controller takes away the first address", 0, |world| {
                world.budget.denials -= 1;
                world.pool.offer = world.pool.offer.difference(&[first].into_iter().collect());
                world.outdate();
            });
        }
        steps
    }

    fn broken(&self) -> Vec<String> {
        let mut broken: Vec<String> = self.broken.into_iter().map(str::to_owned).collect();
        let mut lives: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (at, pod) in self.pods.iter().enumerate() {
            if pod.cni == Cni::Asked && !self.serves((at, pod.tries)) {
                broken.push(format!("the request of pod {at} is forgotten"));
            }
            let Cni::Answered(address) = pod.cni else { continue };
            if let Some(other) = lives.insert(address, at) {
                broken.push(format!("pods {other} and {at} both live with {address}"));
            }
            match self.pool.records.get(&address) {
                Some(holder) if holder.uid != uid(at) => {
                    broken.push(format!("pod {at} lives with {address}, which is recorded for another"));
                }
                Some(holder) if holder.container != container(pod.tries) => {
                    broken.push(format!("pod {at} lives with {address}, recorded for another sandbox"));
                }
                Some(_) => {}
                None => broken.push(format!("pod {at} lives with {address}, which is not recorded")),
            }
        }
        if self.leaks() {
            broken.push("a record is left without a pod".to_owned());
        }
        broken
    }
}
