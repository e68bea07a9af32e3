//! Agents as processes, asked over their sockets.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::sleep;

use crate::clients::{Client, Guest, Verb, costs, phase};
use crate::stage::{Stage, node};
use crate::{AGENTS, EACH, ROUNDS, row};

/// How many other nodes there are when memory is looked at.
const OTHERS: usize = 5000;
const PATIENCE: Duration = Duration::from_mins(2);

struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    async fn start(stage: &Stage, dir: &TempDir, at: usize) -> Self {
        let file = |suffix: &str| dir.path().join(format!("{at}{suffix}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_spiderpool-agent"));
        std::fs::write(file(".yml"), "{}").unwrap();
        command
            .args([
                "--listen",
                "127.0.0.1:0",
                "--log",
                "warn",
                "--node-name",
                &node(at),
                "--namespace",
                "default",
            ])
            .arg("--socket")
            .arg(file(".sock"))
            .arg("--config")
            .arg(file(".yml"))
            .arg("--del-queue")
            .arg(file(".del"))
            .arg("--kubeconfig")
            .arg(stage.plane.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let agent = Self { child: command.spawn().unwrap(), socket: file(".sock") };
        let end = Instant::now() + PATIENCE;
        while !agent.serves().await {
            assert!(Instant::now() < end, "agent {at} does not serve");
            sleep(Duration::from_millis(50)).await;
        }
        agent
    }

    async fn serves(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(&self.socket).await else { return false };
        let ask = b"GET /v1/ipam/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(ask).await.is_ok()
            && stream.read_to_string(&mut answer).await.is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn measure(stage: &Stage, write: Duration) {
    println!("\n== agents as processes, over their sockets");
    let dir = tempfile::tempdir().unwrap();
    let mut agents = Vec::new();
    for at in 0..AGENTS {
        agents.push(Agent::start(stage, &dir, at).await);
    }
    for at_once in [1, 10, 100] {
        let rounds = (100 / at_once).max(4);
        let pods =
            clients(stage, &agents[..1], at_once, rounds, &format!("s{at_once}"), &|_| "alone-0".into())
                .await;
        both(stage, &format!("one agent, {at_once} at once"), &pods, rounds, write).await;
    }
    let pods = clients(stage, &agents, EACH, ROUNDS, "each", &|at| format!("each-{at}")).await;
    both(stage, &format!("{AGENTS} agents x {EACH}, node pools"), &pods, ROUNDS, write).await;
    let pods = clients(stage, &agents, EACH, ROUNDS, "all", &|_| "all".into()).await;
    both(stage, &format!("{AGENTS} agents x {EACH}, one shared pool"), &pods, ROUNDS, write).await;
    memory("after all this", &agents);
    drop(agents);

    println!("\n== memory beside {OTHERS} other nodes, each with a pool and a pod");
    let few = [Agent::start(stage, &dir, 0).await];
    sleep(Duration::from_secs(2)).await;
    memory("without them", &few);
    drop(few);
    stage.crowd(OTHERS).await;
    let beside = [Agent::start(stage, &dir, 0).await];
    sleep(Duration::from_secs(2)).await;
    memory("beside them", &beside);
}

fn memory(when: &str, agents: &[Agent]) {
    let mut all: Vec<u64> = agents.iter().map(Agent::resident_kib).collect();
    all.sort_unstable();
    let (Some(least), Some(most)) = (all.first(), all.last()) else { return };
    let median = f64::from(u32::try_from(all[all.len() / 2]).unwrap()) / 1024.0;
    row(
        &format!("resident, {when}"),
        &format!("{median:.1} MiB"),
        &format!("{least} to {most} KiB, {} agents", all.len()),
    );
}

/// Clients of each agent, and their pods in the API.
async fn clients(
    stage: &Stage,
    agents: &[Agent],
    each: usize,
    rounds: usize,
    name: &str,
    pool: &dyn Fn(usize) -> String,
) -> Vec<Client> {
    let mut clients = Vec::new();
    for at in 0..agents.len() * each {
        let agent = at % agents.len();
        let pool = pool(agent);
        let made = (0..rounds).map(async |round| {
            let name = format!("{name}-{at}-{round}");
            let uid = stage.pod(&name, agent, &pool).await;
            Guest { name, uid }
        });
        let pods = stream::iter(made).buffered(16).collect().await;
        clients.push(Client::Socket { path: agents[agent].socket.clone(), pods });
    }
    clients
}

async fn both(stage: &Stage, what: &str, clients: &[Client], rounds: usize, write: Duration) {
    let names = clients.iter().flat_map(|client| match client {
        Client::Socket { pods, .. } => pods.iter().map(|pod| pod.name.clone()).collect(),
        Client::Desk { .. } => Vec::new(),
    });
    let names: Vec<String> = names.collect();
    let before = stage.requests();
    let adds = phase(clients, rounds, Verb::Add).await;
    adds.print(&format!("ADD: {what}"), write);
    // The endpoints follow.
    sleep(Duration::from_secs(1)).await;
    costs(&before, &stage.requests(), names.len());
    stage.terminate(names.clone()).await;
    sleep(Duration::from_secs(1)).await;
    let before = stage.requests();
    let dels = phase(clients, rounds, Verb::Del).await;
    dels.print(&format!("DEL: {what}"), write);
    costs(&before, &stage.requests(), names.len());
    let left = stage.records().await;
    if left > 0 {
        row(&format!("left behind: {what}"), &left.to_string(), "must be 0");
    }
}
