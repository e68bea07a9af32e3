//! The CNI plugin `ifacer`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cni::serve(&ifacer::Ifacer)
}
