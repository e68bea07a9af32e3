//! The addresses that outlived their pod: those of a `StatefulSet`'s pods and of virtual machines.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::ledger::Release;
use model::{Family, Holder, PodName};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::agent::{Agent, DEADLINE};
use crate::desk::{Filter, Taken};

/// An address of the pod that had the name before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Former {
    pub(super) pool: String,
    pub(super) address: IpAddr,
    /// The UID of that pod.
    pub(super) uid: String,
}

/// Finds the addresses that the former pod of a name held for a NIC: in the pools of this node, or else in its endpoint, which
/// tells of pools of other nodes as well.
pub(super) async fn find(
    agent: &Agent,
    name: &PodName,
    holder: &Holder,
    deadline: Instant,
) -> BTreeMap<Family, Former> {
    let mut found = BTreeMap::new();
    let records = agent.pools.records(&Filter::Pod(name.clone()), deadline).await;
    for error in records.unknown {
        warn!(pod = %name, "what it held before is not known, it may get another address: {error}");
    }
    for record in records.found {
        let nic = &record.holder.nic;
        if record.holder.uid != holder.uid && (nic.is_empty() || *nic == holder.nic) {
            let former = Former { pool: record.pool, address: record.address, uid: record.holder.uid };
            found.insert(Family::of(former.address), former);
        }
    }
    if !found.is_empty() {
        return found;
    }
    let status = match agent.endpoints.read(name).await {
        Ok(status) => status,
        Err(error) => {
            warn!(pod = %name, "its SpiderEndpoint cannot be read, it may get another address: {error}");
            None
        }
    };
    let Some(current) = status.map(|status| status.current).filter(|current| current.uid != holder.uid)
    else {
        return found;
    };
    for ip in current.ips.into_iter().filter(|ip| ip.interface == holder.nic) {
        for (address, pool) in [(ip.ipv4, ip.ipv4_pool), (ip.ipv6, ip.ipv6_pool)] {
            let (Some(address), Some(pool)) = (address, pool) else { continue };
            let Ok(net) = address.parse::<IpNet>() else { continue };
            let former = Former { pool, address: net.addr(), uid: current.uid.clone() };
            found.insert(Family::of(former.address), former);
        }
    }
    found
}

impl Agent {
    /// Frees what the former pod held and the present one did not take over: it is of no use where the pod is now.
    pub(super) fn leave_former(&self, former: BTreeMap<Family, Former>, taken: &[Taken]) {
        for former in former.into_values() {
            if taken.iter().any(|taken| taken.address == former.address) {
                continue;
            }
            let pools = self.pools.clone();
            self.after.spawn(async move {
                let Former { pool, address, uid } = former;
                let release = Release::Record { address, uid };
                match pools.free(&pool, release, Instant::now() + DEADLINE).await {
                    Ok(freed) if freed.is_empty() => {}
                    Ok(_) => info!(pool, %address, "the former address of a pod that was moved is free"),
                    // The reclaim finds it again.
                    Err(error) => warn!(pool, %address, "a former address is not free yet: {error}"),
                }
            });
        }
    }
}
