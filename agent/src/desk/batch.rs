//! A batch: what is asked of a desk at one time, applied to its ledger, and answered when that is durable.

use std::net::IpAddr;

use model::ledger::{Claim, Grant, Ledger, Refusal, Standing};
use tokio::time::Instant;

use super::job::Stake;
use super::page::unreadable;
use super::{Desk, DeskError, Freeing, Held, Known, Stakes, TakeError, Taken, Taking};

/// What became of the claims and releases of a batch, in their order.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) takes: Vec<Verdict>,
    pub(super) frees: Vec<Vec<IpAddr>>,
}

/// What became of one claim.
pub(super) enum Verdict {
    Granted(Grant),
    Refused(TakeError),
    /// Only resting addresses are left: until then.
    Parked(Instant),
    /// It is parked and not due.
    Waits,
}

impl Desk {
    /// Applies all that is asked to the ledger.
    pub(super) fn apply(&mut self) -> Outcome {
        let (instant, now) = (Instant::now(), self.now());
        // Releases first: they make room.
        let free = |free: &Freeing| {
            self.ledger.free(&free.release, now).into_iter().map(|(address, _)| address).collect()
        };
        let frees = self.frees.iter().map(free).collect();
        let mut takes = Vec::with_capacity(self.takes.len());
        let Some(page) = &self.page else { return Outcome { takes, frees } };
        let open = page.open(&self.context.pool);
        for take in &mut self.takes {
            if page.is_bound() {
                take.claim.holder.node.clear();
            }
            let verdict = match (&open, take.parked) {
                // Who has an address of a closed pool keeps it, for a sandbox that is made anew as well.
                (Err(TakeError::Closed { .. }), _) if has(&self.ledger, &take.claim) => {
                    match self.ledger.take(&take.claim, now) {
                        Ok(grant) => Verdict::Granted(grant),
                        Err(refusal) => Verdict::Refused(TakeError::Exhausted {
                            pool: self.context.pool.clone(),
                            refusal,
                        }),
                    }
                }
                (Err(error), _) => Verdict::Refused(error.clone()),
                (Ok(()), Some(until)) if until > instant && self.known == Known::Once => Verdict::Waits,
                (Ok(()), _) => match self.ledger.take(&take.claim, now) {
                    Ok(grant) => Verdict::Granted(grant),
                    Err(refusal) => {
                        let due = match refusal {
                            Refusal::Exhausted { resting_until: Some(until), .. } => {
                                Some(self.context.epoch + until.0)
                            }
                            _ => None,
                        };
                        let pool = self.context.pool.clone();
                        let refused = Verdict::Refused(TakeError::Exhausted { pool, refusal });
                        due.filter(|due| *due < take.patience).map_or(refused, Verdict::Parked)
                    }
                },
            };
            takes.push(verdict);
        }
        Outcome { takes, frees }
    }

    /// Notes what an unanswered write may have done.
    pub(super) fn remember(&mut self, outcome: &Outcome) {
        for (take, verdict) in self.takes.iter_mut().zip(&outcome.takes) {
            if let Verdict::Granted(Grant { address, standing: Standing::New }) = verdict {
                take.perhaps = Some(*address);
            }
        }
        for (free, freed) in self.frees.iter_mut().zip(&outcome.frees) {
            free.perhaps.extend(freed);
        }
    }

    /// Tells everybody what became of their requests: it is durable now.
    pub(super) fn answer(&mut self, outcome: Outcome) {
        for (mut free, freed) in self.frees.drain(..).zip(outcome.frees) {
            for address in &freed {
                self.stakes.remove(address);
            }
            let mut all = std::mem::take(&mut free.perhaps);
            all.retain(|address| !freed.contains(address));
            all.extend(freed);
            free.answer(Ok(all));
        }
        let mut takes = std::mem::take(&mut self.takes).into_iter();
        for (mut take, verdict) in takes.by_ref().zip(outcome.takes) {
            match verdict {
                Verdict::Parked(until) => {
                    take.parked = Some(until);
                    self.takes.push(take);
                }
                Verdict::Waits => self.takes.push(take),
                Verdict::Refused(error) => take.answer(Err(error)),
                Verdict::Granted(grant) => {
                    let held = self.hold(&take, grant);
                    // If nobody is there to receive it, it is dropped and so given back.
                    take.answer(held);
                }
            }
        }
    }

    /// Makes the answer to a claim, and notes who has to give up an address before it is freed.
    fn hold(&mut self, take: &Taking, grant: Grant) -> Result<Held, TakeError> {
        let Grant { address, standing } = grant;
        let pool = self.pool();
        let Some(page) = &self.page else { return Err(DeskError::Gone { pool }.into()) };
        let subnet = page.subnet().map_err(|why| unreadable(&pool, why))?;
        let uid = &take.claim.holder.uid;
        let shared = self.stakes.get_mut(&address).filter(|stakes| stakes.uid == *uid);
        let birth = match shared {
            Some(stakes) => {
                stakes.count += 1;
                Some(stakes.birth)
            }
            None if standing == Standing::New || take.perhaps == Some(address) => {
                self.births += 1;
                let stakes = Stakes { birth: self.births, uid: uid.clone(), count: 1 };
                self.stakes.insert(address, stakes);
                Some(self.births)
            }
            None => None,
        };
        let taken = Taken {
            address,
            subnet,
            gateway: page.gateway,
            routes: page.routes.clone(),
            pool,
            annotations: page.annotations.clone(),
        };
        let stake = birth.zip(self.door.upgrade()).map(|(birth, desk)| Stake { address, birth, desk });
        Ok(Held::new(taken, stake))
    }
}

/// Whether the claim's NIC has an address already, of those that the pool offers.
fn has(ledger: &Ledger, claim: &Claim) -> bool {
    let Claim { holder, .. } = claim;
    let own = |nic: &str| nic.is_empty() || nic == holder.nic;
    ledger.of(&holder.uid).any(|(address, record)| own(&record.nic) && ledger.offer().contains(address))
}
