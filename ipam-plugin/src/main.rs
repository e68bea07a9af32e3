//! The CNI plugin `spiderpool`: asks this node's agent for addresses.

mod add;
mod agent;
mod config;
mod http;
mod log;
mod neighbours;
mod plugin;
mod pod;
mod queue;

use std::process::ExitCode;

fn main() -> ExitCode {
    cni::serve(&plugin::Spiderpool)
}
