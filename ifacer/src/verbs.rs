use cni::{Attachment, Code, Error, Network, Plugin, Success};
use plugin::{Level, Log};
use serde_json::Value;

use crate::assert::{first, locked};
use crate::codes::{CHANGED, NOT_MADE, UNFIT};
use crate::config::Config;
use crate::failed::Failed;
use crate::make::missing;

/// The plugin; all that it knows comes with each call.
#[derive(Debug)]
pub struct Ifacer;

impl Plugin for Ifacer {
    fn add(&self, attachment: &Attachment) -> Result<Success, Error> {
        let config = Config::read(&attachment.network)?;
        // Nothing is said of the interfaces: they are the node's, and what comes behind in the chain makes the pod's.
        let success = attachment.network.prev_result()?.unwrap_or_default();
        let log = log(&config, "ADD", attachment);
        let made = first(&config.places, &config.request, &config.asked);
        let made = made.map_err(|failed| error(&failed)).inspect_err(|error| log.failed(error))?;
        for warning in &made.warnings {
            log.write(Level::Warn, warning, &[]);
        }
        let device = Value::from(config.request.device());
        if made.done.is_empty() {
            log.write(Level::Debug, "everything is there", &[("device", device)]);
        } else {
            log.write(Level::Info, "has the interface", &[("device", device), ("did", made.done.into())]);
        }
        Ok(success)
    }

    /// The interfaces are the node's, and other pods stand on them: they stay.
    fn del(&self, _: &Attachment) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self, attachment: &Attachment, _: &Success) -> Result<(), Error> {
        let config = Config::read(&attachment.network)?;
        let log = log(&config, "CHECK", attachment);
        let missing = locked(&config.places.lock, || missing(&config.request));
        let outcome = missing.map_err(|failed| error(&failed)).and_then(|missing| {
            if missing.is_empty() {
                return Ok(());
            }
            let message = format!(
                "the node's interfaces are not as they were asked for: to have them so again, one would have to {}: delete the pod, so that it is made anew",
                missing.join("; ")
            );
            Err(Error::new(CHANGED, message))
        });
        outcome.inspect_err(|error| log.failed(error))
    }

    fn status(&self, network: &Network) -> Result<(), Error> {
        let config = Config::read(network)?;
        // What an ADD would do is nothing that keeps it from succeeding.
        missing(&config.request)
            .map(|_| ())
            .map_err(|failed| Error { code: Code::NotAvailable, ..error(&failed) })
    }

    /// Nothing belongs to one attachment alone.
    fn gc(&self, _: &Network) -> Result<(), Error> {
        Ok(())
    }
}

fn error(failed: &Failed) -> Error {
    let code = match failed {
        Failed::Unfit(_) => UNFIT,
        Failed::Busy(_) => Code::TryAgain,
        Failed::Lock { .. } | Failed::Record { .. } => Code::Io,
        Failed::NoSuchKind { .. } | Failed::Kernel(_) => NOT_MADE,
        Failed::HalfDone { why, left } => {
            return error(why).with_details(format!("left behind: {}", left.join("; ")));
        }
    };
    Error::new(code, failed.to_string())
}

fn log(config: &Config, verb: &str, attachment: &Attachment) -> Log {
    Log::open(config.level, &config.rotation, verb, attachment)
}
