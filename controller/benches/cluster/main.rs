//! The controller against a real API server: cold start, restart, resyncs, and the time from the cloud to a pool.
//!
//! Everything runs on this machine: the control plane, the simulated cloud and the controller share its processors.

#![expect(clippy::unwrap_used, reason = "a bench's own functions may fail it")]

mod changes;
mod large;
mod raw;
mod stage;

use std::time::Duration;

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    large::measure().await;
    changes::measure().await;
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
