//! The records of addresses in all pools, and what the cluster says of each.

mod judge;

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::{Allocation, SpiderIPPool, allocations, allocations_text, reclaim as read};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use model::Holder;
use model::reclaim::Binding;
use serde::Serialize;
use serde_json::json;

use crate::cluster;
use crate::failure::{Failure, with_causes};

pub(crate) use judge::{Cluster, Judged};

/// How often a release starts over because somebody else wrote the pool first: agents write at every pod.
const TRIES: u32 = 8;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) pool: String,
    pub(crate) address: IpAddr,
    pub(crate) holder: Holder,
    /// The only node that the pool serves; `None`: several.
    pub(crate) bound: Option<String>,
}

/// A record for programs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown<'a> {
    address: IpAddr,
    pool: &'a str,
    namespace: &'a str,
    pod: &'a str,
    uid: &'a str,
    nic: &'a str,
    container: &'a str,
    node: &'a str,
}

impl Record {
    /// Returns the record's node: its own, or its pool's; empty: unknown.
    pub(crate) fn node(&self) -> &str {
        self.bound.as_deref().unwrap_or(&self.holder.node)
    }

    pub(crate) fn binding(&self) -> Binding<'_> {
        self.bound.as_deref().map_or(Binding::Shared, Binding::Node)
    }

    pub(crate) fn shown(&self) -> Shown<'_> {
        let Holder { pod, uid, nic, container, .. } = &self.holder;
        Shown {
            address: self.address,
            pool: &self.pool,
            namespace: &pod.namespace,
            pod: &pod.name,
            uid,
            nic,
            container,
            node: self.node(),
        }
    }

    /// Returns the pod as people write it.
    pub(crate) fn pod(&self) -> String {
        if self.holder.pod.name.is_empty() { String::new() } else { self.holder.pod.to_string() }
    }
}

/// All records, and the pools whose records could not be read.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) records: Vec<Record>,
    /// One sentence each.
    pub(crate) unread: Vec<String>,
}

/// Returns a client of the cluster that kubectl would speak to, or the one that this program runs in.
pub(crate) async fn client() -> Result<Client, Failure> {
    Client::try_default().await.map_err(|error| {
        Failure::Failed(format!("no cluster to read pools from (set KUBECONFIG): {}", with_causes(&error)))
    })
}

/// Reads all pools.
pub(crate) async fn pools(client: &Client) -> Result<Vec<SpiderIPPool>, Failure> {
    let pools = cluster::all::<SpiderIPPool>(client, "SpiderIPPools").await?;
    pools.ok_or_else(|| {
        Failure::Failed("the cluster does not know kind SpiderIPPool: install the CRDs first".to_owned())
    })
}

impl Records {
    /// Returns what the pools hold.
    pub(crate) fn of(pools: &[SpiderIPPool]) -> Self {
        let mut all = Self::default();
        for pool in pools {
            let text = pool.status.as_ref().and_then(|status| status.allocated_ips.as_deref());
            match allocations(text) {
                Ok(records) => {
                    let bound = match read::binding(pool) {
                        Binding::Node(node) => Some(node.to_owned()),
                        Binding::Shared => None,
                    };
                    all.records.extend(records.into_iter().map(|(address, record)| Record {
                        pool: pool.name_any(),
                        address,
                        holder: record.into(),
                        bound: bound.clone(),
                    }));
                }
                Err(error) => all.unread.push(format!("pool {}: {error}", pool.name_any())),
            }
        }
        all.records.sort_by_key(|record| record.address);
        all
    }

    /// Returns the failure of a command that could not read some pools.
    pub(crate) fn failure(&self) -> Option<Failure> {
        (!self.unread.is_empty())
            .then(|| Failure::Failed(format!("the records of {} pools could not be read", self.unread.len())))
    }
}

/// Frees a record if it still names the same pod: against whatever else writes the pool at the same time.
///
/// Returns whether it was there.
pub(crate) async fn free(client: &Client, record: &Record) -> Result<bool, Failure> {
    let Record { pool, address, holder, .. } = record;
    let api: Api<SpiderIPPool> = Api::all(client.clone());
    let failed = |why: &str| Failure::Failed(format!("cannot free {address} in pool {pool}: {why}"));
    for _ in 0..TRIES {
        let Some(object) = api.get_opt(pool).await.map_err(|error| failed(&with_causes(&error)))? else {
            return Ok(false);
        };
        let text = object.status.as_ref().and_then(|status| status.allocated_ips.as_deref());
        let mut records: BTreeMap<IpAddr, Allocation> =
            allocations(text).map_err(|error| failed(&error.to_string()))?;
        if records.remove(address).is_none_or(|there| there.pod_uid != holder.uid) {
            return Ok(false);
        }
        let text = allocations_text(&records).map_err(|error| failed(&error.to_string()))?;
        let patch = json!({
            "metadata": {"resourceVersion": object.resource_version()},
            "status": {"allocatedIPs": text, "allocatedIPCount": records.len()},
        });
        match api.patch_status(pool, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) => return Err(failed(&status.message)),
            Err(error) => return Err(failed(&with_causes(&error))),
        }
    }
    Err(failed("others wrote the pool at the same time, again and again: try again"))
}
