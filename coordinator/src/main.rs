//! The CNI plugin `coordinator`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cni::serve(&coordinator::Coordinator)
}
