//! What is known of one record of this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::reclaim as read;
use jiff::Timestamp;
use model::reclaim::{Binding, Endpoint, Facts, Fixed, Life, NodeSight, Sight, Verdict, Zombies, verdict};
use model::{Holder, PodName};

use crate::agent::Agent;
use crate::desk::Record;
use crate::pods::{self, Pod};
use crate::settings::Keep;

/// The pod of a record: its own name, which is not the record's for one that runs a virtual machine, and what is known.
#[derive(Clone, Debug)]
pub(super) struct Found {
    name: PodName,
    sight: Sight,
}

/// This node's pods as the watch shows them.
pub(super) struct Pods {
    by_name: BTreeMap<PodName, Arc<Pod>>,
    /// By every UID that a record may have of one.
    by_uid: BTreeMap<String, Arc<Pod>>,
}

impl Pods {
    pub(super) fn of(pods: &[Arc<Pod>]) -> Self {
        let uids = |pod: &Arc<Pod>| {
            [pod.uid.clone(), pod.sandbox_uid().to_owned()].map(|uid| (uid, Arc::clone(pod)))
        };
        Self {
            by_name: pods.iter().map(|pod| (pod.name.clone(), Arc::clone(pod))).collect(),
            by_uid: pods.iter().flat_map(uids).collect(),
        }
    }

    /// Returns the pod that a record is of, or else the one that has its name now.
    pub(super) fn sight(&self, holder: &Holder) -> Found {
        match self.by_uid.get(&holder.uid).or_else(|| self.by_name.get(&holder.pod)) {
            Some(pod) => Found { name: pod.name.clone(), sight: sight(pod) },
            // One of another node may have it: that is asked before anything is freed.
            None => Found { name: holder.pod.clone(), sight: Sight::Absent },
        }
    }
}

/// Whether the pod of a record is alive.
pub(super) fn lives(holder: &Holder, found: &Found) -> bool {
    matches!(&found.sight, Sight::Present(pod) if pod.life == Life::Alive && pod.uids.contains(&holder.uid))
}

fn sight(pod: &Pod) -> Sight {
    let life = match pod.life {
        pods::Life::Alive => Life::Alive,
        pods::Life::Terminating(at) => {
            Life::Terminating { overdue: Duration::try_from(Timestamp::now().duration_since(at)).ok() }
        }
        pods::Life::Finished => Life::Finished,
    };
    Sight::Present(model::reclaim::Pod {
        uids: vec![pod.uid.clone(), pod.sandbox_uid().to_owned()],
        node: pod.node.clone(),
        life,
    })
}

/// Judges a record. What is free by the watch is judged once more by what the API server itself says.
pub(super) async fn judge(
    agent: &Agent,
    record: &Record,
    watched: Found,
    ended: Duration,
) -> Result<Verdict, kube::Error> {
    let holder = &record.holder;
    let Found { name, sight: watched } = watched;
    let mut facts = Facts {
        holder,
        // A record names its node in pools of several nodes only.
        binding: if holder.node.is_empty() { Binding::Node(agent.node.name()) } else { Binding::Shared },
        pod: &watched,
        ended,
        sandbox: agent.sandboxes.sight(&holder.container, &holder.nic),
        // We run on it.
        node: NodeSight::Ready,
        fixed: Fixed::No,
        endpoint: Endpoint::Silent,
        zombies: Zombies::default(),
    };
    // As if the address were of no name: what stays now stays whatever its owner is.
    let early = verdict(&facts);
    if !early.frees() {
        return Ok(early);
    }
    facts.fixed = fixed(agent, &holder.pod).await?;
    let asked = match agent.pods.read(&name).await? {
        Some(pod) => sight(&pod),
        None => Sight::Absent,
    };
    facts.pod = &asked;
    if facts.fixed == Fixed::Valid
        && let Sight::Present(there) = &asked
        && let Some(status) = agent.endpoints.read(&holder.pod).await?
    {
        facts.endpoint = read::endpoint(&status, there, record.address);
    }
    Ok(verdict(&facts))
}

/// Asks whether the address belongs to a name that outlives its pods, as far as the settings let it.
async fn fixed(agent: &Agent, name: &PodName) -> Result<Fixed, kube::Error> {
    let mut found = Fixed::No;
    if agent.settings.stateful_set == Keep::Fixed {
        found = read::fixed_by_set(&agent.client, name).await?;
    }
    if found != Fixed::Valid && agent.settings.kubevirt == Keep::Fixed {
        let machine = read::fixed_by_machine(&agent.client, name).await?;
        found = if machine == Fixed::Valid { machine } else { found };
    }
    Ok(found)
}
