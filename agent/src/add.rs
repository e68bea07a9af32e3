//! ADD: an address of each family for one NIC of one pod, durable before it is answered.

mod answer;
mod former;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use api::annotations;
use futures::future::try_join_all;
use model::ledger::{Claim, Refusal};
use model::select::{
    self, Application, Candidate, Choice, CniDefaults, Found, Horizon, PodFacts, PodRule, PoolNames, Request,
    Rule, SelectError, Selection, Wishes,
};
use model::{Family, Holder, PodName};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};
use wire::{AddReply, AddRequest};

use crate::agent::{self, ADD_DEADLINE, Agent, PodError};
use crate::desk::{DeskError, Filter, Held, Record, TakeError};
use crate::metrics::Allocation;
use crate::pods::{Life, Pod};
use former::Former;

/// Why a NIC gets no address.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// There is no pod to serve.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// No pool serves it.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// An annotation that is needed cannot be read.
    #[error("pod {pod}: {why}")]
    Annotation {
        /// The pod.
        pod: PodName,
        /// Which, and what is wrong with it.
        why: String,
    },
    /// The pod's namespace cannot be read.
    #[error("cannot read namespace {namespace}: {why}")]
    Namespace {
        /// The namespace.
        namespace: String,
        /// Why.
        why: String,
    },
    /// None of the pools that serve it gave an address.
    #[error("pod {pod} gets no {family} address for {nic}: {}", sentences(.tried))]
    NoAddress {
        /// The pod.
        pod: PodName,
        /// The NIC.
        nic: String,
        /// The family.
        family: &'static str,
        /// What each pool said, in the order in which they were tried.
        tried: Vec<TakeError>,
    },
}

fn sentences(tried: &[TakeError]) -> String {
    let tried: Vec<String> = tried.iter().map(ToString::to_string).collect();
    tried.join("; ")
}

impl AddError {
    /// Returns how it counts.
    fn outcome(&self) -> Allocation {
        match self {
            Self::Pod(PodError::NotReady(_) | PodError::Unread { .. }) | Self::Namespace { .. } => {
                Allocation::Internal
            }
            Self::Pod(_) | Self::Annotation { .. } => Allocation::Refused,
            Self::Select(_) => Allocation::NoPool,
            Self::NoAddress { tried, .. } => {
                let late = |error: &TakeError| matches!(error, TakeError::Desk(DeskError::Late { .. }));
                let empty = |error: &TakeError| matches!(error, TakeError::Exhausted { .. });
                if tried.iter().any(late) {
                    Allocation::RetriesExhausted
                } else if tried.iter().any(empty) {
                    Allocation::Exhausted
                } else {
                    Allocation::Internal
                }
            }
        }
    }
}

/// Tells of a request whose plugin went away, unless it was answered.
struct Unanswered<'a> {
    agent: &'a Agent,
    request: &'a AddRequest,
    answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let AddRequest { pod_namespace, pod_name, if_name, container_id, .. } = self.request;
            self.agent.metrics.cancelled();
            info!(
                pod = format!("{pod_namespace}/{pod_name}"),
                nic = if_name,
                container = container_id,
                "ADD cancelled: the plugin went away, and what was taken for it is given back"
            );
        }
    }
}

impl Agent {
    /// Answers an ADD. Dropping the future gives back what was taken.
    ///
    /// # Errors
    /// See [`AddError`]; nothing is left taken then.
    pub async fn add(&self, request: &AddRequest) -> Result<AddReply, AddError> {
        let start = Instant::now();
        let _under_way = self.metrics.under_way();
        let mut unanswered = Unanswered { agent: self, request, answered: false };
        let added = self.try_add(request, start + ADD_DEADLINE).await;
        unanswered.answered = true;
        let took = start.elapsed();
        let (pod, nic) = (format!("{}/{}", request.pod_namespace, request.pod_name), &request.if_name);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match &added {
            Ok(reply) => {
                self.metrics.allocation(Allocation::Done, took);
                let list =
                    |part: fn(&wire::Ip) -> &str| reply.ips.iter().map(part).collect::<Vec<_>>().join(",");
                let (address, pool) = (list(|ip| &ip.address), list(|ip| &ip.ip_pool));
                info!(pod, nic, address, pool, took_ms, "ADD done");
            }
            Err(error) => {
                self.metrics.allocation(error.outcome(), took);
                warn!(pod, nic, took_ms, "ADD failed: {error}");
            }
        }
        added
    }

    async fn try_add(&self, request: &AddRequest, deadline: Instant) -> Result<AddReply, AddError> {
        let AddRequest { container_id, if_name, pod_namespace, pod_name, pod_uid, .. } = request;
        agent::complete(&[
            ("containerID", container_id),
            ("ifName", if_name),
            ("podNamespace", pod_namespace),
            ("podName", pod_name),
        ])?;
        self.ready(deadline).await?;
        let name = PodName { namespace: pod_namespace.clone(), name: pod_name.clone() };
        let pod = self.pod(&name, pod_uid, deadline).await?;
        let why = match pod.life {
            Life::Alive => None,
            Life::Terminating(_) => Some("it is being deleted"),
            Life::Finished => Some("it has ended (its phase is Succeeded or Failed)"),
        };
        if let Some(why) = why {
            return Err(PodError::Ended { pod: name, why }.into());
        }
        let wishes = annotations::pod(&pod.annotations, &name.namespace, &self.settings.home);
        let own_routes = match &wishes.routes {
            None => &[],
            Some(Ok(routes)) => routes.as_slice(),
            Some(Err(bad)) => return Err(AddError::Annotation { pod: name, why: bad.to_string() }),
        };
        let holder = self.holder(&pod, pod_uid, if_name, container_id);
        // Of pools whose records cannot be read, nothing is known and nothing is given: the others serve the pod.
        let mine = self.pools.records(&Filter::Uid(holder.uid.clone()), deadline).await.found;
        let mine: Vec<Record> = mine
            .into_iter()
            .filter(|record| record.holder.nic == *if_name || record.holder.nic.is_empty())
            .collect();
        let selection = match self.choose(request, &pod, &wishes, &self.pools.candidates(), deadline).await {
            // Whoever has an address keeps it while it lives, though nobody would get it now.
            Err(AddError::Select(_)) if !mine.is_empty() => self.recorded(request, &holder.pod, &mine),
            selection => selection?,
        };
        let former = match self.fixed(&pod) {
            Some(fixed) => self.former(&fixed.name, &holder, deadline).await,
            None => BTreeMap::new(),
        };
        let families = selection.families.iter().map(|(family, choices)| {
            // What the NIC has already, for a sandbox that is made anew; or else what the pod of its name had.
            let same = mine.iter().find(|record| Family::of(record.address) == *family);
            let former = former.get(family);
            let first = same.map(|record| record.pool.clone()).or_else(|| {
                former
                    .map(|former| former.pool.clone())
                    .filter(|pool| choices.iter().any(|choice| choice.pool == *pool))
            });
            let claim = Claim { holder: holder.clone(), prefer: former.map(|former| former.address) };
            self.take(&name, *family, first, choices, claim, deadline)
        });
        let held: Vec<Held> = try_join_all(families).await?;
        let own_routes = self.own_routes(if_name, &holder, own_routes, &wishes.networks, &held);
        let reply = self.answer(if_name, &pod, &selection, &held, own_routes);
        // From here on nothing can fail: the addresses are the pod's.
        let taken = held.into_iter().map(Held::keep).collect::<Vec<_>>();
        self.sandboxes.arrived(container_id, if_name, Path::new(&request.net_namespace));
        if self.settings.node_network.is_some() {
            self.told.arrived(Path::new(&request.net_namespace), &pod.name);
        }
        self.endpoints.holds(&holder.pod, &pod, answer::endpoint_ip(if_name, &selection, &taken));
        self.leave_former(former, &taken);
        Ok(reply)
    }

    async fn choose(
        &self,
        request: &AddRequest,
        pod: &Pod,
        wishes: &Wishes,
        pools: &[Arc<Candidate>],
        deadline: Instant,
    ) -> Result<Selection, AddError> {
        let namespace = &pod.name.namespace;
        let unread = |why: String| AddError::Namespace { namespace: namespace.clone(), why };
        let read = timeout_at(deadline, self.namespaces.get(namespace)).await;
        let read = read.map_err(|_| unread("the API server does not answer".to_owned()))?;
        let read = read.map_err(|error| unread(error.to_string()))?;
        let read = read.ok_or_else(|| unread("there is none of that name".to_owned()))?;
        let facts = PodFacts {
            name: pod.name.clone(),
            labels: pod.labels.clone(),
            application: self.application(pod, pools).await,
        };
        let AddRequest {
            if_name,
            default_ipv4_pools,
            default_ipv6_pools,
            clean_gateway,
            match_master_subnet,
            ..
        } = request;
        let names = PoolNames { v4: default_ipv4_pools.clone(), v6: default_ipv6_pools.clone() };
        Ok(select::select(
            &Request {
                pod: &facts,
                wishes,
                nic: if_name,
                node: self.node.name(),
                node_labels: &self.node.labels(),
                namespace_labels: &read.labels,
                namespace_pools: &annotations::namespace(&read.annotations),
                cni: &CniDefaults { names, clean_gateway: *clean_gateway },
                families: &self.settings.families,
                home: &self.settings.home,
                cluster_network: self.settings.cluster_network.as_ref(),
                // The master of an SR-IOV function cannot be told yet: then no pool is known to be of its subnet.
                masters: match_master_subnet.then_some(&[]),
                subnets: self.settings.subnets,
                horizon: Horizon::Node,
            },
            pools,
        )?)
    }

    /// Returns the choice that is as the NIC's records say.
    fn recorded(&self, request: &AddRequest, pod: &PodName, mine: &[Record]) -> Selection {
        let mut families: BTreeMap<Family, Vec<Choice>> = BTreeMap::new();
        for Record { pool, address, .. } in mine {
            let choice = Choice { pool: pool.clone(), found: Found::Name, free: None };
            families.entry(Family::of(*address)).or_default().push(choice);
        }
        let known = self.endpoints.of(pod).into_iter().flat_map(|holds| holds.ips);
        let clean = known.filter(|ip| ip.interface == request.if_name).find_map(|ip| ip.clean_gateway);
        Selection {
            rule: Rule::Default,
            families,
            without: BTreeMap::new(),
            refused: Vec::new(),
            clean_gateway: clean.unwrap_or(request.clean_gateway),
        }
    }

    /// Returns the controller at the top of the pod's owners, when a pool asks for it.
    async fn application(&self, pod: &Pod, pools: &[Arc<Candidate>]) -> Option<Application> {
        let asks = pools.iter().any(|pool| matches!(pool.pods, PodRule::Application(_)));
        if asks { Some(self.owners.top(pod).await) } else { None }
    }

    /// Takes an address of one family: from the pool `first`, where the NIC has one already, or else from the first one of
    /// `choices` that gives one.
    async fn take(
        &self,
        pod: &PodName,
        family: Family,
        first: Option<String>,
        choices: &[Choice],
        claim: Claim,
        deadline: Instant,
    ) -> Result<Held, AddError> {
        let others = choices.iter().map(|choice| &choice.pool).filter(|pool| Some(*pool) != first.as_ref());
        let pools: Vec<&String> = first.iter().chain(others).collect();
        let (mut tried, mut resting) = (Vec::new(), Vec::new());
        for pool in &pools {
            match self.pools.take_rested(pool, claim.clone(), deadline).await {
                Ok(held) => return Ok(held),
                Err(error) => {
                    let refusal = match &error {
                        TakeError::Exhausted { refusal, .. } => Some(refusal),
                        _ => None,
                    };
                    if let Some(Refusal::Exhausted { resting_until: Some(until), .. }) = refusal {
                        resting.push((*until, *pool));
                    }
                    tried.push(error);
                }
            }
        }
        // No pool has an address that has rested: then from the one whose first is due the soonest.
        resting.sort();
        for (_, pool) in resting {
            match self.pools.take(pool, claim.clone(), deadline).await {
                Ok(held) => return Ok(held),
                Err(error) => tried.push(error),
            }
        }
        let family = match family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        Err(AddError::NoAddress { pod: pod.clone(), nic: claim.holder.nic, family, tried })
    }

    /// Finds what the pod that had this fixed name before held for the NIC. What cannot be read is not held against the pod:
    /// it gets another address then.
    async fn former(&self, name: &PodName, holder: &Holder, deadline: Instant) -> BTreeMap<Family, Former> {
        timeout_at(deadline, former::find(self, name, holder, deadline)).await.unwrap_or_default()
    }
}
