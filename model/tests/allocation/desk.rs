//! What a desk of the agent does around the production ledger, one atomic step each.
//!
//! It follows `agent/src/desk.rs`: what is asked gathers, is applied to the ledger together and written once, and is
//! answered when the write was carried out. What is asked or given up during a write waits for its end. Two things are
//! simpler here. Versions are reduced to what matters of them: whether nobody has written since. And a reading that a
//! batch needs is one step with applying it: whoever writes between the two might as well write after both, since the
//! batch's own write is refused then, and a batch that writes nothing changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use model::ledger::{Claim, Grant, Ledger, Release, Standing};
use model::{AddressSet, Holder, Moment, PodName};

use crate::world::Mutation;

/// Rests are over at once: the model has no time.
const NOW: Moment = Moment(Duration::ZERO);
/// More than any pool here offers.
const CAP: usize = 100;

/// A pool as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pool {
    pub(crate) offer: AddressSet,
    pub(crate) records: BTreeMap<IpAddr, Holder>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Desk {
    node: usize,
    ledger: Ledger,
    /// Whether the pool was read since the agent started or was refused.
    pub(crate) known: bool,
    /// Whether nobody has written since it was read: the desk does not see that.
    pub(crate) current: bool,
    pub(crate) takes: Vec<Ask>,
    pub(crate) frees: BTreeSet<Free>,
    /// Kept or given up during a write, in order.
    pub(crate) jobs: Vec<Job>,
    /// Who shares a record that did not exist before.
    stakes: BTreeMap<IpAddr, Stakes>,
    pub(crate) writing: Option<Batch>,
}

/// A claim on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ask {
    pub(crate) pod: usize,
    /// Which one of the pod's: its sandbox.
    pub(crate) tries: u8,
    pub(crate) cancelled: bool,
    /// What a write gave it of which it is not known whether it was made.
    perhaps: Option<IpAddr>,
}

/// A release on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Free {
    /// What a sandbox has: its DEL.
    Sandbox { pod: usize, tries: u8 },
    /// An address, if this pod has it.
    Record { address: IpAddr, pod: usize },
    /// An address, whosever it is: no release of the protocol.
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    Keep(Stake),
    Undo(Stake),
}

/// The part of a request in a record that did not exist before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stake {
    pub(crate) address: IpAddr,
    pub(crate) pod: usize,
    /// Tells this record from others of the same address.
    pub(crate) birth: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stakes {
    pod: usize,
    birth: u8,
    count: u8,
}

/// What is written together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    takes: Vec<(Ask, Option<Grant>)>,
    frees: BTreeSet<Free>,
    freed: Vec<IpAddr>,
    pub(crate) reply: Option<Reply>,
}

impl Batch {
    pub(crate) fn asks(&mut self) -> impl Iterator<Item = &mut Ask> {
        self.takes.iter_mut().map(|(ask, _)| ask)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    /// It is carried out, and whether nobody has written since.
    Done {
        current: bool,
    },
    Conflict,
}

/// What an ask got: its address, and a stake if it may have to give it back.
pub(crate) type Answer = (Ask, Option<(IpAddr, Option<Stake>)>);

/// What became of a batch that was applied.
pub(crate) enum Applied {
    /// It is to be done again with what the API server has.
    Again,
    /// There is nothing to write.
    Answers(Vec<Answer>),
    /// These records are to be written; whoever is answered already should not be.
    Write(BTreeMap<IpAddr, Holder>, Vec<Answer>),
}

pub(crate) fn uid(pod: usize) -> String {
    format!("u{pod}")
}

pub(crate) fn container(tries: u8) -> String {
    format!("c{tries}")
}

impl Ask {
    pub(crate) fn new(pod: usize, tries: u8) -> Self {
        Self { pod, tries, cancelled: false, perhaps: None }
    }

    fn claim(&self, node: usize, mutation: Mutation) -> Claim {
        let nameless = mutation == Mutation::ClaimWithoutSandbox && self.tries > 0;
        let holder = Holder {
            pod: PodName { namespace: "ns".into(), name: format!("p{}", self.pod) },
            uid: uid(self.pod),
            nic: "eth0".into(),
            container: if nameless { String::new() } else { container(self.tries) },
            node: format!("n{node}"),
            ..Holder::default()
        };
        Claim { holder, prefer: None }
    }
}

impl Desk {
    pub(crate) fn new(node: usize) -> Self {
        Self {
            node,
            ledger: Ledger::new(Duration::ZERO, CAP),
            known: false,
            current: false,
            takes: Vec::new(),
            frees: BTreeSet::new(),
            jobs: Vec::new(),
            stakes: BTreeMap::new(),
            writing: None,
        }
    }

    /// The requests on their way here.
    pub(crate) fn asks(&self) -> impl Iterator<Item = &Ask> {
        let writing = self.writing.iter().flat_map(|batch| batch.takes.iter().map(|(ask, _)| ask));
        self.takes.iter().chain(writing)
    }

    /// Whether nothing is asked of it.
    pub(crate) fn is_idle(&self) -> bool {
        self.writing.is_none() && self.takes.is_empty() && self.frees.is_empty() && self.jobs.is_empty()
    }

    /// The records in its memory.
    pub(crate) fn memory(&self) -> &BTreeMap<IpAddr, Holder> {
        self.ledger.records()
    }

    pub(crate) fn outdate(&mut self) {
        self.current = false;
        if let Some(Batch { reply: Some(Reply::Done { current }), .. }) = &mut self.writing {
            *current = false;
        }
    }

    pub(crate) fn read(&mut self, pool: &Pool) {
        self.ledger.adopt(pool.offer.clone(), pool.records.clone(), NOW);
        let records = self.ledger.records();
        self.stakes
            .retain(|address, stakes| records.get(address).is_some_and(|one| one.uid == uid(stakes.pod)));
        (self.known, self.current) = (true, true);
    }

    /// Somebody keeps what it got, or gives it up.
    pub(crate) fn tell(&mut self, job: Job, mutation: Mutation) {
        self.jobs.push(job);
        self.admit(mutation);
    }

    /// Takes in what waited for the end of a write.
    pub(crate) fn admit(&mut self, mutation: Mutation) {
        if self.writing.is_some() {
            return;
        }
        for job in std::mem::take(&mut self.jobs) {
            match job {
                Job::Keep(stake) => {
                    if self.stakes.get(&stake.address).is_some_and(|stakes| stakes.birth == stake.birth) {
                        self.stakes.remove(&stake.address);
                    }
                }
                Job::Undo(stake) => self.undo(stake, mutation),
            }
        }
    }

    fn undo(&mut self, stake: Stake, mutation: Mutation) {
        let Stake { address, pod, birth } = stake;
        match mutation {
            Mutation::NoUndo => return,
            Mutation::UndoWithoutCounting => {
                self.frees.insert(Free::Record { address, pod });
                return;
            }
            _ => {}
        }
        let any = mutation == Mutation::UndoWithoutBirth;
        let Some(stakes) = self.stakes.get_mut(&address).filter(|stakes| any || stakes.birth == birth) else {
            return;
        };
        stakes.count -= 1;
        if stakes.count == 0 {
            let pod = stakes.pod;
            self.stakes.remove(&address);
            self.frees.insert(Free::Record { address, pod });
        }
    }

    /// Applies all that is asked. `births` are those in the hands of requests.
    pub(crate) fn apply(
        &mut self,
        pool: &Pool,
        births: &[u8],
        mutation: Mutation,
        events: &mut Vec<&'static str>,
        lie: &mut Option<&'static str>,
    ) -> Applied {
        if !self.known {
            self.read(pool);
        }
        let mut takes = Vec::new();
        for ask in std::mem::take(&mut self.takes) {
            match (ask.cancelled, ask.perhaps) {
                (false, _) => takes.push((ask, None)),
                (true, Some(address)) if mutation != Mutation::ForgetPerhaps => {
                    events.push("frees what a lost write may have given");
                    self.frees.insert(Free::Record { address, pod: ask.pod });
                }
                (true, _) => events.push("skips who has gone"),
            }
        }
        let frees = std::mem::take(&mut self.frees);
        let (mut gone, mut idle) = (Vec::new(), Vec::new());
        for free in &frees {
            let addresses = self.release(*free, mutation);
            if addresses.is_empty() {
                idle.push(*free);
            }
            gone.extend(addresses);
        }
        for (ask, grant) in &mut takes {
            let had = self.ledger.of(&uid(ask.pod)).map(|(address, _)| address).next();
            *grant = self.ledger.take(&ask.claim(self.node, mutation), NOW).ok();
            if had.is_some_and(|had| grant.is_some_and(|grant| grant.address != had)) {
                events.push("leaves an address that is not offered any more");
            }
        }
        let doubtful = !idle.is_empty() || takes.iter().any(|(_, grant)| grant.is_none());
        if doubtful && !self.current && mutation != Mutation::BelieveMemory {
            events.push("reads again before it says no");
            self.ledger.roll_back();
            self.known = false;
            self.takes = takes.into_iter().map(|(ask, _)| ask).collect();
            self.frees = frees;
            return Applied::Again;
        }
        *lie = lie.or(lie_of(&takes, &idle, &gone, pool));
        let batch = Batch { takes, frees, freed: gone, reply: None };
        if !self.ledger.changed() {
            return Applied::Answers(self.answer(batch, births, events));
        }
        if batch.takes.len() + batch.frees.len() > 1 {
            events.push("writes several requests at once");
        }
        let records = self.ledger.records().clone();
        if mutation == Mutation::AnswerBeforeWrite {
            self.ledger.commit();
            let answers = self.answer(batch, births, events);
            return Applied::Write(records, answers);
        }
        self.writing = Some(batch);
        Applied::Write(records, Vec::new())
    }

    fn release(&mut self, free: Free, mutation: Mutation) -> Vec<IpAddr> {
        let release = match free {
            Free::Sandbox { pod, tries } => {
                let any = mutation == Mutation::DelOfAnySandbox;
                let container = if any { String::new() } else { container(tries) };
                Release::Nic { uid: uid(pod), nic: "eth0".into(), container }
            }
            Free::Record { address, pod } => Release::Record { address, uid: uid(pod) },
            Free::Address(address) => {
                let Some(holder) = self.ledger.records().get(&address) else { return Vec::new() };
                Release::Record { address, uid: holder.uid.clone() }
            }
        };
        self.ledger.free(&release, NOW).into_iter().map(|(address, _)| address).collect()
    }

    /// The batch is durable.
    fn answer(&mut self, batch: Batch, births: &[u8], events: &mut Vec<&'static str>) -> Vec<Answer> {
        for address in batch.freed {
            self.stakes.remove(&address);
        }
        let mut births = births.to_vec();
        let mut answers = Vec::new();
        for (ask, grant) in batch.takes {
            let Some(Grant { address, standing }) = grant else {
                events.push("refuses");
                answers.push((ask, None));
                continue;
            };
            let found = ask.perhaps == Some(address) && standing == Standing::Same;
            if found {
                events.push("finds what a lost write gave");
            }
            let shared = self.stakes.get_mut(&address).filter(|stakes| stakes.pod == ask.pod);
            let birth = match shared {
                Some(stakes) => {
                    events.push("gives a record to two requests");
                    stakes.count += 1;
                    Some(stakes.birth)
                }
                None if standing == Standing::New || found => {
                    let jobs = self.jobs.iter().map(|(Job::Keep(stake) | Job::Undo(stake))| stake.birth);
                    let used: BTreeSet<u8> = jobs
                        .chain(self.stakes.values().map(|stakes| stakes.birth))
                        .chain(births.iter().copied())
                        .collect();
                    // The agent counts on; to use the lowest again that nobody has makes fewer states of the same.
                    let birth = (0..=u8::MAX).find(|birth| !used.contains(birth)).unwrap_or_default();
                    births.push(birth);
                    self.stakes.insert(address, Stakes { pod: ask.pod, birth, count: 1 });
                    Some(birth)
                }
                None => None,
            };
            let stake = birth.map(|birth| Stake { address, pod: ask.pod, birth });
            answers.push((ask, Some((address, stake))));
        }
        answers
    }

    /// The reply to the write arrives.
    pub(crate) fn hear(&mut self, births: &[u8], events: &mut Vec<&'static str>) -> Vec<Answer> {
        let Some(batch) = self.writing.take() else { return Vec::new() };
        if let Some(Reply::Done { current }) = batch.reply {
            self.ledger.commit();
            self.current = current;
            return self.answer(batch, births, events);
        }
        self.take_back(batch);
        Vec::new()
    }

    /// The reply is lost: the write may have been carried out, or may yet be.
    pub(crate) fn lose(&mut self, mutation: Mutation) {
        let Some(mut batch) = self.writing.take() else { return };
        for (ask, grant) in &mut batch.takes {
            if let Some(Grant { address, standing: Standing::New }) = grant {
                ask.perhaps = Some(*address);
            }
        }
        if mutation == Mutation::ForgetRequests {
            batch.takes.clear();
        }
        self.take_back(batch);
    }

    fn take_back(&mut self, batch: Batch) {
        self.ledger.roll_back();
        self.known = false;
        self.takes.splice(0..0, batch.takes.into_iter().map(|(ask, _)| ask));
        self.frees.extend(batch.frees);
    }
}

/// What is said to somebody and is not so: that no address is free, or that there was no record to free.
fn lie_of(
    takes: &[(Ask, Option<Grant>)],
    idle: &[Free],
    freed: &[IpAddr],
    pool: &Pool,
) -> Option<&'static str> {
    let free = |address: &IpAddr| {
        pool.offer.contains(*address)
            && !pool.records.contains_key(address)
            && takes.iter().all(|(_, grant)| grant.is_none_or(|grant| grant.address != *address))
    };
    let offered = pool.offer.ranges().iter().flat_map(|range| [range.first(), range.last()]);
    if takes.iter().any(|(_, grant)| grant.is_none()) && offered.into_iter().any(|address| free(&address)) {
        return Some("a pod is refused although an address is free");
    }
    let there = |free: &Free| {
        pool.records.iter().filter(|(at, _)| !freed.contains(at)).any(|(at, holder)| match free {
            Free::Sandbox { pod, tries } => holder.uid == uid(*pod) && holder.container == container(*tries),
            Free::Record { address, pod } => address == at && holder.uid == uid(*pod),
            Free::Address(address) => address == at,
        })
    };
    idle.iter().any(there).then_some("a release finds nothing although its record is there")
}
