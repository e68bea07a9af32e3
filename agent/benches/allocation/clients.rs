//! Clients that ask for addresses one after the other, and how long they wait.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent::pools::Pools;
use model::ledger::{Claim, Release};
use model::{Holder, PodName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::stage::{Stage, uid};
use crate::{millis, row};

/// When a request counts as failed: the plugin's own patience.
const PATIENCE: Duration = Duration::from_secs(100);

/// A pod as its runtime knows it.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// How to ask.
#[derive(Clone)]
pub(crate) enum Client {
    /// A desk of this process.
    Desk { pools: Pools, pool: String },
    /// An agent, over its socket; its pods exist.
    Socket { path: PathBuf, pods: Vec<Guest> },
}

impl Client {
    fn guest(&self, at: usize, round: usize) -> Guest {
        match self {
            Self::Desk { .. } => {
                let number = at * 1000 + round;
                Guest { name: format!("pod-{number}"), uid: uid(number) }
            }
            Self::Socket { pods, .. } => pods[round].clone(),
        }
    }

    async fn add(&self, guest: &Guest) -> bool {
        match self {
            Self::Desk { pools, pool } => {
                let holder = Holder {
                    pod: PodName { namespace: "default".into(), name: guest.name.clone() },
                    uid: guest.uid.clone(),
                    nic: "eth0".into(),
                    container: "0123456789abcdef".into(),
                    ..Holder::default()
                };
                let claim = Claim { holder, prefer: None };
                let taken = pools.take(pool, claim, tokio::time::Instant::now() + PATIENCE).await;
                taken.map(|held| drop(held.keep())).is_ok()
            }
            Self::Socket { path, .. } => ask(path, "POST", guest).await.unwrap_or_default(),
        }
    }

    async fn del(&self, guest: &Guest) -> bool {
        match self {
            Self::Desk { pools, pool } => {
                let release =
                    Release::Nic { uid: guest.uid.clone(), nic: "eth0".into(), container: String::new() };
                let freed = pools.free(pool, release, tokio::time::Instant::now() + PATIENCE).await;
                freed.is_ok_and(|freed| freed.len() == 1)
            }
            Self::Socket { path, .. } => ask(path, "DELETE", guest).await.unwrap_or_default(),
        }
    }
}

/// Asks an agent as a plugin does: one connection a request.
async fn ask(path: &PathBuf, method: &str, guest: &Guest) -> std::io::Result<bool> {
    let body = json!({
        "containerID": "0123456789abcdef0123456789abcdef", "ifName": "eth0", "netNamespace": "/var/run/netns/none",
        "podNamespace": "default", "podName": guest.name, "podUID": guest.uid,
        "cleanGateway": false, "matchMasterSubnet": false,
    })
    .to_string();
    let mut stream = UnixStream::connect(path).await?;
    let head = format!(
        "{method} /v1/ipam/ip HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let good = answer.starts_with("HTTP/1.1 2");
    if !good {
        eprintln!("{method} {}: {answer}", guest.name);
    }
    Ok(good)
}

/// What a phase came to.
pub(crate) struct Phase {
    times: Vec<Duration>,
    took: Duration,
    failed: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
}

/// Lets all clients ask at once, each for its pods one after the other.
pub(crate) async fn phase(clients: &[Client], rounds: usize, verb: Verb) -> Phase {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (at, client) in clients.iter().cloned().enumerate() {
        tasks.spawn(async move {
            let mut times = Vec::new();
            for round in 0..rounds {
                let guest = client.guest(at, round);
                let begun = Instant::now();
                let good = match verb {
                    Verb::Add => client.add(&guest).await,
                    Verb::Del => client.del(&guest).await,
                };
                times.push((begun.elapsed(), good));
            }
            times
        });
    }
    let all: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let took = begun.elapsed();
    let mut times: Vec<Duration> = all.iter().map(|(time, _)| *time).collect();
    times.sort();
    Phase { times, took, failed: all.iter().filter(|(_, good)| !good).count() }
}

impl Phase {
    pub(crate) fn print(&self, what: &str, write: Duration) {
        let Self { times, took, failed } = self;
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        let rate = f64::from(u32::try_from(times.len()).unwrap()) / took.as_secs_f64();
        let ratio = at(50).as_secs_f64() / write.as_secs_f64();
        let note = format!(
            "p50 {} ms ({ratio:.1} x one write), p99 {} ms, {} in all, {failed} failed",
            millis(at(50)),
            millis(at(99)),
            times.len()
        );
        row(what, &format!("{rate:.0}/s"), &note);
    }
}

/// Measures ADDs of all clients and then their DELs, and what they cost the API server.
pub(crate) async fn measure(stage: &Stage, what: &str, clients: Vec<Client>, rounds: usize, write: Duration) {
    let before = stage.requests();
    let adds = phase(&clients, rounds, Verb::Add).await;
    let between = stage.requests();
    adds.print(&format!("ADD: {what}"), write);
    costs(&before, &between, adds.times.len());
    let dels = phase(&clients, rounds, Verb::Del).await;
    dels.print(&format!("DEL: {what}"), write);
    costs(&between, &stage.requests(), dels.times.len());
    let left = stage.records().await;
    if left > 0 {
        row(&format!("left behind: {what}"), &left.to_string(), "must be 0");
    }
}

/// Prints the API requests for one ADD or DEL.
pub(crate) fn costs(before: &[(String, u64)], after: &[(String, u64)], count: usize) {
    let known = |name: &str| before.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count);
    let parts: Vec<(f64, String)> = after
        .iter()
        .map(|(name, now)| (now - known(name), name))
        .filter(|(more, _)| *more > 0)
        .map(|(more, name)| {
            let each = f64::from(u32::try_from(more).unwrap()) / f64::from(u32::try_from(count).unwrap());
            (each, format!("{each:.2} {name}"))
        })
        .collect();
    let sum: f64 = parts.iter().map(|(each, _)| each).sum();
    let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    row("  API requests for each", &format!("{sum:.2}"), &texts.join(", "));
}
