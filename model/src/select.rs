//! Which pools serve one NIC of one pod, in which order they are tried, and why the others do not serve it.
//!
//! Pure: the agent asks when a pod needs an address, `spiderpoolctl why` asks the same afterwards. The first rule that
//! applies decides alone; the pools that people name keep the order in which they name them.

mod candidate;
mod networks;
mod pattern;
mod reason;
mod request;
mod routes;
mod selector;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::address::Family;
pub use candidate::{Candidate, NetworkRef, PodRule};
pub use networks::{Behind, Network, Networks};
pub use pattern::{Pattern, PatternError};
pub use reason::{Reason, SelectError};
pub use request::{
    Application, BadAnnotation, CniDefaults, Given, Horizon, NicPools, PodFacts, PoolNames, Request,
    SubnetFeature, Wishes,
};
pub use routes::{PodRoute, routes_by_nic};
pub use selector::{LabelSelector, Labels, Requirement};

/// What decided which pools are looked at. The first one that applies does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The pod's annotation `ipam.spidernet.io/ippools`.
    IpPools,
    /// The pod's annotation `ipam.spidernet.io/ippool`.
    IpPool,
    /// The annotations of the pod's namespace.
    Namespace,
    /// The CNI configuration of the NIC.
    Cni,
    /// The pools with `default: true`.
    Default,
}

impl Rule {
    /// Returns what to do when it leads to no pool.
    fn advice(self) -> &'static str {
        match self {
            Self::IpPools | Self::IpPool => "name a pool that serves the pod, or change the pools",
            Self::Namespace => {
                "change the pools or the namespace's annotation, or name pools in the pod's annotation ipam.spidernet.io/ippool"
            }
            Self::Cni => {
                "change the pools or the CNI configuration, or name pools in the pod's annotation ipam.spidernet.io/ippool"
            }
            Self::Default => {
                "change the pools, or name pools in the pod's annotation ipam.spidernet.io/ippool"
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IpPools => "the pod's annotation ipam.spidernet.io/ippools",
            Self::IpPool => "the pod's annotation ipam.spidernet.io/ippool",
            Self::Namespace => "the namespace's annotation",
            Self::Cni => "the CNI configuration",
            Self::Default => "the default pools (spec.default)",
        })
    }
}

/// How a pool came to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// By its name.
    Name,
    /// By this wildcard.
    Wildcard(String),
    /// As a default pool.
    Default,
}

/// A pool that serves the NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its name.
    pub pool: String,
    /// How it came to be looked at.
    pub found: Found,
    /// How many of its addresses are free, as far as known; at the time of taking it may be otherwise.
    pub free: Option<u128>,
}

/// A pool that was looked at and does not serve the NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name, or the wildcard that leads to none.
    pub pool: String,
    /// The family for which it was looked at.
    pub family: Family,
    /// Why it does not serve.
    pub reason: Reason,
}

/// Why a NIC gets no address of a family although it gets one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The family is switched off.
    SwitchedOff,
    /// What decided names pools of the other family only.
    NotNamed,
    /// No default pool of the family is there for this NIC on this node.
    NoDefault,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SwitchedOff => "the family is switched off",
            Self::NotNamed => "no pool of the family is named",
            Self::NoDefault => "no default pool of the family is there for this NIC on this node",
        })
    }
}

/// The outcome: an address of every family in `families` is needed, from the first pool that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What decided.
    pub rule: Rule,
    /// The pools to try, in their order; never empty for a family that is in here, and never without a family.
    pub families: BTreeMap<Family, Vec<Choice>>,
    /// The families that the NIC goes without.
    pub without: BTreeMap<Family, Absence>,
    /// The pools that were looked at and do not serve.
    pub refused: Vec<Refused>,
    /// Whether the NIC brings no default route.
    pub clean_gateway: bool,
}

/// Chooses the pools for one NIC of one pod.
///
/// # Errors
/// When what decides cannot be read or says nothing of the NIC, or when it leads to no pool for a family.
pub fn select(request: &Request<'_>, pools: &[impl Borrow<Candidate>]) -> Result<Selection, SelectError> {
    let Asked { rule, names, clean_gateway } = asked(request)?;
    let mut selection = Selection {
        rule,
        families: BTreeMap::new(),
        without: BTreeMap::new(),
        refused: Vec::new(),
        clean_gateway,
    };
    for family in Family::ALL {
        let absence = match (request.families.contains(&family), names) {
            (false, _) => Some(Absence::SwitchedOff),
            (true, Some(names)) if names.of(family).is_empty() => Some(Absence::NotNamed),
            (true, Some(names)) => {
                named(request, family, names.of(family), pools).add_to(&mut selection, family)
            }
            (true, None) => default(request, family, pools).add_to(&mut selection, family),
        };
        match absence {
            Some(absence) => selection.without.insert(family, absence),
            None if selection.families.contains_key(&family) => None,
            None => return Err(none_serves(request, family, selection)),
        };
    }
    if selection.families.is_empty() {
        return Err(nothing(request, names, selection));
    }
    Ok(selection)
}

/// What the first rule that applies asks for; no names: the default pools.
struct Asked<'a> {
    rule: Rule,
    names: Option<&'a PoolNames>,
    clean_gateway: bool,
}

fn asked<'a>(request: &Request<'a>) -> Result<Asked<'a>, SelectError> {
    let (pod, nic) = (&request.pod.name, request.nic);
    let clean_gateway = request.cni.clean_gateway;
    let unreadable = |bad: &BadAnnotation| SelectError::Annotation {
        pod: pod.clone(),
        nic: nic.to_owned(),
        bad: Box::new(bad.clone()),
    };
    let wishes = request.wishes;
    if let (SubnetFeature::Refused, Some(annotation)) = (request.subnets, wishes.subnet) {
        return Err(SelectError::Subnet { pod: pod.clone(), nic: nic.to_owned(), annotation });
    }
    if let Some(items) = &wishes.ippools {
        let item = item(request, items.as_ref().map_err(unreadable)?)?;
        let clean_gateway = item.clean_gateway.unwrap_or(clean_gateway);
        return Ok(Asked { rule: Rule::IpPools, names: Some(&item.names), clean_gateway });
    }
    if let Some(names) = &wishes.ippool {
        let names = Some(names.as_ref().map_err(unreadable)?);
        return Ok(Asked { rule: Rule::IpPool, names, clean_gateway });
    }
    if let Some(names) = request.namespace_pools {
        let names = names.as_ref().map_err(unreadable)?;
        if !names.is_empty() {
            return Ok(Asked { rule: Rule::Namespace, names: Some(names), clean_gateway });
        }
    }
    if !request.cni.names.is_empty() {
        return Ok(Asked { rule: Rule::Cni, names: Some(&request.cni.names), clean_gateway });
    }
    Ok(Asked { rule: Rule::Default, names: None, clean_gateway })
}

/// Finds the item of `ippools` that is about the NIC: by name, or by its place when no item has a name.
fn item<'a>(request: &Request<'_>, items: &'a [NicPools]) -> Result<&'a NicPools, SelectError> {
    let (pod, nic) = (request.pod.name.clone(), request.nic.to_owned());
    let listed: Vec<&str> = items.iter().filter_map(|item| item.nic.as_deref()).collect();
    if !listed.is_empty() {
        let own = items.iter().find(|item| item.nic.as_deref() == Some(request.nic));
        return own.ok_or_else(|| SelectError::NotListed { pod, nic, listed: listed.join(", ") });
    }
    let networks = &request.wishes.networks;
    let own = networks.position(request.nic).and_then(|at| items.get(at));
    own.ok_or_else(|| match &networks.further {
        Some(Err(bad)) => SelectError::Annotation { pod, nic, bad: Box::new(bad.clone()) },
        _ => SelectError::NoPlace { pod, nic, items: items.len(), nics: networks.nics().join(", ") },
    })
}

/// The pools of one family: those that serve, and those that do not.
#[derive(Default)]
struct Sifted {
    choices: Vec<Choice>,
    refused: Vec<Refused>,
    absence: Option<Absence>,
}

impl Sifted {
    fn add_to(self, selection: &mut Selection, family: Family) -> Option<Absence> {
        selection.refused.extend(self.refused);
        if !self.choices.is_empty() {
            selection.families.insert(family, self.choices);
        }
        self.absence
    }

    fn refuse(&mut self, pool: &str, family: Family, reason: Reason) {
        self.refused.push(Refused { pool: pool.to_owned(), family, reason });
    }

    /// Sifts pools that nobody put in order, and puts them in order.
    fn sift<'a>(
        &mut self,
        request: &Request<'_>,
        family: Family,
        pools: impl Iterator<Item = &'a Candidate>,
        found: &Found,
    ) {
        let mut serving: Vec<&Candidate> = Vec::new();
        for pool in pools {
            match pool.serves(request, family) {
                Ok(()) => serving.push(pool),
                Err(reason) => self.refuse(&pool.name, family, reason),
            }
        }
        // More free addresses first spreads default pools that are alike; whoever writes a wildcard counts on names.
        let free = |pool: &Candidate| match found {
            Found::Default => Reverse(pool.free),
            Found::Wildcard(_) | Found::Name => Reverse(None),
        };
        serving.sort_by(|a, b| {
            let key = |pool: &Candidate| (pool.general(), pool.is_full(), free(pool));
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        self.choices.extend(serving.into_iter().map(|pool| choice(pool, found.clone())));
    }
}

fn choice(pool: &Candidate, found: Found) -> Choice {
    Choice { pool: pool.name.clone(), found, free: pool.free }
}

fn named(
    request: &Request<'_>,
    family: Family,
    names: &[String],
    pools: &[impl Borrow<Candidate>],
) -> Sifted {
    let by_name: BTreeMap<&str, &Candidate> =
        pools.iter().map(Borrow::borrow).map(|pool| (pool.name.as_str(), pool)).collect();
    let horizon = request.horizon;
    // Who names a pool by its name puts it there on purpose: a wildcard does not move it.
    let mut seen: BTreeSet<&str> =
        names.iter().map(String::as_str).filter(|name| !Pattern::is_in(name)).collect();
    let (mut sifted, mut done) = (Sifted::default(), BTreeSet::new());
    for name in names.iter().filter(|name| done.insert(name.as_str())) {
        if !Pattern::is_in(name) {
            match by_name.get(name.as_str()) {
                Some(pool) => match pool.serves(request, family) {
                    Ok(()) => sifted.choices.push(choice(pool, Found::Name)),
                    Err(reason) => sifted.refuse(name, family, reason),
                },
                None => sifted.refuse(name, family, Reason::Missing { horizon }),
            }
            continue;
        }
        let pattern = match Pattern::parse(name) {
            Ok(pattern) => pattern,
            Err(error) => {
                sifted.refuse(name, family, Reason::Pattern(error));
                continue;
            }
        };
        let matching: Vec<&Candidate> = by_name
            .values()
            .copied()
            .filter(|pool| pool.family == family && pattern.matches(&pool.name))
            .collect();
        if matching.is_empty() {
            sifted.refuse(name, family, Reason::NoMatch { horizon });
        }
        let new = matching.into_iter().filter(|pool| seen.insert(pool.name.as_str()));
        sifted.sift(request, family, new, &Found::Wildcard(name.clone()));
    }
    sifted
}

fn default(request: &Request<'_>, family: Family, pools: &[impl Borrow<Candidate>]) -> Sifted {
    let mut sifted = Sifted::default();
    let own = pools.iter().map(Borrow::borrow).filter(|pool| pool.default && pool.family == family);
    sifted.sift(request, family, own, &Found::Default);
    // The default pools of other nodes and other NICs are none of this one's: a NIC that has IPv4 pools only needs no
    // IPv6 address because its neighbour has one.
    if sifted.choices.is_empty() && sifted.refused.iter().all(|refused| refused.reason.is_elsewhere()) {
        sifted.absence = Some(Absence::NoDefault);
    }
    sifted.refused.sort_by(|a, b| a.pool.cmp(&b.pool));
    sifted
}

fn none_serves(request: &Request<'_>, family: Family, selection: Selection) -> SelectError {
    SelectError::NoneServes {
        pod: Box::new(request.pod.name.clone()),
        nic: request.nic.to_owned(),
        node: request.node.to_owned(),
        family,
        rule: selection.rule,
        refused: selection.refused.into_iter().filter(|refused| refused.family == family).collect(),
    }
}

/// Why no family is left.
fn nothing(request: &Request<'_>, names: Option<&PoolNames>, selection: Selection) -> SelectError {
    let (pod, nic) = (request.pod.name.clone(), request.nic.to_owned());
    let off = |family: Family| !request.families.contains(&family);
    let Some(names) = names else {
        let node = request.node.to_owned();
        return SelectError::NoDefault { pod: Box::new(pod), nic, node, refused: selection.refused };
    };
    let (family, key) =
        if off(Family::V4) && !names.v4.is_empty() { ("IPv4", "enableIPv4") } else { ("IPv6", "enableIPv6") };
    SelectError::FamilyOff { pod, nic, rule: selection.rule, named: family, key }
}
