//! Which address of one pool the next pod gets, and what becomes of those that come back.
//!
//! Pure: a desk of the agent applies a batch of claims and releases, writes the records that come of it, and then either
//! [commits](Ledger::commit) or [rolls back](Ledger::roll_back) and [adopts](Ledger::adopt) what the API holds. Nothing
//! here enumerates an offer: a choice costs O(log n), whatever the size of the pool.

mod fresh;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::address_set::AddressSet;
use crate::holder::{Holder, PodName, short_container};
use crate::moment::Moment;
use fresh::Fresh;

/// How long an address rests that somebody else was found to use: long enough for the retries of the pod that met it
/// to get others, short enough that a passing mistake costs no address for good.
pub const CONFLICT_REST: Duration = Duration::from_mins(10);

/// How many freed addresses are remembered after their rest. The longest rested one is forgotten first, and counts as
/// never used from then: the memory of a churning IPv6 prefix is bounded, the order of reuse is kept.
const REMEMBERED: usize = 8192;

/// What one NIC of one pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The record to write: the pod, its UID and its NIC say whose it is.
    pub holder: Holder,
    /// The address to have if it is offered and free, or recorded for the pod of the same name that came before: rest
    /// does not matter then. For pods that keep their address only: the caller knows that the one before is gone.
    pub prefer: Option<IpAddr>,
}

/// How a claim came to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It was free.
    New,
    /// The pod's NIC has it already; the record may have been completed.
    Same,
    /// It was recorded for the pod of the same name that came before.
    Inherited,
}

/// The address that a claim got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The address.
    pub address: IpAddr,
    /// How it was come by.
    pub standing: Standing,
}

/// Why a claim got none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every offered address is held or rests.
    #[error(
        "none of its {offered} addresses is free: pods hold {held}, the others rest after their last use"
    )]
    Exhausted {
        /// When the first one has rested; none when pods hold all of them.
        resting_until: Option<Moment>,
        /// How many addresses it offers.
        offered: u128,
        /// How many pods hold.
        held: usize,
    },
    /// The pool holds as many records as it may.
    #[error("it holds {cap} records, and no pool may hold more: use several pools")]
    Full {
        /// How many it may.
        cap: usize,
    },
}

/// Which records to free. A record that is not there is none to free, and no error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// The record of one NIC of a pod, unless another sandbox than this one has it meanwhile.
    Nic {
        /// The pod's UID.
        uid: String,
        /// The interface.
        nic: String,
        /// The sandbox; empty: whichever.
        container: String,
    },
    /// All records of a pod.
    Pod {
        /// The pod's UID.
        uid: String,
    },
    /// What one sandbox of a pod holds, when the pod's UID is not known; empty NIC: all of its NICs.
    Sandbox {
        /// The pod.
        pod: PodName,
        /// The sandbox; never empty.
        container: String,
        /// The interface; empty: whichever.
        nic: String,
    },
    /// One address, if this pod still has it.
    Record {
        /// The address.
        address: IpAddr,
        /// The pod's UID.
        uid: String,
    },
    /// One address that somebody else was found to use, if this pod still has it: it rests for [`CONFLICT_REST`].
    Conflict {
        /// The address.
        address: IpAddr,
        /// The pod's UID.
        uid: String,
    },
}

/// One step since the last commit, and what it takes to undo it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// An address that was fresh got a record.
    TookFresh(IpAddr),
    /// An address that had rested until then got a record.
    TookRested(IpAddr, Moment),
    /// A record was replaced.
    Replaced(IpAddr, Holder),
    /// A record was freed.
    Freed(IpAddr, Holder),
}

/// The records of one pool, what it offers, and which of its free addresses rest.
///
/// Two pods never hold one address, and a claim is granted an address of the offer only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    offer: AddressSet,
    held: BTreeMap<IpAddr, Holder>,
    /// The addresses of each pod, by its UID.
    by_uid: BTreeMap<String, BTreeSet<IpAddr>>,
    fresh: Fresh,
    /// Until when an address rests or has rested; disjoint from `held` and `fresh`.
    rest: BTreeMap<IpAddr, Moment>,
    /// The same, of those that are offered: the longest rested first.
    queue: BTreeSet<(Moment, IpAddr)>,
    rest_for: Duration,
    cap: usize,
    journal: Vec<Step>,
}

impl Ledger {
    /// Makes the ledger of a pool that offers nothing and holds nothing yet.
    #[must_use]
    pub fn new(rest_for: Duration, cap: usize) -> Self {
        Self { rest_for, cap, ..Self::default() }
    }

    /// Returns what the pool offers.
    #[must_use]
    pub fn offer(&self) -> &AddressSet {
        &self.offer
    }

    /// Returns the records, those of steps that are not committed among them.
    #[must_use]
    pub fn records(&self) -> &BTreeMap<IpAddr, Holder> {
        &self.held
    }

    /// Returns the records of one pod.
    pub fn of(&self, uid: &str) -> impl Iterator<Item = (IpAddr, &Holder)> {
        let addresses = self.by_uid.get(uid).into_iter().flatten();
        addresses.filter_map(|address| Some((*address, self.held.get(address)?)))
    }

    /// Returns how many offered addresses pods do not hold, resting ones among them; saturating.
    #[must_use]
    pub fn unheld(&self) -> u128 {
        self.fresh.count().saturating_add(self.queue.len() as u128)
    }

    /// Returns how many addresses are free at `now`, saturating.
    #[must_use]
    pub fn free_count(&self, now: Moment) -> u128 {
        let rested = self.queue.iter().take_while(|(until, _)| *until <= now).count();
        self.fresh.count().saturating_add(rested as u128)
    }

    /// Returns whether there are steps to write.
    #[must_use]
    pub fn changed(&self) -> bool {
        !self.journal.is_empty()
    }

    /// Keeps the steps since the last commit: they are durable now.
    pub fn commit(&mut self) {
        self.journal.clear();
    }

    /// Takes back the steps since the last commit: they were not written, or it is not known.
    pub fn roll_back(&mut self) {
        while let Some(step) = self.journal.pop() {
            match step {
                Step::TookFresh(address) => {
                    self.erase(address);
                    self.fresh.insert(address);
                }
                Step::TookRested(address, until) => {
                    self.erase(address);
                    self.lay_down(address, until);
                }
                Step::Replaced(address, holder) => {
                    self.erase(address);
                    self.enter(address, holder);
                }
                Step::Freed(address, holder) => {
                    if self.wake(address).is_none() {
                        // Forgotten already.
                        self.fresh.remove(address);
                    }
                    self.enter(address, holder);
                }
            }
        }
    }

    /// Takes over what the pool offers and holds now, as read from the API.
    ///
    /// An address that has no record any more was freed by somebody else and rests from `now`, unless none had been read
    /// before. Steps that are not committed are taken back first.
    pub fn adopt(&mut self, offer: AddressSet, held: BTreeMap<IpAddr, Holder>, now: Moment) {
        self.roll_back();
        let until = now.after(self.rest_for);
        for address in self.held.keys().filter(|address| !held.contains_key(address)) {
            self.rest.insert(*address, until);
        }
        self.rest.retain(|address, _| !held.contains_key(address));
        self.by_uid.clear();
        for (address, holder) in &held {
            self.by_uid.entry(holder.uid.clone()).or_default().insert(*address);
        }
        self.held = held;
        self.renew(offer);
    }

    /// Takes over what the pool offers now; what is held stays so. Steps that are not committed are taken back first.
    pub fn reoffer(&mut self, offer: AddressSet) {
        self.roll_back();
        if offer != self.offer {
            self.renew(offer);
        }
    }

    fn renew(&mut self, offer: AddressSet) {
        let busy: AddressSet = self.held.keys().chain(self.rest.keys()).copied().collect();
        self.fresh = offer.difference(&busy).into();
        let offered = self.rest.iter().filter(|(address, _)| offer.contains(**address));
        self.queue = offered.map(|(address, until)| (*until, *address)).collect();
        self.offer = offer;
    }

    /// Gives an address to a claim: the one that the pod's NIC has already, or else the preferred one, or else the
    /// lowest that was never used, or else the one that has rested longest.
    ///
    /// A record of an address that is offered no more does not serve a new sandbox: it is freed, and another is given.
    ///
    /// # Errors
    /// See [`Refusal`]; nothing is changed then.
    pub fn take(&mut self, claim: &Claim, now: Moment) -> Result<Grant, Refusal> {
        let Claim { holder, prefer } = claim;
        let mut stale = None;
        if let Some(address) = self.own(&holder.uid, &holder.nic) {
            if self.offer.contains(address) || self.same_sandbox(address, &holder.container) {
                self.complete(address, holder);
                return Ok(Grant { address, standing: Standing::Same });
            }
            stale = Some(address);
        }
        // The record that is left makes room for the new one.
        let room = stale.is_some() || self.held.len() < self.cap;
        if let Some(address) = prefer.filter(|address| self.offer.contains(*address)) {
            if let Some(before) = self.held.get(&address)
                && before.pod == holder.pod
                && before.uid != holder.uid
                && (before.nic.is_empty() || before.nic == holder.nic)
            {
                self.replace(address, holder.clone());
                return Ok(Grant { address, standing: Standing::Inherited });
            }
            if room && self.start(address, holder) {
                self.leave(stale, now);
                return Ok(Grant { address, standing: Standing::New });
            }
        }
        if !room {
            return Err(Refusal::Full { cap: self.cap });
        }
        let address = self.next(now)?;
        self.start(address, holder);
        self.leave(stale, now);
        Ok(Grant { address, standing: Standing::New })
    }

    /// Frees the records that a release names, and returns them. They rest from `now`.
    pub fn free(&mut self, release: &Release, now: Moment) -> Vec<(IpAddr, Holder)> {
        let rest = match release {
            Release::Conflict { .. } => CONFLICT_REST,
            _ => self.rest_for,
        };
        let addresses = self.named(release);
        addresses
            .into_iter()
            .filter_map(|address| Some((address, self.put_down(address, now, rest)?)))
            .collect()
    }

    /// Returns the addresses of the records that a release names.
    #[must_use]
    pub fn named(&self, release: &Release) -> Vec<IpAddr> {
        match release {
            Release::Nic { uid, nic, container } => {
                let own = self.own(uid, nic);
                own.filter(|address| self.same_sandbox(*address, container)).into_iter().collect()
            }
            Release::Pod { uid } => self.of(uid).map(|(address, _)| address).collect(),
            Release::Sandbox { pod, container, nic } => {
                let matches = |holder: &Holder| {
                    holder.pod == *pod
                        && holder.container == short_container(container)
                        && !container.is_empty()
                        && (nic.is_empty() || holder.nic.is_empty() || holder.nic == *nic)
                };
                self.held.iter().filter(|(_, holder)| matches(holder)).map(|(address, _)| *address).collect()
            }
            Release::Record { address, uid } | Release::Conflict { address, uid } => {
                let holder = self.held.get(address).filter(|holder| holder.uid == *uid);
                holder.map(|_| *address).into_iter().collect()
            }
        }
    }

    /// Returns the record of a pod's NIC. One without NIC is meant when it is the pod's only one: upstream's.
    fn own(&self, uid: &str, nic: &str) -> Option<IpAddr> {
        // Records without UID are nobody's in particular.
        let addresses = self.by_uid.get(uid).filter(|_| !uid.is_empty())?;
        let of = |address: &IpAddr| self.held.get(address).map(|holder| holder.nic.as_str());
        let exact = addresses.iter().find(|address| of(address) == Some(nic));
        let only = addresses.first().filter(|address| addresses.len() == 1 && of(address) == Some(""));
        exact.or(only).copied()
    }

    /// Returns whether a record may be of this sandbox: unknown on either side counts.
    fn same_sandbox(&self, address: IpAddr, container: &str) -> bool {
        let Some(holder) = self.held.get(&address) else { return false };
        container.is_empty() || holder.container.is_empty() || holder.container == short_container(container)
    }

    /// Writes what the claim knows better than the record.
    fn complete(&mut self, address: IpAddr, claimed: &Holder) {
        let Some(holder) = self.held.get(&address) else { return };
        let mut better = holder.clone();
        for (field, known) in [
            (&mut better.nic, &claimed.nic),
            (&mut better.container, &claimed.container),
            (&mut better.node, &claimed.node),
        ] {
            if !known.is_empty() {
                field.clone_from(known);
            }
        }
        if better != *holder {
            self.replace(address, better);
        }
    }

    /// Returns the free address whose turn it is.
    fn next(&self, now: Moment) -> Result<IpAddr, Refusal> {
        if let Some(address) = self.fresh.first() {
            return Ok(address);
        }
        match self.queue.first() {
            Some((until, address)) if *until <= now => Ok(*address),
            first => Err(Refusal::Exhausted {
                resting_until: first.map(|(until, _)| *until),
                offered: self.offer.count(),
                held: self.held.len(),
            }),
        }
    }

    /// Records a holder of a free address; returns whether it was free.
    fn start(&mut self, address: IpAddr, holder: &Holder) -> bool {
        let step = if self.fresh.remove(address) {
            Step::TookFresh(address)
        } else if let Some(until) = self.wake(address) {
            Step::TookRested(address, until)
        } else {
            return false;
        };
        self.journal.push(step);
        self.enter(address, holder.clone());
        true
    }

    fn replace(&mut self, address: IpAddr, holder: Holder) {
        if let Some(before) = self.erase(address) {
            self.journal.push(Step::Replaced(address, before));
        }
        self.enter(address, holder);
    }

    /// Frees the record that a pod had of an address that is offered no more.
    fn leave(&mut self, stale: Option<IpAddr>, now: Moment) {
        if let Some(address) = stale {
            self.put_down(address, now, self.rest_for);
        }
    }

    fn put_down(&mut self, address: IpAddr, now: Moment, rest: Duration) -> Option<Holder> {
        let holder = self.erase(address)?;
        self.journal.push(Step::Freed(address, holder.clone()));
        self.lay_down(address, now.after(rest));
        self.forget(now);
        Some(holder)
    }

    fn enter(&mut self, address: IpAddr, holder: Holder) {
        self.by_uid.entry(holder.uid.clone()).or_default().insert(address);
        self.held.insert(address, holder);
    }

    fn erase(&mut self, address: IpAddr) -> Option<Holder> {
        let holder = self.held.remove(&address)?;
        if let Some(addresses) = self.by_uid.get_mut(&holder.uid) {
            addresses.remove(&address);
            if addresses.is_empty() {
                self.by_uid.remove(&holder.uid);
            }
        }
        Some(holder)
    }

    fn lay_down(&mut self, address: IpAddr, until: Moment) {
        self.rest.insert(address, until);
        if self.offer.contains(address) {
            self.queue.insert((until, address));
        }
    }

    fn wake(&mut self, address: IpAddr) -> Option<Moment> {
        let until = self.rest.remove(&address)?;
        self.queue.remove(&(until, address));
        Some(until)
    }

    /// Bounds the memory: the longest rested address counts as never used.
    fn forget(&mut self, now: Moment) {
        while self.rest.len() > REMEMBERED {
            match self.queue.first().copied() {
                Some((until, _)) if until > now => return,
                Some((_, address)) => {
                    self.wake(address);
                    self.fresh.insert(address);
                }
                // What is left is offered no more.
                None => drop(self.rest.pop_first()),
            }
        }
    }
}
