//! `spiderpoolctl`: shows what the clouds hold, and what the controller would make of it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ctl::run(std::env::args_os())
}
