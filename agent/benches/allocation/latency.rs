//! One agent on its node's pool: ADD and DEL at 1, 10 and 100 at once, beside single writes of the API.

use std::time::{Duration, Instant};

use api::{SpiderEndpoint, SpiderIPPool};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::agent::Agent;
use crate::phase::{Client, Phase, Verb, all_pods, clear, clients, phase, terminate};
use crate::stage::{ALONE, Stage, create, endpoint};
use crate::{Size, millis, row, share};

/// ADDs and single writes take turns by so many, so that whatever else the machine does hits both.
const BLOCK: usize = 10;

pub(crate) async fn measure(stage: &Stage, size: &Size) {
    println!("\n== one agent on its node's pool, beside single API writes");
    let agents = [Agent::start(stage, 0).await];
    let pool = stage.node_pool("alone", 0).await;
    sleep(Duration::from_secs(1)).await;
    one_at_a_time(stage, &agents, &pool, size.series).await;
    for at_once in [10, 100] {
        let rounds = (size.series / at_once).max(2);
        let name = format!("by-{at_once}");
        let clients = clients(stage, &agents, at_once, rounds, &name, |_| pool.clone()).await;
        let mut adds = phase(&clients, Verb::Add).await;
        adds.assert_distinct();
        adds.print(&format!("ADD, {at_once} at once"), "");
        assert_eq!(stage.records(&pool).await, adds.times.len());
        stage.endpoints(adds.times.len()).await;
        terminate(stage, &clients).await;
        phase(&clients, Verb::Del).await.print(&format!("DEL, {at_once} at once"), "");
        clear(stage, &clients, std::slice::from_ref(&pool)).await;
    }
}

async fn one_at_a_time(stage: &Stage, agents: &[Agent], pool: &str, count: usize) {
    let yardstick = Yardstick::new(stage).await;
    let clients = clients(stage, agents, count / BLOCK, BLOCK, "one", |_| pool.to_owned()).await;
    let mut adds = Series::default();
    for (at, client) in clients.iter().enumerate() {
        adds.take(&yardstick, client, Verb::Add, at * BLOCK).await;
    }
    adds.print("ADD");
    assert_eq!(stage.records(pool).await, count / BLOCK * BLOCK);
    stage.endpoints(count / BLOCK * BLOCK).await;
    terminate(stage, &clients).await;
    let mut dels = Series::default();
    for (at, client) in clients.iter().enumerate() {
        dels.take(&yardstick, client, Verb::Del, all_pods(&clients).len() - at * BLOCK).await;
    }
    dels.print("DEL");
    clear(stage, &clients, &[pool.to_owned()]).await;
}

/// Requests to the agent, and single writes of the API beside them.
#[derive(Default)]
struct Series {
    asked: Vec<Duration>,
    statuses: Vec<Duration>,
    creates: Vec<Duration>,
}

impl Series {
    /// One block of each.
    async fn take(&mut self, yardstick: &Yardstick<'_>, client: &Client, verb: Verb, records: usize) {
        let Phase { times, .. } = phase(std::slice::from_ref(client), verb).await;
        self.asked.extend(times);
        // The endpoints follow an answer: they are not to disturb what is compared with it.
        sleep(Duration::from_millis(50)).await;
        for at in 0..BLOCK {
            self.statuses.push(yardstick.status(records + at).await);
        }
        for _ in 0..BLOCK {
            self.creates.push(yardstick.create().await);
        }
    }

    fn print(&mut self, verb: &str) {
        let count = self.asked.len();
        let middle = share(&mut self.asked, 50);
        let status = share(&mut self.statuses, 50);
        let create = share(&mut self.creates, 50);
        let ratio = |write: Duration| middle.as_secs_f64() / write.as_secs_f64();
        let late = millis(share(&mut self.asked, 99));
        row(&format!("{verb}, one at a time, p50"), &millis(middle), &format!("p99 {late}, {count} in all"));
        row(
            "  a single write of a pool's status, p50",
            &millis(status),
            &format!("as many records; {verb} takes {:.2} of it", ratio(status)),
        );
        row(
            "  a single create of a SpiderEndpoint, p50",
            &millis(create),
            &format!("{verb} takes {:.2} of it", ratio(create)),
        );
    }
}

/// Single writes of what an agent writes, by a client with nothing to decide.
struct Yardstick<'a> {
    stage: &'a Stage,
    pool: String,
}

impl<'a> Yardstick<'a> {
    async fn new(stage: &'a Stage) -> Self {
        Self { stage, pool: stage.node_pool("yardstick", 1000).await }
    }

    /// How long a write of a pool's status with so many records takes.
    async fn status(&self, records: usize) -> Duration {
        let api: Api<SpiderIPPool> = Api::all(self.stage.client.clone());
        let record = |at: usize| {
            let uid = format!("00000000-0000-4000-8000-{at:012}");
            let record = json!({
                "pod": format!("default/one-{at}x0x"), "podUid": uid, "nic": "eth0", "container": "0123456789ab",
            });
            (format!("10.8.{}.{}", 1 + at / 256, at % 256), record)
        };
        let records: Map<String, Value> = (1..=records).map(record).collect();
        let count = records.len();
        let status =
            json!({"status": {"allocatedIPs": json!(records).to_string(), "allocatedIPCount": count}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(status));
        let begun = Instant::now();
        api.patch_status(&self.pool, &params, &patch).await.unwrap();
        begun.elapsed()
    }

    /// How long the create of an endpoint takes.
    async fn create(&self) -> Duration {
        let api: Api<SpiderEndpoint> = Api::namespaced(self.stage.client.clone(), ALONE);
        let object = endpoint(&testbed::unique("yardstick"));
        let begun = Instant::now();
        create(&api, object).await;
        begun.elapsed()
    }
}
