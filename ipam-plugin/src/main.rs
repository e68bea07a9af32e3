//! The CNI plugin `spiderpool`: asks this node's agent for addresses.

mod add;
mod config;
mod neighbours;
mod queue;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    cni::serve(&verbs::Spiderpool)
}
