//! Whether a SpiderIPPool that somebody writes may be as it is: decided from the object and from what other pools hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use api::{Allocation, SpiderIPPool, allocations, labels};
use kube::ResourceExt;
use model::{AddressSet, RangeError};

/// How many ranges, addresses or pools a sentence names before it counts the rest.
const NAMED: usize = 3;

/// What a write takes that other pools may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing that it did not hold before.
    Nothing,
    /// Addresses.
    Addresses {
        /// All that the pool gives out after the write.
        offered: AddressSet,
        /// Those of them that it did not give out before.
        added: AddressSet,
    },
}

/// What another pool, which people wrote, gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Other<'a> {
    pub(super) name: &'a str,
    pub(super) offered: &'a AddressSet,
    pub(super) standing: Standing,
}

/// How we know of another pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The cluster holds it.
    Seen,
    /// Its write was admitted a moment ago and has not been seen since.
    Admitted,
}

/// Returns whether the pool is one that the controller makes: it gives way to those of people by itself.
pub(super) fn is_generated(pool: &SpiderIPPool) -> bool {
    pool.labels().get(labels::MANAGED_BY).is_some_and(|manager| manager == labels::MANAGER)
}

/// Reads what a pool that people write gives out, and what of it is no range.
///
/// The denied addresses of the controller's own pools are not taken out: that annotation is no part of the spec, and a
/// person who removes it must not be able to make two pools share an address.
pub(super) fn offered(pool: &SpiderIPPool) -> (AddressSet, Vec<(&'static str, RangeError)>) {
    let spec = &pool.spec;
    let (ips, bad_ips) = AddressSet::parse_lenient(&spec.ips);
    let (excluded, bad_exclusions) = AddressSet::parse_lenient(&spec.exclude_ips);
    let gateway: AddressSet = spec.gateway.iter().filter_map(|text| text.parse::<IpAddr>().ok()).collect();
    let bad_ips = bad_ips.into_iter().map(|error| ("spec.ips", error));
    let bad_exclusions = bad_exclusions.into_iter().map(|error| ("spec.excludeIPs", error));
    (ips.difference(&excluded).difference(&gateway), bad_ips.chain(bad_exclusions).collect())
}

/// Judges a write by itself, and returns what of it must be compared with other pools.
///
/// # Errors
/// The sentence that the writer gets.
pub(super) fn claim(old: Option<&SpiderIPPool>, new: &SpiderIPPool) -> Result<Claim, String> {
    // It goes: whatever keeps it there, a finalizer above all, must be removable.
    if new.metadata.deletion_timestamp.is_some() {
        return Ok(Claim::Nothing);
    }
    let generated = is_generated(new);
    // The controller's own, before and after.
    if generated && old.is_none_or(is_generated) {
        return Ok(Claim::Nothing);
    }
    let changed = old.is_none_or(|old| old.spec != new.spec);
    if changed {
        let (_, unreadable) = offered(new);
        if !unreadable.is_empty() {
            let list: Vec<_> = unreadable.iter().map(|(field, error)| format!("{field}: {error}")).collect();
            return Err(list.join("; "));
        }
        if let Some(old) = old {
            keep_what_is_held(old, new)?;
        }
    }
    if generated {
        return Ok(Claim::Nothing);
    }
    let (offered_now, _) = offered(new);
    // What the controller made is nobody's until a person takes it over, by removing the label.
    let offered_before = old.filter(|old| !is_generated(old)).map(|old| offered(old).0).unwrap_or_default();
    let added = offered_now.difference(&offered_before);
    if added.is_empty() { Ok(Claim::Nothing) } else { Ok(Claim::Addresses { offered: offered_now, added }) }
}

/// Refuses to remove from `spec.ips` what pods hold. To exclude it is fine: the pod keeps it, and nobody gets it after.
fn keep_what_is_held(old: &SpiderIPPool, new: &SpiderIPPool) -> Result<(), String> {
    let ips = |pool: &SpiderIPPool| AddressSet::parse_lenient(&pool.spec.ips).0;
    let removed = ips(old).difference(&ips(new));
    if removed.is_empty() {
        return Ok(());
    }
    let text = old.status.as_ref().and_then(|status| status.allocated_ips.as_deref());
    let held = allocations(text).map_err(|error| {
        format!(
            "cannot remove {} from spec.ips: whether pods hold it is not known, {error}",
            ranges(&removed)
        )
    })?;
    let held: BTreeMap<_, _> = held.into_iter().filter(|(address, _)| removed.contains(*address)).collect();
    if held.is_empty() {
        return Ok(());
    }
    let mut text = named(held.iter().map(|(address, by)| format!("{address} (pod {})", holder(by))));
    let _ = write!(
        text,
        " cannot be removed from spec.ips while a pod holds {}: add {} to spec.excludeIPs, so that no new pod gets {}, and \
         remove {} when the pod is gone",
        it(held.len()),
        it(held.len()),
        it(held.len()),
        it(held.len()),
    );
    Err(text)
}

/// Refuses a claim to addresses that other pools, which people wrote as well, give out.
///
/// # Errors
/// The sentence that the writer gets.
pub(super) fn shared<'a>(
    added: &AddressSet,
    others: impl IntoIterator<Item = Other<'a>>,
) -> Result<(), String> {
    let mut found: Vec<(Other<'a>, AddressSet)> = Vec::new();
    for other in others {
        let both = added.intersection(other.offered);
        if !both.is_empty() {
            found.push((other, both));
        }
    }
    let Some((first, both)) = found.first() else { return Ok(()) };
    let mut text = format!("{} of spec.ips {} in SpiderIPPool {}", ranges(both), are(both), first.name);
    if first.standing == Standing::Admitted {
        text.push_str(", which was admitted a moment ago,");
    }
    text.push_str(" already, and two pods would get one address: leave ");
    let _ = write!(text, "{} out, or add {} to spec.excludeIPs here or there", them(both), them(both));
    let rest = found.iter().skip(1).map(|(other, both)| format!("{} ({})", other.name, ranges(both)));
    if found.len() > 1 {
        let _ = write!(text, "; the same with {}", named(rest));
    }
    Err(text)
}

/// Says the addresses as ranges, the first few, with their number.
pub(super) fn ranges(set: &AddressSet) -> String {
    let text = named(set.ranges().iter().map(ToString::to_string));
    if set.count() > 1 { format!("{text} ({} addresses)", set.count()) } else { text }
}

/// The first few of a list, and how many more there are.
fn named(items: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = items.collect();
    let first = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn holder(allocation: &Allocation) -> &str {
    if allocation.pod.is_empty() { "without a name" } else { &allocation.pod }
}

fn are(set: &AddressSet) -> &'static str {
    if set.count() == 1 { "is" } else { "are" }
}

fn them(set: &AddressSet) -> &'static str {
    if set.count() == 1 { "it" } else { "them" }
}

fn it(count: usize) -> &'static str {
    if count == 1 { "it" } else { "them" }
}

#[cfg(test)]
mod tests;
