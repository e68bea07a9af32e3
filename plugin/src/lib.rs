//! What our CNI plugins share beside the protocol: the agent behind its socket, the log, and reading their configuration.
//!
//! Blocking and small: each plugin is one process for each verb.

mod agent;
mod http;
mod keys;
mod log;
mod pod;

pub use agent::{Agent, Call, Outcome, REFUSED, UNREACHABLE};
pub use keys::Keys;
pub use log::{Level, Log, Rotation};
pub use pod::Pod;
