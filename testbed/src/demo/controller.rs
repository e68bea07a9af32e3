//! The real controller as the demo runs it: beside a kubeconfig, with its log in a file.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, kill_process};
use testbed::aliyun::{KEY, SECRET};
use testbed::{Signal, spawn_tied};
use tokio::time::sleep;

/// The controller gives its lease back and ends; that takes well under a second.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// It listens before it does anything else.
const LISTEN_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How much of the log is shown when something failed.
const TAIL: usize = 30;

/// A running `spiderpool-controller`: asked to end, and waited for, on drop.
pub(crate) struct Controller {
    process: Child,
    log: PathBuf,
}

impl Controller {
    /// Starts `program` with `config`, its log in `folder`.
    pub(crate) fn start(
        program: &Path,
        config: &Path,
        kubeconfig: &Path,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join("controller.log");
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
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
        let process = spawn_tied(command, Signal::KILL).with_context(|| {
            format!("cannot start {}; build it with `cargo build -p controller`", program.display())
        })?;
        Ok(Self { process, log })
    }

    /// Where its log is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, for a failure.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait().context("cannot ask for the controller's state")? {
            Some(status) => bail!("the controller ended by itself ({status})"),
            None => Ok(()),
        }
    }

    /// Waits until it says where it serves health and metrics, and returns that address.
    pub(crate) async fn address(&mut self) -> anyhow::Result<String> {
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
                bail!("the controller does not listen after {} s", LISTEN_PATIENCE.as_secs());
            }
            sleep(POLL).await;
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
                std::thread::sleep(POLL);
            }
        }
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}
