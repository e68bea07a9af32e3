//! Pods come and go on ten agents while the agents and their API server are killed (-9): each address is one pod's at a
//! time, what a pod was answered is on record, and nothing is left at the end.
//!
//! `SPIDERPOOL_SOAK` says how many ADDs and DELs there are to be; `make soak` says 100,000 and shows how it goes on.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says what it missed and ends"
)]

#[path = "soak/agents.rs"]
mod agents;
#[path = "soak/chaos.rs"]
mod chaos;
#[path = "soak/clients.rs"]
mod clients;
#[path = "soak/oracle.rs"]
mod oracle;
#[path = "soak/tally.rs"]
mod tally;
#[path = "soak/world.rs"]
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use agents::Agent;
use clients::Client;
use oracle::Oracle;
use tally::Tally;
use world::{AGENTS, World, insist, node};

/// How many ADDs and DELs there are unless more are asked for: some seconds' worth.
const FEW: u64 = 400;
/// After how many of them the API server is killed once more.
const OUTAGE: u64 = 5000;
/// Clients of each agent.
const EACH: usize = 5;
/// How soon what is left behind must be free: what docs/reclaim.md promises.
const REPAIRED: Duration = Duration::from_secs(30);
/// And endpoints that an agent was killed before it could delete: Kubernetes collects them by their owner, the pod. It looks for
/// kinds that are new to it, such as ours here, every 30 s, and sees nothing of them while it is yet to find the API server
/// again that was killed: on a busy machine 90 s were not enough once.
const COLLECTED: Duration = Duration::from_mins(5);
/// How often the pools are read, and how often it is said how things go.
const LOOK: Duration = Duration::from_millis(300);
const SAY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn each_address_is_one_pods_while_agents_and_the_api_server_are_killed() {
    let total = match std::env::var("SPIDERPOOL_SOAK") {
        Ok(text) => text.parse().expect("SPIDERPOOL_SOAK is a number of ADDs and DELs"),
        Err(_) => FEW,
    };
    let world = World::start(Tally::of(total)).await;
    let dir = tempfile::tempdir().expect("a folder");
    let kubeconfig = world.plane.lock().unwrap().kubeconfig().to_owned();
    let agents = (0..AGENTS).map(|at| Arc::new(Agent::start(&node(at), dir.path(), &kubeconfig)));
    let agents: Vec<_> = agents.collect();
    all_serve(&agents).await;

    world.tally.begin();
    let mut watchers = JoinSet::new();
    watchers.spawn(look(Arc::clone(&world)));
    watchers.spawn(say(Arc::clone(&world)));
    let mut tasks = JoinSet::new();
    tasks.spawn(chaos::agents(Arc::clone(&world), agents.clone()));
    tasks.spawn(chaos::servers(Arc::clone(&world), total.div_ceil(OUTAGE)));
    let clients = (0..AGENTS * EACH).map(|number| {
        let (world, agent) = (Arc::clone(&world), Arc::clone(&agents[number % AGENTS]));
        // Some names are like those of a StatefulSet's pods, whose addresses might have to stay.
        let name = if number < AGENTS { format!("pod-{number}") } else { format!("pod{number}") };
        Client { world, agent, at: number % AGENTS, name }.work()
    });
    join_all(clients).await;
    while let Some(ended) = tasks.join_next().await {
        ended.expect("the API server comes back");
    }
    println!("== {}", world.tally.line());

    all_serve(&agents).await;
    let took = all_is_repaired(&world, &agents).await;
    watchers.shutdown().await;
    judge(&world, &agents, took).await;
    if world.is_broken() {
        // Their logs tell more.
        println!("the agents' logs stay in {}", dir.keep().display());
    }
    assert_eq!(world.oracle().wrongs(), [""; 0]);
    the_judge_is_awake(&world).await;
}

async fn all_serve(agents: &[Arc<Agent>]) {
    for agent in agents {
        insist(&format!("the agent of {} serves", agent.node), async || agent.serves().await.then_some(()))
            .await;
    }
}

/// Reads the pools again and again, and lets the oracle see them.
async fn look(world: Arc<World>) {
    loop {
        let before = world.oracle().moment();
        if let Some(pools) = world.list_pools().await {
            world.oracle().listed(&before, &pools);
        }
        sleep(LOOK).await;
    }
}

async fn say(world: Arc<World>) {
    loop {
        sleep(SAY).await;
        println!("   {}", world.tally.line());
    }
}

/// Waits until nothing is left, but not longer than that may take; returns how long it took.
async fn all_is_repaired(world: &World, agents: &[Arc<Agent>]) -> [Duration; 2] {
    let addresses = within(REPAIRED, async || {
        let free = |pools: Vec<Value>| oracle::records(&pools).is_ok_and(|records| records.is_empty());
        world.list_pools().await.is_some_and(free) && agents.iter().all(|agent| agent.queued() == 0)
    })
    .await;
    let endpoints =
        within(COLLECTED, async || world.list_endpoints().await.is_some_and(|all| all.is_empty())).await;
    [addresses, addresses + endpoints]
}

/// Waits until something is so, but not longer than `most`; returns how long it took.
async fn within(most: Duration, is: impl AsyncFn() -> bool) -> Duration {
    let begun = Instant::now();
    while begun.elapsed() < most && !is().await {
        sleep(Duration::from_millis(200)).await;
    }
    begun.elapsed()
}

/// Judges what is there at the end, and says how all went.
async fn judge(world: &World, agents: &[Arc<Agent>], took: [Duration; 2]) {
    let pools: Vec<Value> = insist("the pools are read", async || world.list_pools().await).await;
    let endpoints = insist("the endpoints are read", async || world.list_endpoints().await).await;
    let pods = insist("the pods are read", async || world.list_pods().await).await;
    let tally = &world.tally;
    let mut oracle = world.oracle();
    oracle.at_the_end(&pools, &endpoints);
    for agent in agents {
        for panic in agent.panics() {
            oracle.wrong(format!("the agent of {}: {panic}", agent.node));
        }
        if agent.queued() > 0 {
            oracle.wrong(format!("{} DELs wait on the disk of {}", agent.queued(), agent.node));
        }
        if let Err(why) = agent.kill() {
            oracle.wrong(why);
        }
    }
    if !pods.is_empty() || tally.pods.get() != tally.removed.get() {
        let (made, gone) = (tally.pods.get(), tally.removed.get());
        oracle.wrong(format!("{made} pods were made and {gone} removed, and there are still {pods:?}"));
    }
    for (count, at_least, what) in [
        (tally.done(), tally.total, "ADDs and DELs"),
        (tally.agents_killed.get(), 1, "kills of agents"),
        (tally.servers_killed.get(), 1, "kills of the API server"),
        (oracle.extent().2, 10, "readings of all pools"),
    ] {
        if count < at_least {
            oracle.wrong(format!("{count} {what}, which are too few: the soak has shown nothing"));
        }
    }
    for (count, why) in tally.failures().into_iter().take(12) {
        println!("   {count} x {why}");
    }
    let (holds, most, listings) = oracle.extent();
    let [addresses, endpoints] = took;
    println!(
        "== {holds} pods had addresses, {most} addresses were held at once at most, all pools were read {listings} times; after the \
         last pod all addresses were free in {addresses:.1?}, all endpoints gone in {endpoints:.1?}; wrong: {}",
        oracle.wrongs().len()
    );
}

/// Seeds a leak, an answer that is not on record and a double, and has all three found: silence has meant something.
async fn the_judge_is_awake(world: &World) {
    let mut judge = Oracle::default();
    let pool = "v4-own-0";
    judge.pool(pool, [10, 1, 0, 1].into(), [10, 1, 0, 9].into());
    world.write_record(pool, "10.1.0.1", "ghost").await;
    let wish = [vec![pool.to_owned()]];
    for uid in ["one", "two"] {
        judge.answered(uid, &wish, &[[10, 1, 0, 2].into()].into());
    }
    judge.gives_up("two");
    let before = judge.moment();
    let pools = insist("the pools are read", async || world.list_pools().await).await;
    judge.listed(&before, &pools);
    judge.gives_up("one");
    judge.at_the_end(&pools, &[]);
    let found = judge.wrongs().join("\n");
    for part in
        ["10.1.0.2 was answered to two while one has it", "on record it has {}", "leaked: 10.1.0.1 of"]
    {
        assert!(found.contains(part), "{part}: not in\n{found}");
    }
}
