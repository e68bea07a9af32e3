//! Pods on real nodes of a simulated cloud: which addresses they get, and what the wire lets through.
//!
//! One cluster serves all of it. Needs root: guests have taps, and a network of their own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is test code, its fixtures too")]

#[path = "../built/product.rs"]
mod built;

mod agent_killed;
mod cloud_changes;
mod crowd;
mod filters;
mod oracle;
mod overlay;
mod packets;
mod paths;
mod pod;
mod services;
mod space;
mod stage;
mod strangers;
