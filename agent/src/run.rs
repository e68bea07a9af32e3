//! Puts the parts together, and takes them apart in an order that loses nothing.

use std::sync::Arc;
use std::time::Duration;

use api::EndpointIp;
use kube::Client;
use model::Family;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::agent::{Agent, DEADLINE};
use crate::desk::Filter;
use crate::endpoints::{self, Endpoints};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::node::Node;
use crate::owners::Owners;
use crate::pods::Pods;
use crate::pools::{Pools, Rules};
use crate::reclaim::Reclaim;
use crate::sandboxes::Sandboxes;
use crate::settings::Settings;
use crate::socket::Socket;
use crate::upkeep::{self, Told};
use crate::{http, queue, routes, server};

/// How long what goes on after the last answer gets: releases that nobody waits for, and the end of each desk.
const LAST: Duration = Duration::from_secs(4);

/// How often the number of pods is shown.
const CENSUS: Duration = Duration::from_secs(10);

/// Runs the agent until `shutdown`; then finishes the requests under way, and writes what they left to be written.
///
/// # Errors
/// What keeps it from starting: the socket, or the address to listen on.
pub async fn run(settings: Settings, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let health = Health::new();
    let tcp = http::bind(settings.listen).await?;
    let (socket, unix) = Socket::bind(&settings.socket).await?;
    info!(socket = %settings.socket.display(), node = settings.node, "serving plugins");

    // Watches end with the process; the desks and the endpoints after the last request.
    let (stop, watches, work) = (CancellationToken::new(), TaskTracker::new(), TaskTracker::new());
    let (pods, follow_pods) = Pods::follow(client.clone(), &settings.node);
    let (node, follow_node) = Node::follow(client.clone(), &settings.node);
    let (namespaces, follow_namespaces) = Namespaces::follow(client.clone());
    watches.spawn(until(stop.clone(), follow_pods));
    watches.spawn(until(stop.clone(), follow_node));
    watches.spawn(until(stop.clone(), follow_namespaces));
    let rules = Rules { rest: settings.rest, cap: settings.max_allocated };
    let pools = Pools::start(client.clone(), &settings.node, rules, stop.clone(), &work);
    pools.measure(metrics.clone());
    let owners = Owners::new(client.clone());
    let rush = {
        let (metrics, pools) = (metrics.clone(), pools.clone());
        Box::new(move || metrics.is_busy() || pools.others_write())
    };
    let (endpoints, write_endpoints) =
        Endpoints::start(client.clone(), &settings.node, owners.clone(), metrics.clone(), rush, stop.clone());
    let writing = tokio::spawn(write_endpoints);
    let agent = Arc::new(Agent {
        settings,
        client,
        pods,
        namespaces,
        node,
        pools,
        sandboxes: Sandboxes::default(),
        owners,
        endpoints,
        metrics,
        health,
        after: TaskTracker::new(),
        reclaim: Arc::new(Notify::new()),
        told: Told::default(),
    });

    let served = TaskTracker::new();
    served.spawn(server::serve(unix, routes::router(Arc::clone(&agent)), shutdown.clone()));
    let probes = http::router(agent.health.clone(), Arc::new(registry));
    served.spawn(server::serve(tcp, probes, shutdown.clone()));
    watches.spawn(until(stop.clone(), read_all(Arc::clone(&agent))));
    watches.spawn(until(stop.clone(), census(Arc::clone(&agent))));
    served.spawn(queue::drain(Arc::clone(&agent), shutdown.clone()));
    if let Some(network) = agent.settings.node_network.clone() {
        watches.spawn(until(stop.clone(), upkeep::run(Arc::clone(&agent), network)));
    }
    let reclaim = Reclaim::new(Arc::clone(&agent), Arc::clone(&agent.reclaim));
    served.spawn(reclaim.run(shutdown.clone()));

    shutdown.cancelled().await;
    info!("stopping: no new request is taken");
    served.close();
    served.wait().await;
    drop(socket);
    agent.after.close();
    let _ = tokio::time::timeout(LAST, agent.after.wait()).await;
    stop.cancel();
    work.close();
    watches.close();
    let last = async {
        work.wait().await;
        // A task that panicked has said so itself.
        let _ = writing.await;
    };
    if tokio::time::timeout(LAST.max(endpoints::LAST), last).await.is_err() {
        warn!("stopped although some of what was left to write is not written; the next start makes it good");
    }
    info!("stopped");
    Ok(())
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Waits for the first listings, makes the endpoints as the pools say, and lets plugins in.
async fn read_all(agent: Arc<Agent>) {
    let start = Instant::now();
    agent.health.waiting_for("this node's pods");
    agent.pods.ready().await;
    agent.health.waiting_for("its Node");
    agent.node.ready().await;
    agent.health.waiting_for("namespaces");
    agent.namespaces.ready().await;
    agent.health.waiting_for("pools and reserved addresses");
    agent.pools.ready().await;
    agent.health.ready();
    let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (pods, pools) = (agent.pods.all().len(), agent.pools.candidates().len());
    info!(pods, pools, took_ms, "ready");
    remember(&agent).await;
}

/// Makes the endpoints of this node's pods out of the pools' records: a former process may have ended before it wrote them.
async fn remember(agent: &Agent) {
    let filter = Filter::Node(agent.node.name().to_owned());
    let records = agent.pools.records(&filter, Instant::now() + DEADLINE).await;
    let candidates = agent.pools.candidates();
    let pods = agent.pods.all();
    for record in records.found {
        let holder = &record.holder;
        let Some(pod) = pods.iter().find(|pod| pod.is_alive() && pod.is(&holder.uid)) else { continue };
        let subnet = candidates.iter().find(|pool| pool.name == record.pool).and_then(|pool| pool.subnet);
        let (Some(subnet), false) = (subnet, holder.nic.is_empty()) else { continue };
        let address = Some(format!("{}/{}", record.address, subnet.prefix_len()));
        let pool = Some(record.pool.clone());
        agent.endpoints.recalls(&holder.pod, pod, &holder.nic, |ip: &mut EndpointIp| {
            match Family::of(record.address) {
                Family::V4 => (ip.ipv4, ip.ipv4_pool) = (address, pool),
                Family::V6 => (ip.ipv6, ip.ipv6_pool) = (address, pool),
            }
        });
    }
}

async fn census(agent: Arc<Agent>) {
    let mut ticks = tokio::time::interval(CENSUS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        agent.metrics.pods(agent.pods.all().len());
    }
}
