//! The controller: observe, plan, apply.
//!
//! [`watches`](mod@watches) and [`clouds`](mod@clouds) observe, [`model::plan`] decides, [`apply`](mod@apply) writes; one
//! loop in [`run`](mod@run) owns all state and joins them.

mod apply;
mod clouds;
mod events;
pub mod lease;
pub mod metrics;
pub mod reload;
mod run;
pub mod server;
mod term;
mod watches;
mod world;
mod writer;

pub use run::{Options, run};
