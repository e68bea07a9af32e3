//! How much memory an agent takes, and what it is sent: alone, and beside the objects of many other nodes.

use api::{SpiderEndpoint, SpiderIPPool};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Duration, sleep};

use crate::agent::Agent;
use crate::counts::Meter;
use crate::phase::{Verb, clients, phase};
use crate::stage::Stage;
use crate::{EACH, Size, row};

/// What a node runs by default at most (kubelet's maxPods).
const PODS: usize = 110;

pub(crate) async fn measure(stage: &Stage, size: &Size) {
    let others = size.others;
    println!("\n== memory of an agent with {PODS} pods, beside the objects of {others} other nodes");
    let pool = stage.node_pool("home", 0).await;
    let agents = [Agent::start(stage, 0).await];
    let clients = clients(stage, &agents, EACH, PODS / EACH, "home", |_| pool.clone()).await;
    phase(&clients, Verb::Add).await;
    stage.endpoints(PODS).await;
    memory("after their ADDs", &agents[0]);
    drop(agents);
    let (alone, _, agent) = start(stage, "started without the others").await;
    drop(agent);

    stage.others(others).await;
    let pods: Api<Pod> = stage.pods();
    let client = || stage.client.clone();
    let objects = stage.count(&pods).await
        + stage.count::<SpiderIPPool>(&Api::all(client())).await
        + stage.count::<SpiderEndpoint>(&Api::all(client())).await
        + stage.count::<Node>(&Api::all(client())).await;
    row("objects in the API server", &objects.to_string(), "pods, SpiderIPPools, SpiderEndpoints, Nodes");
    let (beside, meter, agent) = start(stage, "started beside them").await;
    assert_eq!(alone, beside, "what an agent follows has grown with the other nodes");

    let (_, before) = meter.bytes();
    changes(stage, others).await;
    sleep(Duration::from_secs(1)).await;
    let (_, after) = meter.bytes();
    let note = format!("{} changes: the pool and the pod of each", others * 2);
    row("bytes it is sent while all others change", &format!("{} B", after - before), &note);
    memory("after these changes", &agent);
}

/// Changes the pool and the pod of every other node once.
async fn changes(stage: &Stage, others: usize) {
    let (pools, pods): (Api<SpiderIPPool>, _) = (Api::all(stage.client.clone()), stage.pods());
    let changed = (0..others).map(|at| 1000 + at).map(|at| {
        let (pools, pods) = (pools.clone(), pods.clone());
        async move {
            let status = json!({"status": {"totalIPCount": at}});
            let params = PatchParams::default();
            pools.patch_status(&format!("other-{at}"), &params, &Patch::Merge(status)).await.unwrap();
            let status = json!({"status": {"phase": "Running"}});
            pods.patch_status(&format!("other-{at}"), &params, &Patch::Merge(status)).await.unwrap();
        }
    });
    stream::iter(changed).buffer_unordered(32).collect::<Vec<()>>().await;
}

/// Starts an agent beside what there is; returns how many pods and pools it follows.
async fn start(stage: &Stage, when: &str) -> ((u64, u64), Meter, Agent) {
    let meter = Meter::start(stage).await;
    let agent = Agent::start_with(stage, 0, &meter.kubeconfig).await;
    sleep(Duration::from_secs(3)).await;
    memory(when, &agent);
    let (pods, pools) = (agent.said("pods"), agent.said("pools"));
    let (_, received) = meter.bytes();
    row(
        "  objects it follows",
        &(pods + pools).to_string(),
        &format!(
            "{pods} pods, {pools} pools; {} kB came from the API server since its start",
            received / 1000
        ),
    );
    ((pods, pools), meter, agent)
}

fn memory(when: &str, agent: &Agent) {
    let mib = |key: &str| f64::from(u32::try_from(agent.kib(key)).unwrap()) / 1024.0;
    row(
        &format!("resident, {when}"),
        &format!("{:.1} MiB", mib("VmRSS:")),
        &format!(
            "{:.1} MiB its own (RssAnon), {:.1} MiB at most (VmHWM); reach 16 MiB",
            mib("RssAnon:"),
            mib("VmHWM:")
        ),
    );
}
