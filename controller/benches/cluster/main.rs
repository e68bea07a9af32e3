//! The controller against a real API server: cold start, restart, resyncs, and the time from the cloud to a pool.
//!
//! Everything runs on this machine: the control plane, the simulated cloud and the controller share its processors.
//!
//! `SPIDERPOOL_BENCH=brief` makes less of everything, and asserts the same.

#![expect(clippy::unwrap_used, reason = "a bench's own functions may fail it")]

mod changes;
mod large;
mod raw;
mod stage;

use std::time::Duration;

/// How much is measured.
pub(crate) struct Size {
    /// How many nodes the large cluster has.
    pub(crate) nodes: u16,
    /// How many nodes join it at once.
    pub(crate) joining: u16,
    /// How many resyncs without a change are watched.
    pub(crate) resyncs: u64,
    /// How many pools are created by hand, for each rate.
    pub(crate) raw: usize,
    /// How often each change is made.
    pub(crate) samples: u8,
}

impl Size {
    const FULL: Self = Self { nodes: 1_000, joining: 50, resyncs: 3, raw: 400, samples: 10 };
    const BRIEF: Self = Self { nodes: 40, joining: 10, resyncs: 1, raw: 50, samples: 2 };
}

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let brief = std::env::var("SPIDERPOOL_BENCH").is_ok_and(|size| size == "brief");
    let size = if brief { Size::BRIEF } else { Size::FULL };
    large::measure(&size).await;
    changes::measure(&size).await;
}

/// Prints one line of the table.
fn row(what: &str, figure: &str, note: &str) {
    println!("| {what:<52} | {figure:>12} | {note}");
}

/// Prints the median of some times, and their spread.
fn spread(what: &str, times: &mut [Duration], note: &str) {
    times.sort();
    let (Some(shortest), Some(longest)) = (times.first(), times.last()) else { return };
    let between = format!("{} to {} ms", shortest.as_millis(), longest.as_millis());
    let median = times[times.len() / 2];
    row(what, &format!("{} ms", median.as_millis()), &format!("median of {}, {between}{note}", times.len()));
}
