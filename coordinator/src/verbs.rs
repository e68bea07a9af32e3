use std::time::Duration;

use cni::{Attachment, Code, Error, Network, Plugin, Success};
use plugin::{Agent, Call, Level, Log};

use crate::add::add;
use crate::check::check;
use crate::config::{Local, Mode};
use crate::del::del;

/// The agent answers at once, or does not.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// The plugin; all that it knows comes with each call.
#[derive(Debug)]
pub struct Coordinator;

impl Plugin for Coordinator {
    fn add(&self, attachment: &Attachment) -> Result<Success, Error> {
        let local = Local::read(&attachment.network)?;
        let log = log(&local, "ADD", attachment);
        add(attachment, &local, &log).inspect_err(|error| log.failed(error))
    }

    fn del(&self, attachment: &Attachment) -> Result<(), Error> {
        // A configuration that was broken after the ADD is no reason to leave anything behind.
        let (local, wrong) = match Local::read(&attachment.network) {
            Ok(local) => (local, None),
            Err(error) => (Local::built_in(&attachment.network).ok_or_else(|| error.clone())?, Some(error)),
        };
        let log = log(&local, "DEL", attachment);
        if let Some(error) = wrong {
            log.write(Level::Warn, &error.message, &[]);
        }
        del(attachment, &local, &log);
        Ok(())
    }

    fn check(&self, attachment: &Attachment, _: &Success) -> Result<(), Error> {
        let local = Local::read(&attachment.network)?;
        let log = log(&local, "CHECK", attachment);
        check(attachment, &local).inspect_err(|error| log.failed(error))
    }

    fn status(&self, network: &Network) -> Result<(), Error> {
        let local = Local::read(network)?;
        if local.mode == Some(Mode::Disabled) {
            return Ok(());
        }
        let call = Call {
            method: "GET",
            path: wire::COORDINATOR,
            purpose: "learn what the coordinator shall do",
            patience: ASK_PATIENCE,
        };
        Agent::at(local.socket)
            .must(call, &())
            .map(|_| ())
            .map_err(|error| Error { code: Code::NotAvailable, ..error })
    }

    /// A cable goes with its pod's namespace, and all that we write goes with the cable: there is nothing to collect.
    fn gc(&self, _: &Network) -> Result<(), Error> {
        Ok(())
    }
}

fn log(local: &Local, verb: &str, attachment: &Attachment) -> Log {
    Log::open(local.level, &local.rotation, verb, attachment)
}
