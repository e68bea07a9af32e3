//! `spiderpoolctl ip show`: what is known of one address.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use api::{SpiderIPPool, SpiderReservedIP};
use kube::ResourceExt;
use model::reclaim::Life;
use model::{AddressSet, reclaim};
use serde::Serialize;

use super::within;
use crate::arguments::{Format, ShowArguments};
use crate::cluster::all;
use crate::console;
use crate::document::{pretty, yaml};
use crate::failure::Failure;
use crate::records::{self, Cluster, Record, Records};
use crate::session::Session;

/// What one pool says of an address.
#[derive(Debug, Serialize)]
struct Sighting {
    pool: String,
    /// `held`, `free`, `excluded`, `reserved`, or `not offered` for a record of an address that left the pool.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Held>,
}

/// Who holds it.
#[derive(Debug, Serialize)]
struct Held {
    pod: String,
    uid: String,
    nic: String,
    sandbox: String,
    node: String,
    /// What the cluster says of the pod.
    life: String,
    /// `keep` or `free`.
    verdict: &'static str,
    /// Why, in one sentence.
    why: String,
}

pub(super) async fn run(arguments: ShowArguments) -> Result<(), Failure> {
    let ShowArguments { address, output, timeout } = arguments;
    let session = Session::begin(timeout);
    let (sightings, unread) = within(&session, look(address)).await?;
    for sentence in &unread {
        console::warn(sentence);
    }
    if sightings.is_empty() {
        return Err(Failure::Failed(format!(
            "no pool has {address}: neither among its addresses nor in its records"
        )));
    }
    console::print(&match output {
        Format::Table => text(address, &sightings),
        Format::Json => pretty(&sightings)?,
        Format::Yaml => yaml(&sightings)?,
    })
}

async fn look(address: IpAddr) -> Result<(Vec<Sighting>, Vec<String>), Failure> {
    let client = records::client().await?;
    let pools = records::pools(&client).await?;
    let Records { records, unread } = Records::of(&pools);
    let reserved = all::<SpiderReservedIP>(&client, "SpiderReservedIPs").await?.unwrap_or_default();
    let reserved = reserved.iter().any(|it| contains(&it.spec.ips, address));
    let mut cluster: Option<Cluster> = None;
    let mut sightings = Vec::new();
    for pool in &pools {
        let record = records.iter().find(|it| it.pool == pool.name_any() && it.address == address);
        let Some(state) = state(pool, address, record, reserved) else { continue };
        let record = match record {
            None => None,
            Some(record) => {
                let cluster = match &mut cluster {
                    Some(cluster) => cluster,
                    none => none.insert(Cluster::read(&client).await?),
                };
                Some(held(record, cluster).await?)
            }
        };
        sightings.push(Sighting { pool: pool.name_any(), state, record });
    }
    Ok((sightings, unread))
}

fn state(
    pool: &SpiderIPPool,
    address: IpAddr,
    record: Option<&Record>,
    reserved: bool,
) -> Option<&'static str> {
    let named = contains(&pool.spec.ips, address);
    match record {
        Some(_) if named => Some("held"),
        Some(_) => Some("held, and not among the pool's addresses any more"),
        None if !named => None,
        None if contains(&pool.spec.exclude_ips, address) => Some("excluded"),
        None if reserved => Some("reserved"),
        None if pool.spec.gateway.as_deref() == Some(&address.to_string()) => Some("the gateway"),
        None => Some("free"),
    }
}

fn contains(items: &[String], address: IpAddr) -> bool {
    let (set, _) = AddressSet::parse_lenient(items);
    set.intersects(&[address].into_iter().collect())
}

async fn held(record: &Record, cluster: &mut Cluster) -> Result<Held, Failure> {
    let verdict = cluster.judge(record, Duration::MAX).await?;
    let pod = cluster.pod(record);
    Ok(Held {
        pod: record.pod(),
        uid: record.holder.uid.clone(),
        nic: record.holder.nic.clone(),
        sandbox: record.holder.container.clone(),
        node: record.node().to_owned(),
        life: pod.map_or_else(|| "gone".to_owned(), |pod| life(pod, record)),
        verdict: if verdict.frees() { "free" } else { "keep" },
        why: verdict.why().to_string(),
    })
}

fn life(pod: &reclaim::Pod, record: &Record) -> String {
    if !pod.uids.contains(&record.holder.uid) {
        return "gone, another pod has its name".to_owned();
    }
    match pod.life {
        Life::Alive => "alive",
        Life::Terminating { overdue: None } => "terminating",
        Life::Terminating { overdue: Some(_) } => "terminating, and past its grace period",
        Life::Finished => "finished",
    }
    .to_owned()
}

fn text(address: IpAddr, sightings: &[Sighting]) -> String {
    let mut lines = vec![("Address".to_owned(), address.to_string())];
    for Sighting { pool, state, record } in sightings {
        lines.push(("Pool".to_owned(), pool.clone()));
        lines.push(("State".to_owned(), (*state).to_owned()));
        let Some(Held { pod, uid, nic, sandbox, node, life, verdict, why }) = record else { continue };
        let parts = [
            ("Pod", pod),
            ("UID", uid),
            ("NIC", nic),
            ("Sandbox", sandbox),
            ("Node", node),
            ("Pod is", life),
        ];
        let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
        lines.extend(parts.map(|(key, value)| (key.to_owned(), value.clone())));
        lines.push(("Reclaim".to_owned(), format!("{verdict}: {why}")));
    }
    lines.into_iter().fold(String::new(), |mut text, (key, value)| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:<10}{value}", format!("{key}:"));
        text
    })
}
