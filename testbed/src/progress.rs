//! Long commands with a sign of life: what runs, how long it usually takes, how long it has taken.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::child::spawn_tied;
use crate::error::{Error, tail};

const BEAT: Duration = Duration::from_secs(10);

/// Says one line to whoever started us.
pub(crate) fn say(line: &str) {
    eprintln!("testbed: {line}");
}

/// Runs `command` to its end, with its output in `log` and a line on stderr every ten seconds.
pub(crate) fn run(what: &str, command: Command, log: &Path) -> Result<(), Error> {
    let begun = Instant::now();
    say(what);
    run_quietly(command, log)?;
    say(&format!("  done in {:.0} s", begun.elapsed().as_secs_f64()));
    Ok(())
}

/// As [`run`], without a word about its start and its end.
pub(crate) fn run_quietly(mut command: Command, log: &Path) -> Result<(), Error> {
    let begun = Instant::now();
    let shown = format!(
        "{} {}",
        command.get_program().display(),
        command.get_args().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
    );
    let out = File::create(log).map_err(Error::file("create", log))?;
    let err = out.try_clone().map_err(Error::file("open", log))?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = spawn_tied(command, Signal::TERM)
        .map_err(|source| Error::Start { program: program.clone(), source })?;
    let mut said = begun;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(source) => return Err(Error::Start { program, source }),
        }
        if said.elapsed() >= BEAT {
            said = Instant::now();
            say(&format!("  … {} s {}", begun.elapsed().as_secs(), last_line(log)));
        }
        thread::sleep(Duration::from_millis(100));
    };
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: shown,
        status,
        tail: tail(&std::fs::read_to_string(log).unwrap_or_default(), 15),
    })
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .next_back()
        .map_or_else(String::new, |line| format!("({})", line.chars().take(100).collect::<String>()))
}
