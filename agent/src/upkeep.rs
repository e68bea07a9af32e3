//! Upkeep: the network of the node and of its running pods, kept as the coordinator made it while the node changes.
//!
//! The coordinator acts when a pod comes. Afterwards the node may get further addresses or lose some, somebody may tidy its rules
//! away, and the cluster may get another range of services. This hears of it from the kernel and from the API server, and looks at
//! everything once more every few minutes.

mod cluster;
mod node;
mod replies;
mod told;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netlink::{Listener, News};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::agent::Agent;
use crate::metrics::{Look, Masquerade};
use crate::settings::NodeNetwork;
use cluster::Said;
use coordinator::services::Marked;
use node::{Node, Round};
use replies::{Replies, Speaker};

pub use told::Told;

/// How often everything is looked at, though nothing was heard: a millisecond or two for each pod.
const PERIOD: Duration = Duration::from_mins(5);

/// The same after something failed.
const RETRY: Duration = Duration::from_mins(1);

/// How often it is refused to mark packets before people are told: the second time after [`RETRY`].
const REFUSALS: u32 = 2;

/// How long changes gather: an interface comes with several addresses, and IPv6 takes a second to find one usable.
const GATHER: Duration = Duration::from_secs(1);

/// How often the listening thread looks whether anybody still listens to it.
const ATTENTION: Duration = Duration::from_mins(1);

/// How long the first look waits for what the cluster says: an API server that is away is no reason to do nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The pods, if the node's addresses are others than before.
    Addresses,
    /// The pods, whatever the addresses are.
    Pods,
    /// What is the node's own: where services are.
    Services,
    /// All of it.
    Everything,
}

/// Looks after the network until it is dropped; does nothing where the agent may not.
pub async fn run(agent: Arc<Agent>, network: NodeNetwork) {
    let (say, heard) = mpsc::channel(1);
    let opened = Node::open(&network.namespace).and_then(|(node, listener)| {
        let thread = std::thread::Builder::new().name("listener".to_owned());
        // It ends a while after its receiver.
        match thread.spawn(move || listen(listener, &say)) {
            Ok(_) => Ok(Arc::new(node)),
            Err(error) => Err(format!("cannot start a thread that listens to the kernel: {error}")),
        }
    });
    let mut speaker = Speaker::new(agent.client.clone(), agent.node.name());
    let node = match opened {
        Ok(node) => node,
        Err(why) => {
            warn!(
                namespace = %network.namespace.display(),
                "the node's network is not looked after: {why}; running pods will not follow a change of the node's addresses"
            );
            let replies = Replies::Unsure(why);
            loop {
                let wait = if speaker.say(&replies).await { PERIOD } else { RETRY };
                sleep(wait).await;
            }
        }
    };
    info!(namespace = %network.namespace.display(), pods = %network.pods.display(), "looking after the node's network");
    let (say, said) = watch::channel(Said::default());
    let follow = cluster::follow(agent.client.clone(), say);
    let upkeep = Upkeep { agent, network, node, said, speaker, addresses: None, refusals: 0, lacking: None };
    tokio::join!(follow, upkeep.run(heard));
}

struct Upkeep {
    agent: Arc<Agent>,
    network: NodeNetwork,
    node: Arc<Node>,
    said: watch::Receiver<Said>,
    speaker: Speaker,
    /// The node's addresses when its pods were last looked at.
    addresses: Option<Vec<IpAddr>>,
    /// How often in a row the kernel refused to mark packets.
    refusals: u32,
    /// The interfaces that could not be had when they were last tried, and why; nothing when nobody could try.
    lacking: Option<BTreeMap<String, String>>,
}

impl Upkeep {
    async fn run(mut self, mut heard: mpsc::Receiver<News>) {
        // Before anything that may wait: pods that come after a reboot stand on them.
        self.interfaces().await;
        if timeout(PATIENCE, self.said.wait_for(|said| said.known)).await.is_err() {
            debug!("nothing is known of the SpiderCoordinator yet");
        }
        let mut due = Due::Everything;
        let mut next = Instant::now();
        loop {
            let outcome = self.look(due).await;
            if due == Due::Everything || outcome == Outcome::Failed {
                next = Instant::now() + if outcome == Outcome::Failed { RETRY } else { PERIOD };
            }
            due = tokio::select! {
                () = sleep_until(next) => {
                    if self.lacking.as_ref().is_none_or(|lacking| !lacking.is_empty()) {
                        self.interfaces().await;
                    }
                    Due::Everything
                }
                news = heard.recv() => {
                    let Some(mut news) = news else { return };
                    sleep(GATHER).await;
                    while let Ok(more) = heard.try_recv() {
                        news = news.max(more);
                    }
                    match news {
                        News::Nothing | News::Addresses => Due::Addresses,
                        News::Anything => Due::Pods,
                    }
                }
                changed = self.said.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    Due::Services
                }
            };
        }
    }

    async fn look(&mut self, due: Due) -> Outcome {
        let said = self.said.borrow_and_update().clone();
        let mut outcome = Outcome::Fine;
        if due != Due::Services {
            outcome = outcome.and(self.pods(due, said.table).await);
        }
        if matches!(due, Due::Services | Due::Everything)
            && let Some(services) = said.services
        {
            outcome = outcome.and(self.services(services).await);
        }
        outcome
    }

    /// Has the interfaces that the ifacer was once asked for. All of them once; what an administrator takes away later stays away
    /// until somebody asks for it again. Those that cannot be had are tried again, since a NIC may be plugged in late.
    async fn interfaces(&mut self) {
        let (node, places) = (Arc::clone(&self.node), self.network.interfaces.clone());
        let outcomes = match blocking(move || node.interfaces(&places)).await {
            Ok(outcomes) => outcomes,
            Err(why) => {
                warn!("the interfaces that pods' networks stand on are not looked after: {why}");
                return;
            }
        };
        let before = self.lacking.take().unwrap_or_default();
        let mut lacking = BTreeMap::new();
        for ifacer::assert::Outcome { device, result } in outcomes {
            match result {
                Ok(done) if done.is_empty() => self.agent.metrics.node.interface(Look::Unchanged),
                Ok(done) => {
                    self.agent.metrics.node.interface(Look::Changed);
                    info!(device, changes = done.join("; "), "interface is there again");
                }
                Err(error) => {
                    self.agent.metrics.node.interface(Look::Failed);
                    let why = error.to_string();
                    if before.get(&device) != Some(&why) {
                        warn!(device, "interface cannot be had again: {why}");
                    }
                    lacking.insert(device, why);
                }
            }
        }
        self.lacking = Some(lacking);
    }

    /// Brings the pods up to date.
    async fn pods(&mut self, due: Due, table: u32) -> Outcome {
        let node = Arc::clone(&self.node);
        let addresses = match blocking(move || node.addresses()).await {
            Ok(addresses) => addresses,
            Err(why) => {
                warn!("the node's addresses are not known, and its pods are not brought up to date: {why}");
                return Outcome::Failed;
            }
        };
        if due == Due::Addresses && self.addresses.as_ref() == Some(&addresses) {
            return Outcome::Fine;
        }
        // What was begun is not finished when the agent stops.
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let round = Round {
            node: Arc::clone(&self.node),
            folder: self.network.pods.clone(),
            told: self.agent.told.all(),
            table,
            metrics: self.agent.metrics.node.clone(),
            stop,
        };
        match blocking(move || Ok(round.walk())).await {
            Ok(0) => {
                self.addresses = Some(addresses);
                Outcome::Fine
            }
            Ok(_) => Outcome::Failed,
            Err(why) => {
                warn!("pods are not brought up to date: {why}");
                Outcome::Failed
            }
        }
    }

    /// Has what pods send to services masqueraded, or says that it is not.
    async fn services(&mut self, services: Vec<netlink::Block>) -> Outcome {
        let metrics = &self.agent.metrics.node;
        let blocks: Vec<String> = services.iter().map(ToString::to_string).collect();
        let node = Arc::clone(&self.node);
        let (outcome, replies) = match blocking(move || node.masquerade(&services)).await {
            Ok(Marked::Yes) => {
                metrics.masquerade(Masquerade::Done);
                debug!(
                    services = blocks.join(","),
                    "kube-proxy is asked to masquerade what pods send to services"
                );
                self.refusals = 0;
                (Outcome::Fine, Replies::Asked)
            }
            Ok(Marked::BlocksOnly) => {
                metrics.masquerade(Masquerade::Done);
                self.refusals = 0;
                (Outcome::Fine, Replies::NotFromNodePorts(NO_FIB.to_owned()))
            }
            Ok(Marked::Impossible) => {
                metrics.masquerade(Masquerade::Impossible);
                self.refusals = 0;
                (Outcome::Fine, Replies::Impossible(NO_FILTER.to_owned()))
            }
            Err(why) => {
                metrics.masquerade(Masquerade::Failed);
                warn!(
                    services = blocks.join(","),
                    "kube-proxy cannot be asked to masquerade what pods send to services: {why}"
                );
                self.refusals = self.refusals.saturating_add(1);
                if self.refusals < REFUSALS {
                    return Outcome::Failed;
                }
                (Outcome::Failed, Replies::Unsure(why))
            }
        };
        if self.speaker.say(&replies).await { outcome } else { Outcome::Failed }
    }
}

/// Why packets to the node itself cannot be told from others, and what to do there.
const NO_FIB: &str = "its kernel's packet filter cannot tell the node's own addresses from others (load the module nft_fib_inet, or xt_addrtype)";

/// Why packets cannot be marked where the kernel has nothing to do it with, and what to do there.
const NO_FILTER: &str = "its kernel has neither nftables nor iptables' mangle (load the module nf_tables, or iptable_mangle, xt_devgroup and xt_mark)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fine,
    Failed,
}

impl Outcome {
    fn and(self, other: Self) -> Self {
        if self == Self::Fine { other } else { self }
    }
}

/// Passes on what the kernel tells, for as long as somebody receives it.
fn listen(mut listener: Listener, say: &mpsc::Sender<News>) {
    while !say.is_closed() {
        let news = listener.wait(ATTENTION).unwrap_or_else(|error| {
            warn!("{error}: the pods are looked at in any case");
            // It may well fail again at once.
            std::thread::sleep(RETRY);
            News::Anything
        });
        if news != News::Nothing && say.blocking_send(news).is_err() {
            return;
        }
    }
}

/// Runs what waits for the kernel where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, netlink::Error> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
