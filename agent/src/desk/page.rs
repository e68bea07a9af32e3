//! A pool as a desk read it last: everything but its records.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::{Route, allocations, candidate};
use ipnet::IpNet;
use kube::ResourceExt;
use model::select::Candidate;
use model::{AddressSet, Holder};

use super::store::{Beside, Read};
use super::{DeskError, TakeError};

/// What the desk knows of its pool at one version.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) uid: String,
    pub(super) version: String,
    pub(super) candidate: Candidate,
    /// `ips` without exclusions, denied ones and gateway; reserved addresses are in it.
    pub(super) offered: AddressSet,
    pub(super) gateway: Option<IpAddr>,
    pub(super) routes: Vec<Route>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) beside: Beside,
}

impl Page {
    /// Reads a pool; the records apart, or why they cannot be read.
    pub(super) fn read(read: Read) -> (Self, Result<BTreeMap<IpAddr, Holder>, String>) {
        let Read { pool, beside } = read;
        let text = pool.status.as_ref().and_then(|status| status.allocated_ips.as_deref());
        let records = allocations(text)
            .map(|records| records.into_iter().map(|(address, record)| (address, record.into())).collect())
            .map_err(|error| error.to_string());
        let page = Self {
            uid: pool.uid().unwrap_or_default(),
            version: pool.resource_version().unwrap_or_default(),
            candidate: candidate(&pool),
            offered: pool.addresses().offered,
            gateway: pool.spec.gateway.as_deref().and_then(|text| text.parse().ok()),
            routes: pool.spec.routes,
            annotations: pool.metadata.annotations.unwrap_or_default(),
            beside,
        };
        (page, records)
    }

    /// Whether the pool serves one node only: its records need not name it.
    pub(super) fn is_bound(&self) -> bool {
        self.candidate.nodes.len() == 1
    }

    /// Returns the subnet, or why nothing can be given out.
    pub(super) fn subnet(&self) -> Result<IpNet, &str> {
        match (&self.candidate.problem, self.candidate.subnet) {
            (Some(problem), _) => Err(problem),
            (None, None) => Err("spec.subnet is no CIDR"),
            (None, Some(subnet)) => Ok(subnet),
        }
    }

    /// Returns why the pool named `pool` gives nothing out, if it does not.
    pub(super) fn open(&self, pool: &str) -> Result<(), TakeError> {
        let closed = |why| Err(TakeError::Closed { pool: pool.to_owned(), why });
        match self.subnet() {
            Err(why) => Err(unreadable(pool, why)),
            Ok(_) if self.candidate.terminating => closed("it is being deleted"),
            Ok(_) if self.candidate.disabled => closed("spec.disable is true"),
            Ok(_) => Ok(()),
        }
    }

    /// Whether `version` is known to be newer than this page. Versions are numbers in practice; where they are not, the
    /// API server's refusal of a stale write says it.
    pub(super) fn is_behind(&self, version: &str) -> bool {
        let number = |text: &str| text.parse::<u64>().ok();
        matches!((number(&self.version), number(version)), (Some(ours), Some(theirs)) if ours < theirs)
    }
}

pub(super) fn unreadable(pool: &str, why: &str) -> TakeError {
    DeskError::Unreadable { pool: pool.to_owned(), why: why.to_owned() }.into()
}
