//! Clients that ask for addresses one after the other, and how long they wait.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use wire::AddReply;

use crate::agent::Agent;
use crate::stage::{Stage, eventually};
use crate::{millis, number, row, share};

/// A pod as its runtime knows it.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// Asks an agent for its pods, one after the other.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) socket: PathBuf,
    pub(crate) pods: Vec<Guest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
}

/// Asks an agent as a plugin does, one connection a request; returns the body of the answer.
pub(crate) async fn ask(socket: &Path, verb: Verb, guest: &Guest) -> Result<String, String> {
    let method = match verb {
        Verb::Add => "POST",
        Verb::Del => "DELETE",
    };
    let body = json!({
        "containerID": "0123456789abcdef0123456789abcdef", "ifName": "eth0", "netNamespace": "/var/run/netns/none",
        "podNamespace": "default", "podName": guest.name, "podUID": guest.uid,
        "cleanGateway": false, "matchMasterSubnet": false,
    })
    .to_string();
    let head = format!(
        "{method} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        wire::IP,
        body.len()
    );
    let mut answer = String::new();
    let talk = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    talk.await.map_err(|error| format!("{method} {}: {error}", guest.name))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 2") => Ok(body.to_owned()),
        _ => Err(format!("{method} {}: {answer}", guest.name)),
    }
}

/// The address that an answer to an ADD gives, and its pool.
pub(crate) fn given(answer: &str) -> (String, String) {
    let answer: AddReply = serde_json::from_str(answer).unwrap();
    let ip = answer.ips.into_iter().next().unwrap();
    (ip.address, ip.ip_pool)
}

/// What became of all requests of one kind.
pub(crate) struct Phase {
    pub(crate) times: Vec<Duration>,
    /// From the first question to the last answer.
    took: Duration,
    answers: Vec<String>,
}

/// Lets all clients ask at once, each for its pods one after the other. All must be answered.
pub(crate) async fn phase(clients: &[Client], verb: Verb) -> Phase {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for client in clients {
        let Client { socket, pods } = client.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            for guest in &pods {
                let begun = Instant::now();
                times.push((ask(&socket, verb, guest).await, begun.elapsed()));
            }
            times
        });
    }
    let all: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let took = begun.elapsed();
    let failed: Vec<&String> = all.iter().filter_map(|(answer, _)| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {}", failed.len(), all.len(), failed[0]);
    let (answers, times) = all.into_iter().map(|(answer, time)| (answer.unwrap(), time)).unzip();
    Phase { times, took, answers }
}

impl Phase {
    pub(crate) fn print(&mut self, what: &str, note: &str) {
        let figures = format!(
            "p50 {}, p99 {}, {} in all{note}",
            millis(share(&mut self.times, 50)),
            millis(share(&mut self.times, 99)),
            self.times.len(),
        );
        row(what, &format!("{:.0}/s", self.rate()), &figures);
    }

    pub(crate) fn rate(&self) -> f64 {
        number(self.times.len()) / self.took.as_secs_f64()
    }

    /// Nobody may get what another one has.
    pub(crate) fn assert_distinct(&self) {
        let addresses: BTreeSet<_> = self.answers.iter().map(|answer| given(answer)).collect();
        assert_eq!(addresses.len(), self.answers.len(), "an address was given out twice");
    }
}

/// Makes clients of agents, `each` of an agent, and the pods that they will ask for.
pub(crate) async fn clients(
    stage: &Stage,
    agents: &[Agent],
    each: usize,
    rounds: usize,
    name: &str,
    pool: impl Fn(usize) -> String,
) -> Vec<Client> {
    let mut clients = Vec::new();
    for at in 0..agents.len() * each {
        let agent = at % agents.len();
        let pool = pool(agent);
        let made = (0..rounds).map(|round| (format!("{name}-{at}x{round}x"), &pool));
        let made = made.map(async |(name, pool)| stage.pod(&name, agent, pool).await);
        let pods = stream::iter(made).buffered(16).collect().await;
        clients.push(Client { socket: agents[agent].socket.clone(), pods });
    }
    // The agents' watches are to know them: kubelet's does as well when it starts one.
    sleep(Duration::from_secs(1)).await;
    clients
}

pub(crate) fn all_pods(clients: &[Client]) -> Vec<Guest> {
    clients.iter().flat_map(|client| client.pods.clone()).collect()
}

/// Lets the pods of clients end, and waits until the agents' watches say so.
pub(crate) async fn terminate(stage: &Stage, clients: &[Client]) {
    stage.terminate(&all_pods(clients)).await;
    sleep(Duration::from_secs(1)).await;
}

/// Makes sure that nothing is left of pods, and removes them.
pub(crate) async fn clear(stage: &Stage, clients: &[Client], pools: &[String]) {
    for pool in pools {
        assert_eq!(stage.records(pool).await, 0, "records of pool {pool} after the last DEL");
    }
    stage.endpoints(0).await;
    let pods = all_pods(clients);
    stage.remove(&pods).await;
    let api = stage.pods();
    eventually("the pods are gone", async || (stage.count(&api).await == 0).then_some(())).await;
}
