//! What one ADD and one DEL cost the API server: requests and bytes.

use std::collections::BTreeMap;

use tokio::time::{Duration, sleep};

use crate::agent::Agent;
use crate::counts::{Meter, difference, requests};
use crate::phase::{Client, Verb, clear, clients, phase, terminate};
use crate::stage::Stage;
use crate::{AGENTS, EACH, Size, number, row};

pub(crate) async fn measure(stage: &Stage, size: &Size) {
    println!("\n== what an ADD and a DEL cost the API server, endpoints and watches included");
    let meter = Meter::start(stage).await;
    let mut agents = vec![Agent::start_with(stage, 0, &meter.kubeconfig).await];
    let own = vec![stage.node_pool("metered", 0).await];
    let pool = |_| own[0].clone();
    let series = clients(stage, &agents, 1, size.series / 2, "single", pool).await;
    let added = price(stage, &meter, &series, Verb::Add, "one at a time").await;
    let count = u64::try_from(size.series / 2).unwrap();
    exactly(added, &[("PUT spiderippools 200", count), ("POST spiderendpoints 201", count)]);
    terminate(stage, &series).await;
    let freed = price(stage, &meter, &series, Verb::Del, "one at a time").await;
    exactly(freed, &[("PUT spiderippools 200", count), ("DELETE spiderendpoints 200", count)]);
    clear(stage, &series, &own).await;

    let crowd = clients(stage, &agents, EACH, size.rounds * 2, "several", pool).await;
    let what = format!("{EACH} at once");
    both(stage, &meter, &crowd, &what, &own).await;

    for at in 1..AGENTS {
        agents.push(Agent::start_with(stage, at, &meter.kubeconfig).await);
    }
    let shared = vec![stage.shared_pool("metered").await];
    let crowd = clients(stage, &agents, EACH, size.rounds, "crowd", |_| shared[0].clone()).await;
    let what = format!("{AGENTS} agents x {EACH}, one pool");
    both(stage, &meter, &crowd, &what, &shared).await;
}

async fn both(stage: &Stage, meter: &Meter, clients: &[Client], what: &str, pools: &[String]) {
    price(stage, meter, clients, Verb::Add, what).await;
    terminate(stage, clients).await;
    price(stage, meter, clients, Verb::Del, what).await;
    clear(stage, clients, pools).await;
}

/// Counts for one phase, and prints the mean of a request.
async fn price(
    stage: &Stage,
    meter: &Meter,
    clients: &[Client],
    verb: Verb,
    what: &str,
) -> BTreeMap<String, u64> {
    let (before, from) = (requests(stage).await, meter.bytes());
    let answered = phase(clients, verb).await;
    let count = answered.times.len();
    stage.endpoints(if verb == Verb::Add { count } else { 0 }).await;
    // The last events of the watches.
    sleep(Duration::from_millis(500)).await;
    let (to, after) = (meter.bytes(), requests(stage).await);
    let mut counted = difference(&before, &after);
    // Those of this bench.
    counted.remove("LIST spiderendpoints 200");
    let each = |sum: u64| number(usize::try_from(sum).unwrap()) / number(count);
    let parts: Vec<String> = counted.iter().map(|(name, sum)| format!("{:.2} {name}", each(*sum))).collect();
    let sum = each(counted.values().sum());
    let (sent, received) = (each(to.0 - from.0), each(to.1 - from.1));
    let verb = if verb == Verb::Add { "ADD" } else { "DEL" };
    row(&format!("API requests a {verb}, {what}"), &format!("{sum:.2}"), &parts.join(", "));
    row(
        &format!("  bytes a {verb}"),
        &format!("{:.1} kB", (sent + received) / 1e3),
        &format!("{:.1} kB to the API server, {:.1} kB from it", sent / 1e3, received / 1e3),
    );
    counted
}

/// Nothing but this may have been written, and nothing read but the pool, for the first time.
fn exactly(mut counted: BTreeMap<String, u64>, expected: &[(&str, u64)]) {
    let read = counted.remove("GET spiderippools 200").unwrap_or(0);
    assert!(read <= 1, "{read} readings of a pool that nobody else writes");
    // Kubernetes' garbage collector may look at pods, and a watch may be renewed.
    counted.retain(|name, _| !name.starts_with("GET ") && !name.starts_with("LIST "));
    let expected = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(counted, expected, "writes to the API server");
}
