//! What this node cannot do for services, said where people look: a condition of the SpiderCoordinator, one for each such node.
//!
//! It is written against the version that was read, as the controller writes its own: neither loses what the other said, and no
//! more nodes speak than are needed.

use api::{SpiderCoordinator, service_replies, service_replies_of};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::{Duration, timeout};
use tracing::{info, warn};

use crate::coordinator::NAME;

/// How many nodes speak at once. The setting to change is the cluster's, and each agent and controller hears every word: a
/// thousand nodes with the same kernel would send each other a thousand times a megabyte.
const SPEAKERS: usize = 10;

/// Others write the object too.
const TRIES: u32 = 3;

/// How long the API server may take, with all tries: the node is looked after meanwhile by nobody.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a pod gets replies from services whose endpoint is on another node, however kube-proxy is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    /// It does: kube-proxy is asked.
    Asked,
    /// It does from services, but a `NodePort` of this node depends on kube-proxy, and this is why.
    NotFromNodePorts(String),
    /// kube-proxy cannot be asked, and this is why.
    Impossible(String),
    /// kube-proxy could not be asked now, and this is why; what was left by an earlier agent may ask it.
    Unsure(String),
}

impl Replies {
    /// What the condition says: its status, its reason, its message.
    fn words(&self, node: &str) -> Option<(&'static str, &'static str, String)> {
        let all = ("services", " with detectLocalMode ClusterCIDR, or let masqueradeAll be true");
        let (status, reason, (to, or), why) = match self {
            Self::Asked => return None,
            Self::NotFromNodePorts(why) => {
                let to = "NodePorts with externalTrafficPolicy Local of their own node";
                ("False", "NodePortsNotMarked", (to, " with detectLocalMode ClusterCIDR"), why)
            }
            Self::Impossible(why) => ("False", "KernelCannotMark", all, why),
            Self::Unsure(why) => ("Unknown", "NotMarked", all, why),
        };
        let message = format!(
            "node {node}: {why}. kube-proxy is not asked to masquerade what pods send to {to}, and what so reaches an endpoint on another node is never answered, unless kube-proxy does so by itself: in its configuration, let clusterCIDR be set and not contain the pods' addresses{or}"
        );
        Some((status, reason, message))
    }
}

/// Says it, and takes it back.
pub(super) struct Speaker {
    api: Api<SpiderCoordinator>,
    node: String,
    /// Whether nothing of ours is there, as far as we know.
    silent: bool,
    /// What the log says already.
    logged: Option<Replies>,
}

impl Speaker {
    pub(super) fn new(client: Client, node: &str) -> Self {
        Self { api: Api::all(client), node: node.to_owned(), silent: false, logged: None }
    }

    /// Has the object say this of the node; whether that was done. To be repeated: somebody may have taken it away.
    pub(super) async fn say(&mut self, replies: &Replies) -> bool {
        if *replies == Replies::Asked && self.silent {
            return true;
        }
        // Of many nodes only a few find room for their condition.
        if self.logged.as_ref() != Some(replies)
            && let Some((_, _, message)) = replies.words(&self.node)
        {
            warn!("{message}");
        }
        self.logged = Some(replies.clone());
        let said = timeout(PATIENCE, self.write(replies)).await;
        let why = match said {
            Ok(Ok(())) => {
                self.silent = *replies == Replies::Asked;
                return true;
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                format!("{status}: has the agent the rights of rbac.yaml?")
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        warn!(
            condition = service_replies(&self.node),
            "the SpiderCoordinator's condition not written, it is tried again: {why}"
        );
        false
    }

    async fn write(&self, replies: &Replies) -> Result<(), kube::Error> {
        let mut tried = 1;
        loop {
            let Some(object) = self.api.get_opt(NAME).await? else { return Ok(()) };
            let (version, generation) = (object.resource_version(), object.metadata.generation);
            // Its first words are the controller's.
            let Some(status) = object.status else { return Ok(()) };
            let words = replies.words(&self.node);
            let Some(conditions) =
                changed(status.conditions, &self.node, words, generation, Timestamp::now())
            else {
                return Ok(());
            };
            let patch = json!({
                "metadata": {"resourceVersion": version},
                "status": {"conditions": conditions},
            });
            match self.api.patch_status(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => {
                    info!(condition = service_replies(&self.node), ?replies, "said on the SpiderCoordinator");
                    return Ok(());
                }
                Err(kube::Error::Api(status)) if status.code == 409 && tried < TRIES => tried += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The conditions with what the node says, or without it; nothing when they are so already, or enough others speak.
fn changed(
    mut conditions: Vec<Condition>,
    node: &str,
    words: Option<(&str, &str, String)>,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let kind = service_replies(node);
    let at = conditions.iter().position(|condition| condition.type_ == kind);
    let Some((status, reason, message)) = words else {
        conditions.remove(at?);
        return Some(conditions);
    };
    let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut condition = Condition {
        type_: kind,
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: Time(seconds),
    };
    if let Some(there) = at.and_then(|at| conditions.get_mut(at)) {
        let same = (&there.status, &there.reason, &there.message)
            == (&condition.status, &condition.reason, &condition.message);
        if same {
            return None;
        }
        if there.status == condition.status {
            condition.last_transition_time = there.last_transition_time.clone();
        }
        *there = condition;
    } else {
        let speakers = conditions.iter().filter(|there| service_replies_of(&there.type_).is_some());
        if speakers.count() >= SPEAKERS {
            return None;
        }
        conditions.push(condition);
    }
    Some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn says(conditions: Vec<Condition>, node: &str, replies: &Replies, at: i64) -> Option<Vec<Condition>> {
        changed(conditions, node, replies.words(node), Some(1), now(at))
    }

    #[test]
    fn a_node_says_it_once_and_takes_back_only_its_own() {
        let (cannot, asked) = (Replies::Impossible("no filter".to_owned()), Replies::Asked);
        let a = says(Vec::new(), "a", &cannot, 7).unwrap();
        assert_eq!((a[0].type_.as_str(), a[0].status.as_str()), ("a/ServiceReplies", "False"));
        assert!(a[0].message.starts_with("node a: no filter.") && a[0].message.contains("clusterCIDR"));
        assert_eq!(says(a.clone(), "a", &cannot, 9), None);
        let both = says(a.clone(), "b", &cannot, 8).unwrap();
        assert_eq!(says(both.clone(), "c", &asked, 9), None);
        assert_eq!(says(both, "b", &asked, 9).unwrap(), a);
        let unsure = says(a, "a", &Replies::Unsure("refused".to_owned()), 9).unwrap();
        assert_eq!((unsure.len(), unsure[0].status.as_str()), (1, "Unknown"));
        assert_eq!(unsure[0].last_transition_time, Time(now(9)));
    }

    #[test]
    fn of_a_thousand_nodes_a_few_speak() {
        let cannot = Replies::Impossible("no filter".to_owned());
        let mut conditions = Vec::new();
        for node in 0..1000 {
            if let Some(more) = says(conditions.clone(), &format!("node-{node}"), &cannot, 7) {
                conditions = more;
            }
        }
        assert_eq!(conditions.len(), SPEAKERS);
        // One that speaks still may say something else, and who falls silent makes room.
        let other = Replies::Impossible("another reason".to_owned());
        assert!(says(conditions.clone(), "node-3", &other, 8).is_some());
        let fewer = says(conditions, "node-3", &Replies::Asked, 8).unwrap();
        assert_eq!(says(fewer, "node-999", &cannot, 9).unwrap().len(), SPEAKERS);
    }
}
