use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::environment::variable;
use crate::{Attachment, Code, Error, Network, Success, Verb, Version};

/// A node of 250 pods sends 25 kB with GC; more than this is no configuration.
const STDIN_LIMIT: u64 = 4 << 20;

/// A CNI plugin: one method for each verb that does something, which is why they are five.
pub trait Plugin {
    /// Attaches; what it returns holds all that earlier plugins of the chain made.
    fn add(&self, attachment: &Attachment) -> Result<Success, Error>;
    /// Detaches. What is gone already is success.
    fn del(&self, attachment: &Attachment) -> Result<(), Error>;
    /// Fails when the attachment is not as it was made; `made` is what ADD returned.
    fn check(&self, attachment: &Attachment, made: &Success) -> Result<(), Error>;
    /// Fails with [`Code::NotAvailable`] when an ADD could not succeed.
    fn status(&self, network: &Network) -> Result<(), Error>;
    /// Frees what no valid attachment holds.
    fn gc(&self, network: &Network) -> Result<(), Error>;
}

/// What the runtime is told: stdout, and whether the process ends with 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The verb succeeded; without a text there is nothing to print.
    Done(Option<String>),
    /// The verb failed with this error object.
    Failed(String),
}

/// Serves the one call for which this process was started. Call it from `main`, and print nothing to stdout elsewhere.
pub fn serve(plugin: &impl Plugin) -> ExitCode {
    let stdin = || {
        let mut bytes = Vec::new();
        // Somebody who tries the binary by hand would wait for ever.
        if !io::stdin().is_terminal() {
            io::stdin().lock().take(STDIN_LIMIT + 1).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let (text, code) = match answer(plugin, &|name| env::var_os(name), stdin) {
        Answer::Done(None) => return ExitCode::SUCCESS,
        Answer::Done(Some(text)) => (text, ExitCode::SUCCESS),
        Answer::Failed(text) => (text, ExitCode::FAILURE),
    };
    let mut stdout = io::stdout().lock();
    // A runtime that no longer listens is answered by the exit code alone.
    if writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_ok() { code } else { ExitCode::FAILURE }
}

/// Answers one call, given the environment and stdin. Does not panic, whatever they hold.
pub fn answer(
    plugin: &impl Plugin,
    lookup: &dyn Fn(&str) -> Option<OsString>,
    stdin: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Answer {
    let mut version = Version::LATEST;
    match run(plugin, lookup, stdin, &mut version) {
        Ok(value) => Answer::Done(value.map(|value| value.to_string())),
        Err(error) => Answer::Failed(error.to_json(version).to_string()),
    }
}

fn run(
    plugin: &impl Plugin,
    lookup: &dyn Fn(&str) -> Option<OsString>,
    stdin: impl FnOnce() -> io::Result<Vec<u8>>,
    version: &mut Version,
) -> Result<Option<Value>, Error> {
    let known = "ADD, DEL, CHECK, STATUS, GC or VERSION";
    let command = variable("CNI_COMMAND", lookup)?.ok_or_else(|| {
        let why = format!("the environment variable CNI_COMMAND is missing: this is a CNI plugin, which a container runtime starts with {known}");
        Error::new(Code::InvalidEnvironment, why)
    })?;
    let verb = Verb::parse(&command).ok_or_else(|| {
        Error::new(
            Code::InvalidEnvironment,
            format!("the environment variable CNI_COMMAND must be {known}, and is {command:?}"),
        )
    })?;
    let stdin = stdin().map_err(|error| {
        Error::new(Code::Io, format!("cannot read the network configuration from stdin: {error}"))
    })?;
    if stdin.len() as u64 > STDIN_LIMIT {
        return Err(Error::new(
            Code::Decode,
            format!("the network configuration on stdin is longer than {STDIN_LIMIT} bytes"),
        ));
    }
    if verb == Verb::Version {
        return Ok(Some(versions(&stdin)));
    }

    let keys = Network::parse(&stdin)?;
    *version = spoken(keys.get("cniVersion"))?;
    has(*version, verb)?;
    let network = Network::new(*version, keys)?;
    match verb {
        Verb::Add => plugin
            .add(&Attachment::read(verb, lookup, network)?)
            .map(|success| Some(success.to_json(*version))),
        Verb::Del => plugin.del(&Attachment::read(verb, lookup, network)?).map(|()| None),
        Verb::Check => {
            let attachment = Attachment::read(verb, lookup, network)?;
            let made = attachment.network.prev_result()?.ok_or_else(|| {
                Error::new(
                    Code::InvalidNetwork,
                    "CHECK needs the key \"prevResult\" in the network configuration, which is missing",
                )
            })?;
            plugin.check(&attachment, &made).map(|()| None)
        }
        Verb::Status => plugin.status(&network).map(|()| None),
        Verb::Gc => plugin.gc(&network).map(|()| None),
        Verb::Version => Ok(Some(versions(&stdin))),
    }
}

/// The answer to VERSION, which must be had whatever the runtime speaks.
fn versions(stdin: &[u8]) -> Value {
    let asked = Network::parse(stdin).ok();
    let asked = asked.as_ref().and_then(|keys| keys.get("cniVersion")?.as_str()).and_then(Version::parse);
    json!({ "cniVersion": asked.unwrap_or(Version::LATEST).as_str(), "supportedVersions": Version::ALL.map(Version::as_str) })
}

fn spoken(written: Option<&Value>) -> Result<Version, Error> {
    let what = match written {
        Some(Value::String(text)) => match Version::parse(text) {
            Some(version) => return Ok(version),
            None => format!("the network configuration's cniVersion is {text:?}"),
        },
        // The specification's reading of a missing version is 0.1.0.
        None | Some(Value::Null) => "the network configuration has no cniVersion".to_owned(),
        Some(other) => format!("the network configuration's cniVersion is {other}"),
    };
    let all = Version::ALL.map(Version::as_str).join(", ");
    Err(Error::new(Code::IncompatibleVersion, format!("{what}; this plugin speaks {all}")))
}

fn has(version: Version, verb: Verb) -> Result<(), Error> {
    if version >= verb.since() {
        return Ok(());
    }
    let why = format!(
        "{verb} exists from cniVersion {} on, and the network configuration's is {version}",
        verb.since()
    );
    Err(Error::new(Code::IncompatibleVersion, why))
}
