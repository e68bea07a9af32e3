//! Ten agents, five clients each: how many allocations there are in a second, on a pool for each node and on one for all.

use std::time::Instant;

use api::{SpiderEndpoint, SpiderIPPool};
use futures::{StreamExt, stream};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::counts::{difference, requests};
use crate::phase::{Verb, clear, clients, phase, terminate};
use crate::stage::{ALONE, Stage, create, endpoint};
use crate::{AGENTS, EACH, Size, number, row};

pub(crate) async fn measure(stage: &Stage, size: &Size) {
    println!("\n== {AGENTS} agents, {EACH} clients each, beside the API server alone");
    let mut agents = Vec::new();
    for at in 0..AGENTS {
        agents.push(Agent::start(stage, at).await);
    }
    let mut pools = Vec::new();
    for at in 0..AGENTS {
        pools.push(stage.node_pool("each", at).await);
    }
    let count = AGENTS * EACH * size.rounds;
    let alone = ceiling(stage, &pools, count).await;
    let pool = |at: usize| pools[at].clone();
    both(stage, &agents, &pools, pool, size.rounds, Kind::Node, alone).await;
    let shared = [stage.shared_pool("all").await];
    let pool = |_| shared[0].clone();
    both(stage, &agents, &shared, pool, size.rounds, Kind::Shared, alone).await;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Shared,
}

/// What upstream's agent 1.2.1 did of the same on the machine where it was measured, and of creates of `SpiderEndpoints` the API
/// server alone: allocations and creates a second (docs/performance.md).
const UPSTREAM: [(Kind, f64); 2] = [(Kind::Node, 108.0), (Kind::Shared, 30.0)];
const UPSTREAM_CREATES: f64 = 920.0;

/// How many times upstream's rate this is, when both are taken in proportion to what the API server made alone.
fn beside_upstream(kind: Kind, rate: f64, alone: f64) -> f64 {
    let upstream = UPSTREAM.iter().find(|(of, _)| *of == kind).map_or(f64::NAN, |(_, rate)| *rate);
    (rate / alone) / (upstream / UPSTREAM_CREATES)
}

/// What the API server does by itself of what an allocation consists of; returns how many creates a second.
async fn ceiling(stage: &Stage, pools: &[String], count: usize) -> f64 {
    let endpoints: Api<SpiderEndpoint> = Api::namespaced(stage.client.clone(), ALONE);
    let begun = Instant::now();
    let creates = (0..count).map(|_| create(&endpoints, endpoint(&testbed::unique("alone"))));
    stream::iter(creates).buffer_unordered(AGENTS * EACH).collect::<Vec<_>>().await;
    let creates = number(count) / begun.elapsed().as_secs_f64();
    let at_once = AGENTS * EACH;
    row("SpiderEndpoint creates alone", &format!("{creates:.0}/s"), &format!("{at_once} at once"));
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    let begun = Instant::now();
    let each = count / pools.len();
    let writers = pools.iter().map(async |pool| {
        for at in 0..each {
            let status = json!({"status": {"allocatedIPCount": 0, "totalIPCount": 2046 + at % 2}});
            api.patch_status(pool, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    let rate = number(each * pools.len()) / begun.elapsed().as_secs_f64();
    let note = format!("{} writers, each of its own pool", pools.len());
    row("pool status writes alone", &format!("{rate:.0}/s"), &note);
    creates
}

async fn both(
    stage: &Stage,
    agents: &[Agent],
    pools: &[String],
    pool: impl Fn(usize) -> String,
    rounds: usize,
    kind: Kind,
    alone: f64,
) {
    let (name, what, reach) = match kind {
        Kind::Node => ("own", "a pool for each node", 5),
        Kind::Shared => ("shared", "one pool for all", 10),
    };
    let clients = clients(stage, agents, EACH, rounds, name, pool).await;
    let before = requests(stage).await;
    let begun = Instant::now();
    let mut adds = phase(&clients, Verb::Add).await;
    adds.assert_distinct();
    let count = adds.times.len();
    stage.endpoints(count).await;
    let followed = number(count) / begun.elapsed().as_secs_f64();
    adds.print(&format!("ADD, {what}"), "");
    let times = beside_upstream(kind, adds.rate(), alone);
    let note = format!("in proportion to the API server's creates alone; reach {reach} x");
    row("  beside upstream's agent 1.2.1", &format!("{times:.1} x"), &note);
    row("  until the last SpiderEndpoint is written, too", &format!("{followed:.0}/s"), "");
    let mut held = 0;
    for pool in pools {
        held += stage.records(pool).await;
    }
    assert_eq!(held, count, "records after the ADDs");
    let after = requests(stage).await;
    writes(&difference(&before, &after), count, kind);
    terminate(stage, &clients).await;
    let before = requests(stage).await;
    phase(&clients, Verb::Del).await.print(&format!("DEL, {what}"), "");
    let after = requests(stage).await;
    writes(&difference(&before, &after), count, kind);
    clear(stage, &clients, pools).await;
    row("  releases lost", "0", &format!("of {count}"));
    // The control plane's own work on what was deleted.
    sleep(std::time::Duration::from_secs(2)).await;
}

/// Prints how requests shared writes of pools.
fn writes(counted: &std::collections::BTreeMap<String, u64>, count: usize, kind: Kind) {
    let of = |name: &str| counted.get(name).copied().unwrap_or(0);
    let (done, refused) = (of("PUT spiderippools 200"), of("PUT spiderippools 409"));
    let each = number(count) / number(usize::try_from(done).unwrap());
    row(
        "  writes of pools",
        &done.to_string(),
        &format!("{each:.1} requests shared one; {refused} more were refused (409)"),
    );
    assert!(done <= u64::try_from(count).unwrap(), "{done} writes for {count} requests: {counted:?}");
    if kind == Kind::Node {
        assert_eq!(refused, 0, "a pool of one node has one writer: {counted:?}");
    }
}
