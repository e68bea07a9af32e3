//! Allocation against a real API server: how long an ADD and a DEL take, how many there are in a second, and what they cost.
//!
//! First the desks alone, then agents as processes, asked over their sockets as plugins ask. Everything runs on this
//! machine: the control plane, the agents and their clients share its processors, so ratios say more than times.

#![expect(clippy::unwrap_used, reason = "a bench's own functions may fail it")]

mod agents;
mod clients;
mod stage;

use std::time::Duration;

use clients::Client;
use stage::Stage;

/// How many agents write at once, and how many pods each node starts at once.
const AGENTS: usize = 10;
const EACH: usize = 5;
/// How many addresses each of these clients takes, one after the other, before all are released.
const ROUNDS: usize = 10;

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let stage = Stage::new().await;
    let write = stage.one_write().await;
    println!("\n== one API write, against which the rest is held");
    row("status of a pool with 200 records, one at a time", &format!("{} ms", millis(write)), "p50 of 200");

    println!("\n== the desks, in this process");
    let desks: Vec<_> = stage.desks(AGENTS).await;
    let pool = stage.node_pool("alone", 0).await;
    for at_once in [1, 10, 100] {
        let clients = vec![Client::Desk { pools: desks[0].clone(), pool: pool.clone() }; at_once];
        let rounds = (100 / at_once).max(4);
        clients::measure(&stage, &format!("one agent, {at_once} at once"), clients, rounds, write).await;
    }
    let mut nodes = Vec::new();
    for node in 0..AGENTS {
        nodes.push(stage.node_pool("each", node).await);
    }
    let clients = |pool: &dyn Fn(usize) -> String| -> Vec<Client> {
        let all = (0..AGENTS * EACH).map(|at| at % AGENTS);
        all.map(|at| Client::Desk { pools: desks[at].clone(), pool: pool(at) }).collect()
    };
    let what = format!("{AGENTS} agents x {EACH}, node pools");
    clients::measure(&stage, &what, clients(&|at| nodes[at].clone()), ROUNDS, write).await;
    let shared = stage.shared_pool("all").await;
    let what = format!("{AGENTS} agents x {EACH}, one shared pool");
    clients::measure(&stage, &what, clients(&|_| shared.clone()), ROUNDS, write).await;
    stage.stop_desks().await;

    agents::measure(&stage, write).await;
}

/// Prints one line of the table.
fn row(what: &str, figure: &str, note: &str) {
    println!("| {what:<52} | {figure:>12} | {note}");
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
