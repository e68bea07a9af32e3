//! The coordinator: a pod's way to its own node, to services, and through several interfaces.
//!
//! [`plan`](mod@plan) decides and knows no kernel; [`sides`] asks and tells the kernel; [`Coordinator`] is the CNI plugin over
//! both. [`refresh`](mod@refresh) and [`services`] are for whoever looks after a node and its running pods.

mod add;
pub mod cable;
mod check;
mod codes;
pub mod config;
mod del;
pub mod marks;
pub mod plan;
pub mod refresh;
pub mod scene;
pub mod services;
pub mod sides;
mod sysctl;
mod verbs;

pub use verbs::Coordinator;
