//! Allocation against a real API server: how long an ADD and a DEL take, how many there are in a second, and what they cost.
//!
//! Agents run as processes and are asked over their sockets, as plugins ask. Everything runs on this machine: the control
//! plane, the agents and their clients share its processors, so what is held side by side says more than times. What must
//! hold on any machine is asserted: every request answered, no address twice, none left, and the number of API requests.
//!
//! `SPIDERPOOL_BENCH=brief` makes less of everything, and asserts the same. Arguments choose parts: latency, rate, price,
//! kubelet, memory.

#![expect(clippy::unwrap_used, reason = "a bench's own functions may fail it")]

mod agent;
mod counts;
mod kubelet;
mod latency;
mod memory;
mod phase;
mod price;
mod rate;
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use stage::Stage;

/// How many agents there are, and how many pods each node starts at once when all are busy.
const AGENTS: usize = 10;
const EACH: usize = 5;

/// How much is measured.
pub(crate) struct Size {
    /// How many ADDs each of the three series of one agent makes, about.
    pub(crate) series: usize,
    /// How many addresses each client of many agents takes, one after the other.
    pub(crate) rounds: usize,
    /// How many other nodes there are when memory is looked at.
    pub(crate) others: usize,
    /// How many pods each of ten nodes starts, as kubelet does.
    pub(crate) pods: usize,
}

impl Size {
    const FULL: Self = Self { series: 200, rounds: 10, others: 5000, pods: 100 };
    const BRIEF: Self = Self { series: 40, rounds: 2, others: 300, pods: 5 };
}

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let brief = std::env::var("SPIDERPOOL_BENCH").is_ok_and(|size| size == "brief");
    let size = if brief { Size::BRIEF } else { Size::FULL };
    // Cargo adds options of its own.
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let parts = ["latency", "rate", "price", "kubelet", "memory"];
    if let Some(unknown) = chosen.iter().find(|name| !parts.contains(&name.as_str())) {
        eprintln!("allocation: there is no part {unknown}; there are {}", parts.join(", "));
        return ExitCode::from(2);
    }
    let stage = Stage::new().await;
    for part in parts.iter().filter(|part| chosen.is_empty() || chosen.iter().any(|name| name == *part)) {
        match *part {
            "latency" => latency::measure(&stage, &size).await,
            "rate" => rate::measure(&stage, &size).await,
            "price" => price::measure(&stage, &size).await,
            "kubelet" => kubelet::measure(&stage, &size).await,
            _ => memory::measure(&stage, &size).await,
        }
    }
    ExitCode::SUCCESS
}

/// Prints one line of the table.
fn row(what: &str, figure: &str, note: &str) {
    println!("| {what:<52} | {figure:>12} | {note}");
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// The time below which `share` of a hundred are.
fn share(times: &mut [Duration], share: usize) -> Duration {
    times.sort();
    times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}
