//! What becomes of a record, as agents and controller judge it.

use std::collections::BTreeMap;
use std::time::Duration;

use api::{SpiderEndpoint, reclaim as read};
use jiff::Timestamp;
use k8s_openapi::api::core::v1;
use kube::{Api, Client, ResourceExt};
use model::PodName;
use model::reclaim::{
    Endpoint, Facts, Fixed, NodeSight, Pod, Sandbox, Sight, Verdict, Why, Zombies, verdict,
};

use super::Record;
use crate::cluster::all;
use crate::failure::{Failure, with_causes};

/// What the cluster says of pods and nodes, read whole and after the records.
pub(crate) struct Cluster {
    client: Client,
    pods: BTreeMap<PodName, Pod>,
    /// Which pod has a UID: one that runs a virtual machine has another name than its record.
    by_uid: BTreeMap<String, PodName>,
    nodes: BTreeMap<String, NodeSight>,
    /// What was asked of names before.
    fixed: BTreeMap<PodName, Fixed>,
}

/// A record and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) record: Record,
    pub(crate) verdict: Verdict,
}

impl Cluster {
    /// Reads pods and nodes. Call it after the records were read.
    pub(crate) async fn read(client: &Client) -> Result<Self, Failure> {
        let (pods, nodes) =
            tokio::try_join!(all::<v1::Pod>(client, "Pods"), all::<v1::Node>(client, "Nodes"))?;
        let now = Timestamp::now();
        let mut read = Self {
            client: client.clone(),
            pods: BTreeMap::new(),
            by_uid: BTreeMap::new(),
            nodes: BTreeMap::new(),
            fixed: BTreeMap::new(),
        };
        for pod in pods.unwrap_or_default() {
            let name = PodName { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any() };
            let pod = read::pod(&pod, now);
            read.by_uid.extend(pod.uids.iter().map(|uid| (uid.clone(), name.clone())));
            read.pods.insert(name, pod);
        }
        for node in nodes.unwrap_or_default() {
            read.nodes.insert(node.name_any(), read::node(&node));
        }
        Ok(read)
    }

    /// Returns the pod of a record, or else the one that has its name.
    pub(crate) fn pod(&self, record: &Record) -> Option<&Pod> {
        let name = self.by_uid.get(&record.holder.uid).unwrap_or(&record.holder.pod);
        self.pods.get(name)
    }

    /// Judges a record as if it had been without its pod for `ended`.
    pub(crate) async fn judge(&mut self, record: &Record, ended: Duration) -> Result<Verdict, Failure> {
        let pod = self.pod(record).cloned().map_or(Sight::Absent, Sight::Present);
        let node = match record.node() {
            "" => NodeSight::Unknown,
            node => self.nodes.get(node).copied().unwrap_or(NodeSight::Absent),
        };
        let mut facts = Facts {
            holder: &record.holder,
            binding: record.binding(),
            pod: &pod,
            ended,
            sandbox: Sandbox::Unknown,
            node,
            fixed: Fixed::No,
            endpoint: Endpoint::Silent,
            zombies: Zombies::default(),
        };
        let early = verdict(&facts);
        if matches!(early, Verdict::Keep(_)) && !matches!(early.why(), Why::AwaitingDel(_)) {
            return Ok(early);
        }
        facts.fixed = self.fixed(&record.holder.pod).await?;
        if facts.fixed == Fixed::Valid
            && let Sight::Present(there) = &pod
        {
            facts.endpoint = self.endpoint(record, there).await?;
        }
        Ok(verdict(&facts))
    }

    async fn fixed(&mut self, name: &PodName) -> Result<Fixed, Failure> {
        if let Some(known) = self.fixed.get(name) {
            return Ok(*known);
        }
        let asked = read::fixed(&self.client, name).await;
        let fixed = asked.map_err(|error| unread(&format!("the owner of pod {name}"), &error))?;
        self.fixed.insert(name.clone(), fixed);
        Ok(fixed)
    }

    async fn endpoint(&self, record: &Record, there: &Pod) -> Result<Endpoint, Failure> {
        let name = &record.holder.pod;
        let api: Api<SpiderEndpoint> = Api::namespaced(self.client.clone(), &name.namespace);
        let found = api.get_opt(&name.name).await;
        let found = found.map_err(|error| unread(&format!("SpiderEndpoint {name}"), &error))?;
        let status = found.and_then(|endpoint| endpoint.status);
        Ok(status.map_or(Endpoint::Silent, |status| read::endpoint(&status, there, record.address)))
    }
}

fn unread(what: &str, error: &kube::Error) -> Failure {
    Failure::Failed(format!("cannot read {what} at the API server: {}", with_causes(error)))
}
