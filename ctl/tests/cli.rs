//! The real binary, against the simulated cloud and a real API server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's own functions may fail it")]

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/clouds.rs"]
mod clouds;
#[path = "cli/cluster.rs"]
mod cluster;
#[path = "cli/files.rs"]
mod files;
#[path = "cli/guide.rs"]
mod guide;
#[path = "cli/inventory.rs"]
mod inventory;
#[path = "cli/ip.rs"]
mod ip;
#[path = "cli/plan.rs"]
mod plan;
#[path = "cli/usage.rs"]
mod usage;
#[path = "cli/why.rs"]
mod why;
