//! The command line: what the clouds show (`inventory`), what the controller would make of it (`plan`), why a pod has its
//! addresses (`why`), who holds which (`ip`) and what is held for nobody (`gc`). Only `ip release` and `gc` write.

mod arguments;
mod cluster;
mod console;
mod document;
mod failure;
mod gc;
mod inventory;
mod ip;
mod nodes;
mod plan;
mod readings;
mod records;
mod session;
mod table;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Task, Verbosity};

/// Runs one command, given as the process was called, and returns its exit status: 0 done, 1 failed, 2 wrong usage or
/// configuration.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let given: Vec<OsString> = arguments.into_iter().collect();
    let mut command = arguments::command(given.first());
    let matches = match command.try_get_matches_from_mut(given) {
        Ok(matches) => matches,
        Err(stop) => return shown(&stop),
    };
    let Arguments { task, verbosity } = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(stop) => return shown(&stop),
    };
    // A second installation is no matter: the first one serves.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    log(verbosity);
    let outcome = match task {
        Task::Plan(arguments) => session::block_on(plan::run(arguments)),
        Task::Inventory(arguments) => session::block_on(inventory::run(arguments)),
        Task::Why(arguments) => session::block_on(why::run(arguments)),
        Task::Ip(task) => session::block_on(ip::run(task)),
        Task::Gc(arguments) => session::block_on(gc::run(arguments)),
        Task::Completion { shell } => arguments::completion(shell, &mut command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console::fail(&failure);
            ExitCode::from(failure.status())
        }
    }
}

/// Prints what clap has to say, help and version included; its exit status is 2 for wrong usage.
fn shown(stop: &clap::Error) -> ExitCode {
    // A closed stdout or stderr leaves nobody to tell.
    let _ = stop.print();
    u8::try_from(stop.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn log(verbosity: Verbosity) {
    let filter = match verbosity {
        Verbosity::Quiet => return,
        Verbosity::Verbose => EnvFilter::new("info,config=debug,providers=debug,providers_aliyun=debug"),
    };
    // Installed already: somebody else wants the log his way.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
