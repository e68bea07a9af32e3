//! `spiderpoolctl why`: which pools were considered for a pod, in which order, why each was refused, and what it holds.
//!
//! It asks the same code as the agent does (`model::select`), with what the API server says now: so it also tells of a pod
//! that got nothing.

mod cni;
mod facts;
mod nic;
mod print;

use std::net::IpAddr;

use api::{SpiderIPPool, allocations, candidate};
use kube::ResourceExt;
use model::select::Candidate;
use model::{AddressSet, Holder, PodName};
use serde::Serialize;

use crate::arguments::{Format, WhyArguments};
use crate::failure::Failure;
use crate::session::Session;
use crate::{console, document};
use facts::Facts;

/// Explains, and prints the explanation.
pub(crate) async fn run(arguments: WhyArguments) -> Result<(), Failure> {
    let session = Session::begin(arguments.timeout);
    let read = async {
        session.wait("the API server", Box::pin(Facts::read(&arguments))).await.unwrap_or_else(|late| {
            Err(Failure::Failed(format!(
                "cannot read what the choice depends on: {late} from the API server"
            )))
        })
    };
    let facts = Box::pin(session.watched(read)).await?;
    let report = report(&facts, &arguments);
    for note in &report.notes {
        console::warn(note);
    }
    console::print(&match arguments.output {
        Format::Table => print::text(&report, arguments.extent),
        Format::Yaml => document::yaml(&report)?,
        Format::Json => document::pretty(&report)?,
    })
}

/// The explanation; its JSON is for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    pod: Pod,
    nics: Vec<Nic>,
    /// Addresses that are recorded for the pod, and for which NIC is unknown or none of the above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_addresses: Vec<Held>,
    /// What the runtime and others said of the pod lately.
    events: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    namespace: String,
    name: String,
    uid: String,
    node: String,
    phase: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Nic {
    name: String,
    /// The network behind it, where known.
    network: Option<String>,
    /// Who gives its addresses, when it is not Spiderpool.
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam: Option<String>,
    /// What decided which pools were looked at.
    rule: Option<String>,
    clean_gateway: Option<bool>,
    /// Why no address can be given now.
    error: Option<String>,
    pools: Vec<Considered>,
    /// The families that it goes without, and why.
    without: Vec<String>,
    addresses: Vec<Held>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Considered {
    pool: String,
    family: i64,
    /// Its turn within its family, from 1; none when it does not serve.
    turn: Option<usize>,
    /// As text: an IPv6 pool has more than JSON's numbers hold.
    free: Option<String>,
    why: String,
    /// Whether it belongs to another node and was found as a default only: of no interest to people.
    elsewhere: bool,
}

/// An address that a pool's record gives to the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    address: IpAddr,
    pool: String,
    #[serde(skip)]
    nic: String,
    /// Whether the record's UID is the pod's: otherwise an earlier pod of the name has it.
    current: bool,
}

/// All records of all pools that can be read.
fn records(pools: &[SpiderIPPool]) -> impl Iterator<Item = (String, IpAddr, Holder)> {
    pools.iter().flat_map(|pool| {
        let text = pool.status.as_ref().and_then(|status| status.allocated_ips.as_deref());
        let records = allocations(text).unwrap_or_default().into_iter();
        let name = pool.name_any();
        records.map(move |(address, record)| (name.clone(), address, Holder::from(record)))
    })
}

fn report(facts: &Facts, arguments: &WhyArguments) -> Report {
    let reserved = facts
        .reserved
        .iter()
        .flat_map(|object| AddressSet::parse_lenient(&object.spec.ips).0.ranges().to_vec());
    let reserved: AddressSet = reserved.collect();
    let pools: Vec<Candidate> = facts.pools.iter().map(|pool| without_reserved(pool, &reserved)).collect();
    let status = facts.pod.status.as_ref();
    let pod = Pod {
        namespace: arguments.namespace.clone(),
        name: arguments.pod.clone(),
        uid: facts.pod.uid().unwrap_or_default(),
        node: facts.pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        phase: match facts.pod.metadata.deletion_timestamp {
            Some(_) => "Terminating".to_owned(),
            None => status.and_then(|status| status.phase.clone()).unwrap_or_default(),
        },
    };
    let held = held(facts, &pod);
    let mut notes = facts.notes.clone();
    notes.extend(oddities(facts, &pod));
    let mut names = facts.wishes.networks.nics();
    if let Some(nic) = &arguments.nic {
        names = vec![nic.clone()];
    }
    let nics: Vec<Nic> =
        names.iter().map(|name| nic::nic(facts, &arguments.home, &pod, &pools, name, &held)).collect();
    let other_addresses = held.into_iter().filter(|held| !names.contains(&held.nic)).collect();
    let other_addresses = if arguments.nic.is_some() { Vec::new() } else { other_addresses };
    Report { pod, nics, other_addresses, events: print::events(&facts.events), notes }
}

/// Reads a pool and takes the reserved addresses from its free ones.
fn without_reserved(pool: &SpiderIPPool, reserved: &AddressSet) -> Candidate {
    let mut candidate = candidate(pool);
    let offered = pool.addresses().offered.difference(reserved);
    let text = pool.status.as_ref().and_then(|status| status.allocated_ips.as_deref());
    candidate.offered = offered.count();
    if let (Some(_), Ok(held)) = (candidate.free, allocations(text)) {
        let held = held.into_keys().filter(|address| offered.contains(*address)).count();
        candidate.free = Some(candidate.offered.saturating_sub(held as u128));
    }
    candidate
}

/// The addresses that are recorded for the pod, or for an earlier one of its name.
fn held(facts: &Facts, pod: &Pod) -> Vec<Held> {
    let name = PodName { namespace: pod.namespace.clone(), name: pod.name.clone() };
    let own = |holder: &Holder| holder.uid == pod.uid || holder.pod == name;
    let records = records(&facts.pools).filter(|(_, _, holder)| own(holder));
    let endpoint =
        facts.endpoint.as_ref().and_then(|endpoint| endpoint.status.as_ref()).map(|it| &it.current);
    let nic = |address: IpAddr, holder: &Holder| {
        if !holder.nic.is_empty() {
            return holder.nic.clone();
        }
        // Upstream's records have no NIC; its endpoints do.
        let text = address.to_string();
        let has = |cidr: &Option<String>| {
            cidr.as_deref().and_then(|it| it.split('/').next()) == Some(text.as_str())
        };
        let items = endpoint.into_iter().flat_map(|current| &current.ips);
        items
            .into_iter()
            .find(|item| has(&item.ipv4) || has(&item.ipv6))
            .map_or_else(String::new, |it| it.interface.clone())
    };
    let held = records.map(|(pool, address, holder)| Held {
        address,
        pool,
        nic: nic(address, &holder),
        current: holder.uid == pod.uid,
    });
    held.collect()
}

/// What is odd about the pod, one sentence each.
fn oddities(facts: &Facts, pod: &Pod) -> Vec<String> {
    let mut notes = Vec::new();
    if facts.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
        notes.push("the pod uses its node's network (hostNetwork) and never asks for an address".to_owned());
    }
    if pod.node.is_empty() {
        notes.push("the pod is on no node yet, so no pool that names nodes can serve it".to_owned());
    } else if facts.node.is_none() {
        notes.push(format!("node {} does not exist, so it has no labels", pod.node));
    }
    notes
}
