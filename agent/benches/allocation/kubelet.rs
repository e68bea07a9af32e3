//! Pods started on ten nodes, one after the other on each, as kubelet does: how much of the time is IPAM's.
//!
//! There is no kubelet and no runtime here: what a pod needs of the API server is asked for by this bench (its create, its
//! binding, and kubelet's two looks and status writes), and its address is asked of its node's agent in between. What a
//! runtime does (images, namespaces, cgroups, processes) comes on top in a cluster, so the share there is smaller.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::agent::Agent;
use crate::phase::{Client, Guest, Verb, ask, clear, given};
use crate::stage::{Stage, create, node, pod};
use crate::{AGENTS, Size, millis, number, row, share};

/// How long the steps of each pod took.
#[derive(Default)]
struct Steps {
    created: Vec<Duration>,
    bound: Vec<Duration>,
    statuses: Vec<Duration>,
    ipam: Vec<Duration>,
}

pub(crate) async fn measure(stage: &Stage, size: &Size) {
    let count = AGENTS * size.pods;
    println!("\n== {count} pods on {AGENTS} nodes, one after the other on each, without kubelet and runtime");
    let mut agents = Vec::new();
    let mut pools = Vec::new();
    for at in 0..AGENTS {
        pools.push(stage.node_pool("kubelet", at).await);
        agents.push(Agent::start(stage, at).await);
    }
    // Half without addresses before, and half after, so that what grows meanwhile hits both alike.
    let begun = Instant::now();
    let none = starts(stage, &agents, &pools, size.pods / 2, "bare-a", Ipam::Without).await;
    let mut bare = begun.elapsed();
    stage.remove(&none.1).await;
    let begun = Instant::now();
    let (mut steps, pods) = starts(stage, &agents, &pools, size.pods, "full", Ipam::With).await;
    let whole = begun.elapsed();
    let begun = Instant::now();
    let none = starts(stage, &agents, &pools, size.pods - size.pods / 2, "bare-b", Ipam::Without).await;
    bare += begun.elapsed();
    stage.remove(&none.1).await;

    let mut held = 0;
    for pool in &pools {
        held += stage.records(pool).await;
    }
    assert_eq!(held, count, "records after the ADDs");
    stage.endpoints(count).await;
    let sum = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64();
    let all = sum(&steps.created) + sum(&steps.bound) + sum(&steps.statuses) + sum(&steps.ipam);
    let part = sum(&steps.ipam) / all * 100.0;
    row("from the first create to the last pod running", &seconds(whole), &rate(count, whole));
    row("  the same without asking for addresses", &seconds(bare), &rate(count, bare));
    row(
        "IPAM's share of a pod's steps",
        &format!("{part:.0} %"),
        &format!(
            "ADD p50 {}, p99 {}",
            millis(share(&mut steps.ipam, 50)),
            millis(share(&mut steps.ipam, 99))
        ),
    );
    for (what, times) in [
        ("  the others: create", &mut steps.created),
        ("  binding", &mut steps.bound),
        ("  a look at the pod and a write of its status", &mut steps.statuses),
    ] {
        let middle = millis(share(times, 50));
        row(what, &middle, &format!("p50; p99 {}, {} in all", millis(share(times, 99)), times.len()));
    }
    ends(stage, &agents, pods, &pools).await;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ipam {
    With,
    Without,
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn rate(count: usize, time: Duration) -> String {
    format!("{:.0} pods a second", number(count) / time.as_secs_f64())
}

/// Starts pods on all nodes.
async fn starts(
    stage: &Stage,
    agents: &[Agent],
    pools: &[String],
    each: usize,
    name: &str,
    ipam: Ipam,
) -> (Steps, Vec<Guest>) {
    let nodes = agents.iter().zip(pools).enumerate().map(|(at, (agent, pool))| {
        let mut steps = Steps::default();
        async move {
            let mut pods = Vec::new();
            for round in 0..each {
                let agent = (ipam == Ipam::With).then_some(agent);
                pods.push(start(stage, at, pool, &format!("{name}-{at}x{round}x"), agent, &mut steps).await);
            }
            (steps, pods)
        }
    });
    let mut all = (Steps::default(), Vec::new());
    for (steps, pods) in futures::future::join_all(nodes).await {
        let Steps { created, bound, statuses, ipam } = steps;
        all.0.created.extend(created);
        all.0.bound.extend(bound);
        all.0.statuses.extend(statuses);
        all.0.ipam.extend(ipam);
        all.1.extend(pods);
    }
    all
}

/// Brings one pod from its create to "running".
async fn start(
    stage: &Stage,
    at: usize,
    pool: &str,
    name: &str,
    agent: Option<&Agent>,
    steps: &mut Steps,
) -> Guest {
    let begun = Instant::now();
    let uid = create(&stage.pods(), pod(name, pool)).await.uid().unwrap();
    steps.created.push(begun.elapsed());
    let guest = Guest { name: name.to_owned(), uid };

    let begun = Instant::now();
    let target = json!({"apiVersion": "v1", "kind": "Node", "name": node(at)});
    let binding =
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target});
    let _: Value =
        stage.pods().create_subresource("binding", name, &PostParams::default(), &binding).await.unwrap();
    steps.bound.push(begun.elapsed());

    status(stage, name, "Pending", None, steps).await;
    let mut address_of = None;
    if let Some(agent) = agent {
        let begun = Instant::now();
        let answer = ask(&agent.socket, Verb::Add, &guest).await;
        steps.ipam.push(begun.elapsed());
        let answer = answer.unwrap_or_else(|error| unreachable!("{error}"));
        let (address, _) = given(&answer);
        address_of = address.split('/').next().and_then(|address| address.parse().ok());
    }
    status(stage, name, "Running", address_of, steps).await;
    guest
}

/// Looks at a pod and writes its status, as kubelet's status manager does.
async fn status(stage: &Stage, name: &str, phase: &str, address: Option<IpAddr>, steps: &mut Steps) {
    let begun = Instant::now();
    let api = stage.pods();
    api.get(name).await.unwrap();
    let conditions: Vec<Value> = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"]
        .into_iter()
        .map(|kind| json!({"type": kind, "status": if phase == "Running" { "True" } else { "False" }}))
        .collect();
    let mut status = json!({"phase": phase, "conditions": conditions});
    if let Some(address) = address {
        status["podIP"] = json!(address);
        status["podIPs"] = json!([{"ip": address}]);
    }
    let status = json!({"status": status});
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
    steps.statuses.push(begun.elapsed());
}

/// Ends the pods, one after the other on each node.
async fn ends(stage: &Stage, agents: &[Agent], pods: Vec<Guest>, pools: &[String]) {
    let each = pods.len() / agents.len();
    stage.terminate(&pods).await;
    sleep(Duration::from_secs(1)).await;
    let nodes = agents.iter().zip(pods.chunks(each)).map(async |(agent, pods)| {
        let (mut dels, mut removals) = (Vec::new(), Vec::new());
        for pod in pods {
            let begun = Instant::now();
            ask(&agent.socket, Verb::Del, pod).await.unwrap();
            dels.push(begun.elapsed());
            let begun = Instant::now();
            let params = DeleteParams::default().grace_period(0);
            drop(stage.pods().delete(&pod.name, &params).await.unwrap());
            removals.push(begun.elapsed());
        }
        (dels, removals)
    });
    let (mut dels, mut removals) = (Vec::new(), Vec::new());
    for (more, others) in futures::future::join_all(nodes).await {
        dels.extend(more);
        removals.extend(others);
    }
    let removal = millis(share(&mut removals, 50));
    let note = format!("p99 {}; the pod's last delete {removal}", millis(share(&mut dels, 99)));
    row("DEL, p50", &millis(share(&mut dels, 50)), &note);
    let nobody = [Client { socket: agents[0].socket.clone(), pods: Vec::new() }];
    clear(stage, &nobody, pools).await;
}
