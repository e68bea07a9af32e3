//! The controller: observe, plan, apply.
//!
//! [`watches`](mod@watches) and [`clouds`](mod@clouds) observe, [`model::plan`] decides, [`apply`](mod@apply) writes; one
//! loop in [`run`](mod@run) owns all state and joins them. [`definitions`](mod@definitions) and the
//! [`coordinator`](mod@coordinator) need no cloud and no plan.
//! [`admission`] answers the API server, on every replica.

pub mod admission;
mod apply;
mod clouds;
mod coordinator;
mod definitions;
mod events;
pub mod lease;
pub mod metrics;
mod reclaim;
pub mod reload;
mod run;
pub mod server;
mod shelf;
mod term;
mod wait;
mod watches;
mod world;
mod writer;

pub use definitions::Scope;
pub use run::{Options, run};
