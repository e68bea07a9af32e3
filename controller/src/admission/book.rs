//! What the pools that people write give out, as far as this replica knows.
//!
//! It is kept from the watch that the controller has anyway, and not listed for each question: nearly all pools of a
//! cluster are generated ones (10,000 on 5,000 nodes), an API server that does not keep labels in its cache would read
//! them all for one admission, and a webhook that asks the API server while the API server waits for the webhook makes
//! each slower the busier the other is. The price is that a write is known only when the watch shows it, some
//! milliseconds later. What this replica admitted is remembered until then. What remains: two replicas that admit two
//! writes within these milliseconds, and a replica whose watch is cut off. An Event says what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::SpiderIPPool;
use kube::ResourceExt;
use model::{AddressRange, AddressSet, Owner};
use tokio::time::Instant;

use super::judge::{self, Claim, Other, Standing};
use crate::shelf::{Delta, Shelf};

/// How long an admitted write is remembered that the watch does not show: it may have failed after us. Far longer than
/// a watch needs, and short enough for a person who waits.
const REMEMBERED: Duration = Duration::from_secs(10);

/// A pool that people wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HandWritten {
    /// `metadata.uid`.
    pub(crate) uid: String,
    /// What it gives out.
    pub(crate) offered: AddressSet,
}

/// Two pools that share addresses, seen from one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    /// `metadata.name` of the one.
    pub(crate) pool: String,
    /// Its `metadata.uid`.
    pub(crate) uid: String,
    /// What is wrong and what to do, for people.
    pub(crate) note: String,
}

/// Why a write is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It is wrong, in a sentence for the writer.
    #[error("{0}")]
    Wrong(String),
    /// Nothing can be said yet.
    #[error(
        "not all SpiderIPPools are known yet, so whether another one has these addresses is not either: try again"
    )]
    Unknown,
}

/// Whether a write will be carried out when it is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// It will.
    Real,
    /// Nothing is stored.
    Dry,
}

/// The book. Clones share it: the watch writes, the webhook and the main loop read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    seen: Shelf<HandWritten>,
    admitted: Vec<Admitted>,
}

/// A write that was admitted and has not been seen.
#[derive(Debug)]
struct Admitted {
    pool: String,
    offered: AddressSet,
    until: Instant,
}

/// Reads a pool for the book: `None` of one that the controller makes, and has the whole record of. Whoever only puts the
/// controller's label on a pool is not asked about it, but what others write is compared with it, and Events name it.
pub(crate) fn entry(pool: &SpiderIPPool, owner: &Owner) -> Option<HandWritten> {
    if matches!(owner, Owner::Ours(..)) {
        return None;
    }
    // What cannot be read is given to nobody.
    let (offered, _) = judge::offered(pool);
    Some(HandWritten { uid: pool.uid().unwrap_or_default(), offered })
}

impl Book {
    /// Takes in what the watch tells of a pool.
    pub(crate) fn see(&self, delta: Delta<Option<HandWritten>>) {
        let mut pages = self.pages();
        let delta = match delta {
            Delta::Begin => Delta::Begin,
            Delta::End => Delta::End,
            Delta::Gone(name) | Delta::Here(name, None) => Delta::Gone(name),
            Delta::Here(name, Some(pool)) => {
                // A version before the admitted one may come first: it does not show what was admitted.
                pages
                    .admitted
                    .retain(|admitted| admitted.pool != name || !admitted.offered.is_subset(&pool.offered));
                Delta::Here(name, pool)
            }
        };
        pages.seen.take(delta, |_, _| false);
    }

    /// Decides on a write, and remembers it if it is admitted: of two at once that want one address, one gets it.
    pub(super) fn admit(
        &self,
        old: Option<&SpiderIPPool>,
        new: &SpiderIPPool,
        run: Run,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Claim::Addresses { offered, added } = judge::claim(old, new).map_err(Refusal::Wrong)? else {
            return Ok(());
        };
        let name = new.name_any();
        let mut pages = self.pages();
        if !pages.seen.complete {
            return Err(Refusal::Unknown);
        }
        pages.admitted.retain(|admitted| admitted.until > now);
        let seen = pages.seen.items.iter().map(|(name, pool)| Other {
            name,
            offered: &pool.offered,
            standing: Standing::Seen,
        });
        let admitted = pages.admitted.iter().map(|admitted| Other {
            name: &admitted.pool,
            offered: &admitted.offered,
            standing: Standing::Admitted,
        });
        let others = seen.chain(admitted).filter(|other| other.name != name);
        judge::shared(&added, others).map_err(Refusal::Wrong)?;
        if run == Run::Real {
            pages.admitted.push(Admitted { pool: name, offered, until: now + REMEMBERED });
        }
        Ok(())
    }

    /// Returns the pools that share addresses with others, each pair from both sides, by name.
    pub(crate) fn shared(&self) -> Vec<Shared> {
        let pages = self.pages();
        let pools = &pages.seen.items;
        let mut pairs = Vec::new();
        for (a, b) in meetings(pools) {
            pairs.push((a, b));
            pairs.push((b, a));
        }
        pairs.sort_unstable();
        let of = |(name, other): (&str, &str)| {
            let (pool, there) = (pools.get(name)?, pools.get(other)?);
            let both = pool.offered.intersection(&there.offered);
            let note = format!(
                "{} in SpiderIPPool {other} as well: two pods may get one address; exclude it in one of the two \
                 (spec.excludeIPs)",
                judge::ranges(&both)
            );
            Some(Shared { pool: name.to_owned(), uid: pool.uid.clone(), note })
        };
        pairs.into_iter().filter_map(of).collect()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // No step leaves the pages half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pairs of pools that share an address, found by walking all ranges once in their order.
fn meetings(pools: &BTreeMap<String, HandWritten>) -> BTreeSet<(&str, &str)> {
    let mut all: Vec<(AddressRange, &str)> = Vec::new();
    for (name, pool) in pools {
        all.extend(pool.offered.ranges().iter().map(|range| (*range, name.as_str())));
    }
    all.sort_unstable();
    let mut open: Vec<(AddressRange, &str)> = Vec::new();
    let mut pairs = BTreeSet::new();
    for (range, name) in all {
        open.retain(|(before, _)| before.last() >= range.first());
        // The ranges of one pool do not overlap, so whoever is open is another.
        pairs.extend(open.iter().map(|(_, other)| (*other.min(&name), *other.max(&name))));
        open.push((range, name));
    }
    pairs
}

#[cfg(test)]
mod tests;
