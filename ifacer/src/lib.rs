//! The ifacer: has the interfaces of a node that pods' networks stand on, be they NICs, bonds or VLANs.
//!
//! [`plan`](mod@plan) decides and knows no kernel; [`Ifacer`] is the CNI plugin, and [`assert::all`] has everything again after
//! a reboot, for whoever looks after a node.

pub mod assert;
mod codes;
mod config;
pub mod failed;
mod lock;
mod make;
mod options;
pub mod plan;
mod records;
pub mod request;
pub mod scene;
mod verbs;

pub use verbs::Ifacer;
