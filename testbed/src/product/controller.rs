//! The real controller beside a kubeconfig, with its log in a file.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::aliyun::{KEY, SECRET};
use crate::child::spawn_tied;
use crate::error::{Error, tail};

const COMPONENT: &str = "the controller";
/// The controller gives its lease back and ends; that takes well under a second.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// It listens before it does anything else.
const LISTEN_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How much of the log is shown when something failed.
const TAIL: usize = 30;

/// A running `spiderpool-controller`: asked to end, and waited for, on drop.
#[derive(Debug)]
pub struct Controller {
    process: Child,
    log: PathBuf,
}

impl Controller {
    /// Starts `program` with `config`, its log in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, config: &Path, kubeconfig: &Path, folder: &Path) -> Result<Self, Error> {
        let log = folder.join("controller.log");
        let file = File::create(&log).map_err(Error::file("create", &log))?;
        let mut command = Command::new(program);
        command
            .args(["--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .env("KUBECONFIG", kubeconfig)
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY)
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            // Not in the terminal's foreground group: Ctrl-C is for us, and we end things in order.
            .process_group(0);
        for name in ["ALIBABA_CLOUD_SECURITY_TOKEN", "SPIDERPOOL_POD_NAMESPACE", "SPIDERPOOL_POD_NAME"] {
            command.env_remove(name);
        }
        let process = spawn_tied(command, Signal::KILL)
            .map_err(|source| Error::Start { program: program.display().to_string(), source })?;
        Ok(Self { process, log })
    }

    /// Where its log is.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, for a failure.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&std::fs::read_to_string(&self.log).unwrap_or_default(), TAIL)
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// [`Error::Ended`], with the end of its log.
    pub fn check(&mut self) -> Result<(), Error> {
        match self.process.try_wait() {
            Ok(Some(status)) => {
                let (log, tail) = (self.log.clone(), self.log_tail());
                Err(Error::Ended { component: COMPONENT, status, log, tail })
            }
            _ => Ok(()),
        }
    }

    /// Waits until it says where it serves health and metrics, and returns that address.
    ///
    /// # Errors
    /// When it ends, or does not say so within half a minute.
    pub fn address(&mut self) -> Result<String, Error> {
        let begun = Instant::now();
        loop {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let mut lines =
                text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            if let Some(line) = lines.find(|line| line["message"] == "listening")
                && let Some(address) = line["address"].as_str()
            {
                return Ok(address.to_owned());
            }
            self.check()?;
            if begun.elapsed() > LISTEN_PATIENCE {
                let (log, tail) = (self.log.clone(), self.log_tail());
                let (seconds, answer) = (LISTEN_PATIENCE.as_secs(), "it does not listen".to_owned());
                return Err(Error::NotReady { component: COMPONENT, seconds, answer, log, tail });
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let begun = Instant::now();
        if let Some(pid) = pid
            && matches!(self.process.try_wait(), Ok(None))
            && kill_process(pid, Signal::TERM).is_ok()
        {
            while begun.elapsed() < END_PATIENCE && matches!(self.process.try_wait(), Ok(None)) {
                thread::sleep(POLL);
            }
        }
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}
