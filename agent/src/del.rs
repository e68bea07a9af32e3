//! DEL and its kin: what a sandbox that is gone gives back, and what is kept for the pod's next one.

use std::net::IpAddr;

use api::reclaim;
use model::ledger::Release;
use model::reclaim::Fixed;
use model::{PodName, short_container};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};
use wire::{CheckRequest, DelRequest, GcRequest, ReleaseRequest};

use crate::agent::{self, Agent, DEADLINE, PodError};
use crate::desk::{DeskError, Filter, Record};
use crate::metrics;
use crate::owners::Stays;
use crate::pods::Life;
use crate::settings::{ConflictRelease, Keep};

/// Why something was not taken back, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum DelError {
    /// The request cannot be served.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// What the pod holds cannot be told.
    #[error("cannot tell what pod {pod} holds: {source}")]
    Records {
        /// The pod.
        pod: PodName,
        /// Why.
        source: DeskError,
    },
    /// Addresses were not freed.
    #[error("{address} of pod {pod} is not free yet: {source}")]
    Held {
        /// The pod.
        pod: PodName,
        /// The first of the addresses.
        address: IpAddr,
        /// Why.
        source: DeskError,
    },
    /// The settings forbid it.
    #[error(
        "pod {0} keeps its addresses although they are in use by somebody else: SPIDERPOOL_ENABLED_RELEASE_CONFLICT_IPS is false"
    )]
    Forbidden(PodName),
    /// The pod's addresses are its own.
    #[error(
        "pod {0} keeps its addresses although they are in use by somebody else: those of its name are fixed; find who else uses them"
    )]
    Fixed(PodName),
}

/// Why a CHECK fails.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The request cannot be served.
    #[error(transparent)]
    Del(#[from] DelError),
    /// A text is no address.
    #[error("{0:?} is no IP address")]
    NoAddress(String),
    /// An address is not the sandbox's.
    #[error(
        "{address} is not recorded for {nic} of pod {pod} in this sandbox, but for {holder}: delete the pod, so that it gets another"
    )]
    NotHeld {
        /// The address.
        address: IpAddr,
        /// The NIC.
        nic: String,
        /// The pod.
        pod: PodName,
        /// Who has it.
        holder: String,
    },
}

/// What becomes of a record.
enum Fate {
    Free,
    /// It stays, and why.
    Stay(&'static str),
}

impl Agent {
    /// Answers a DEL. What is not there is none to free, and no error.
    ///
    /// # Errors
    /// See [`DelError`]; whoever asked asks again.
    pub async fn del(&self, request: &DelRequest) -> Result<(), DelError> {
        let start = Instant::now();
        let _under_way = self.metrics.under_way();
        let deleted = self.try_del(request, start + DEADLINE).await;
        let took = start.elapsed();
        self.metrics.release(outcome(&deleted), took);
        let (pod, nic) = (format!("{}/{}", request.pod_namespace, request.pod_name), &request.if_name);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match &deleted {
            Ok(said) => info!(pod, nic, address = said.addresses(), took_ms, "DEL done: {}", said.what),
            Err(error) => warn!(pod, nic, took_ms, "DEL failed: {error}"),
        }
        deleted.map(|_| ())
    }

    async fn try_del(&self, request: &DelRequest, deadline: Instant) -> Result<Said, DelError> {
        let DelRequest { container_id, if_name, pod_namespace, pod_name, pod_uid, .. } = request;
        agent::complete(&[("containerID", container_id), ("ifName", if_name)])?;
        self.ready(deadline).await?;
        let name = PodName { namespace: pod_namespace.clone(), name: pod_name.clone() };
        let of_nic = |record: &Record| record.holder.nic.is_empty() || record.holder.nic == *if_name;
        let records = self.held(&name, pod_uid, container_id, deadline).await?;
        let records: Vec<Record> = records.into_iter().filter(of_nic).collect();
        if records.is_empty() {
            return Ok(Said::nothing("it held no address"));
        }
        let mine = |record: &Record| of_sandbox(record, container_id);
        let records: Vec<Record> = records.into_iter().filter(mine).collect();
        let Some(first) = records.first() else {
            return Ok(Said::nothing("the pod's address is a newer sandbox's"));
        };
        if let Fate::Stay(why) = self.fate(Some(&name), first, deadline).await {
            self.sandboxes.departed(container_id, if_name);
            return Ok(Said { addresses: addresses(&records), what: why });
        }
        let release = |record: &Record| Release::Nic {
            uid: record.holder.uid.clone(),
            nic: if_name.clone(),
            container: container_id.clone(),
        };
        let freed = self.free(&name, records, release, deadline).await?;
        Ok(Said { addresses: freed, what: "freed" })
    }

    /// Returns what becomes of the record of a sandbox that is gone; `name` is the pod's, where that is known.
    async fn fate(&self, name: Option<&PodName>, record: &Record, deadline: Instant) -> Fate {
        let holder = &record.holder;
        let pod = self.pods.of(&holder.uid);
        if pod.as_ref().is_some_and(|pod| pod.is_alive()) {
            return Fate::Stay("kept for the pod's next sandbox");
        }
        let (set, machine) = match &pod {
            Some(pod) => {
                let stays = self.fixed(pod).map(|fixed| fixed.stays);
                (stays == Some(Stays::StatefulSet), stays == Some(Stays::VirtualMachine))
            }
            // It is gone: its name tells whether it may have been of those. A machine's is not that of its pod.
            None => (
                self.settings.stateful_set == Keep::Fixed && reclaim::ordinal(&holder.pod.name).is_some(),
                self.settings.kubevirt == Keep::Fixed && name.is_none_or(|name| *name != holder.pod),
            ),
        };
        let asked = async {
            if set && reclaim::fixed_by_set(&self.client, &holder.pod).await? == Fixed::Valid {
                return Ok(Fixed::Valid);
            }
            if machine {
                return reclaim::fixed_by_machine(&self.client, &holder.pod).await;
            }
            Ok::<_, kube::Error>(Fixed::No)
        };
        match timeout_at(deadline, asked).await {
            Ok(Ok(Fixed::Valid)) => Fate::Stay("kept for the next pod of its name"),
            Ok(Ok(Fixed::No | Fixed::Invalid)) => Fate::Free,
            Ok(Ok(Fixed::Unknown) | Err(_)) | Err(_) => {
                Fate::Stay("kept until it is known whether the next pod of its name gets it")
            }
        }
    }

    /// Answers the wish to give back all addresses of a sandbox, which somebody else was found to use.
    ///
    /// # Errors
    /// See [`DelError`].
    pub async fn release(&self, request: &ReleaseRequest) -> Result<(), DelError> {
        let _under_way = self.metrics.under_way();
        let start = Instant::now();
        let released = self.try_release(request, start + DEADLINE).await;
        let pod = format!("{}/{}", request.pod_namespace, request.pod_name);
        match &released {
            Ok(said) => {
                info!(
                    pod,
                    address = said.addresses(),
                    conflict = request.conflict,
                    "addresses given back: {}",
                    said.what
                );
            }
            Err(error) => warn!(pod, conflict = request.conflict, "addresses not given back: {error}"),
        }
        self.metrics.release(outcome(&released), start.elapsed());
        released.map(|_| ())
    }

    async fn try_release(&self, request: &ReleaseRequest, deadline: Instant) -> Result<Said, DelError> {
        let ReleaseRequest { container_id, pod_namespace, pod_name, pod_uid, conflict, net_namespace: _ } =
            request;
        agent::complete(&[
            ("containerID", container_id),
            ("podNamespace", pod_namespace),
            ("podName", pod_name),
        ])?;
        self.ready(deadline).await?;
        let name = PodName { namespace: pod_namespace.clone(), name: pod_name.clone() };
        let pod = self.pods.get(&name).filter(|pod| pod_uid.is_empty() || pod.is(pod_uid));
        if pod.is_some_and(|pod| self.fixed(&pod).is_some()) {
            return Err(DelError::Fixed(name));
        }
        if self.settings.conflict_release == ConflictRelease::Forbidden {
            return Err(DelError::Forbidden(name));
        }
        let records = self.held(&name, pod_uid, container_id, deadline).await?;
        let records: Vec<Record> =
            records.into_iter().filter(|record| of_sandbox(record, container_id)).collect();
        let release = |record: &Record| {
            let (address, uid) = (record.address, record.holder.uid.clone());
            if *conflict { Release::Conflict { address, uid } } else { Release::Record { address, uid } }
        };
        let freed = self.free(&name, records, release, deadline).await?;
        Ok(Said { addresses: freed, what: "freed" })
    }

    /// Answers a CHECK.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn check(&self, request: &CheckRequest) -> Result<(), CheckError> {
        let _under_way = self.metrics.under_way();
        let deadline = Instant::now() + DEADLINE;
        let CheckRequest { container_id, if_name, pod_namespace, pod_name, pod_uid, addresses } = request;
        let fields = [("containerID", container_id.as_str()), ("ifName", if_name)];
        agent::complete(&fields).map_err(DelError::from)?;
        self.ready(deadline).await.map_err(DelError::from)?;
        let name = PodName { namespace: pod_namespace.clone(), name: pod_name.clone() };
        let records = self.held(&name, pod_uid, container_id, deadline).await?;
        for text in addresses {
            let address: IpAddr = text.parse().map_err(|_| CheckError::NoAddress(text.clone()))?;
            let record = records.iter().find(|record| record.address == address);
            let held = record.is_some_and(|record| {
                of_sandbox(record, container_id)
                    && (record.holder.nic.is_empty() || record.holder.nic == *if_name)
            });
            if !held {
                let holder = record.map_or_else(
                    || "nobody of this name".to_owned(),
                    |record| format!("{} of sandbox {}", record.holder.nic, record.holder.container),
                );
                return Err(CheckError::NotHeld { address, nic: if_name.clone(), pod: name, holder });
            }
        }
        Ok(())
    }

    /// Answers a GC: what no sandbox of the list has, and no pod that is alive, is freed.
    ///
    /// # Errors
    /// See [`DelError`]: of the first address that could not be freed.
    pub async fn gc(&self, request: &GcRequest) -> Result<(), DelError> {
        let _under_way = self.metrics.under_way();
        let deadline = Instant::now() + DEADLINE;
        self.ready(deadline).await?;
        let listed: Vec<&str> =
            request.attachments.iter().map(|had| short_container(&had.container_id)).collect();
        self.sandboxes.list(listed.iter().copied());
        self.reclaim.notify_one();
        let node = self.node.name().to_owned();
        let records = self.pools.records(&Filter::Node(node), deadline).await.found;
        let mut failed = None;
        for record in records {
            let holder = &record.holder;
            // A record that names no sandbox may be of any: upstream's.
            if holder.container.is_empty() || listed.contains(&holder.container.as_str()) {
                continue;
            }
            let name = holder.pod.clone();
            // A pod that is about to end may still have a sandbox of another network than the one that was listed, and one
            // that the watch does not show yet may have begun after the list: the API server is asked then.
            match self.pod(&name, &holder.uid, deadline).await {
                Ok(pod) if pod.life == Life::Finished => {}
                Err(PodError::Absent(_) | PodError::Other { .. }) => {}
                Ok(_) | Err(_) => continue,
            }
            if let Fate::Stay(_) = self.fate(None, &record, deadline).await {
                continue;
            }
            let release =
                |record: &Record| Release::Record { address: record.address, uid: record.holder.uid.clone() };
            match self.free(&name, vec![record], release, deadline).await {
                Ok(freed) => info!(pod = %name, address = joined(&freed), "freed by the runtime's GC"),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Returns the records of a pod; when its UID is not known, those of its name and this sandbox.
    async fn held(
        &self,
        name: &PodName,
        uid: &str,
        container: &str,
        deadline: Instant,
    ) -> Result<Vec<Record>, DelError> {
        let filter = if uid.is_empty() { Filter::Pod(name.clone()) } else { Filter::Uid(uid.to_owned()) };
        let mut records = self.pools.records(&filter, deadline).await;
        // A pool that cannot be read until people repair it must not hold up everybody's DEL: the reclaim sees to it.
        let known_later = |error: &DeskError| !matches!(error, DeskError::Unreadable { .. });
        if let Some(at) = records.unknown.iter().position(known_later) {
            return Err(DelError::Records { pod: name.clone(), source: records.unknown.swap_remove(at) });
        }
        if uid.is_empty() {
            records.found.retain(|record| record.holder.container == short_container(container));
        }
        Ok(records.found)
    }

    /// Frees records, and says so to the pod's endpoint.
    async fn free(
        &self,
        pod: &PodName,
        records: Vec<Record>,
        release: impl Fn(&Record) -> Release,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, DelError> {
        let frees = records.into_iter().map(|record| {
            let release = release(&record);
            async move {
                match self.pools.free(&record.pool, release, deadline).await {
                    Ok(freed) => {
                        if !freed.is_empty() {
                            self.endpoints.lost(&record.holder.pod, &record.holder.uid, &record.holder.nic);
                        }
                        Ok(freed)
                    }
                    Err(source) => Err(DelError::Held { pod: pod.clone(), address: record.address, source }),
                }
            }
        });
        let mut addresses = Vec::new();
        // All of them are tried, whatever becomes of the first.
        let mut failed = None;
        for outcome in futures::future::join_all(frees).await {
            match outcome {
                Ok(some) => addresses.extend(some),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        debug!(pod = %pod, address = joined(&addresses), "freed");
        failed.map_or(Ok(addresses), Err)
    }
}

/// What a DEL came to.
struct Said {
    addresses: Vec<IpAddr>,
    what: &'static str,
}

impl Said {
    fn nothing(what: &'static str) -> Self {
        Self { addresses: Vec::new(), what }
    }

    fn addresses(&self) -> String {
        joined(&self.addresses)
    }
}

fn addresses(records: &[Record]) -> Vec<IpAddr> {
    records.iter().map(|record| record.address).collect()
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Whether a record may be of this sandbox: one that names none may be of any.
fn of_sandbox(record: &Record, container: &str) -> bool {
    record.holder.container.is_empty() || record.holder.container == short_container(container)
}

fn outcome(deleted: &Result<Said, DelError>) -> metrics::Release {
    match deleted {
        Ok(_) => metrics::Release::Done,
        Err(DelError::Held { source: DeskError::Late { .. }, .. }) => metrics::Release::RetriesExhausted,
        Err(_) => metrics::Release::Internal,
    }
}
