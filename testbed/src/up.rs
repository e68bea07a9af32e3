//! The lives of a control plane: until a signal, or for the time of one command.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use testbed::{ControlPlane, Owner, SHARED_KUBECONFIG, spawn_tied};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// Taking a control plane down takes well under a second; this is for a machine that swaps.
const DOWN_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Brings a control plane up in `dir` and stays until a signal says to end it.
pub(crate) fn up(dir: &Path) -> anyhow::Result<ExitCode> {
    if let Owner::Alive(pid) = Owner::of(dir)? {
        eprintln!("testbed: process {pid} has it up already");
        print_export(&fs::canonicalize(dir)?.join("kubeconfig"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut plane = ControlPlane::start_in(dir)?;
    listening(async |signals| {
        eprintln!(
            "testbed: Ctrl-C or `testbed down --dir {}` ends it; logs are in {}",
            dir.display(),
            plane.folder().display()
        );
        print_export(plane.kubeconfig());
        while !signals.arrived(POLL).await {
            plane.check()?;
        }
        eprintln!("testbed: taking the control plane down");
        Ok(ExitCode::SUCCESS)
    })
}

/// Ends the control plane in `dir`, wherever it was started.
pub(crate) fn down(dir: &Path) -> anyhow::Result<ExitCode> {
    match Owner::of(dir)? {
        Owner::Nobody => eprintln!("testbed: nothing is up in {}", dir.display()),
        Owner::Gone => fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?,
        Owner::Alive(id) => {
            // The lock that the process holds on its folder proves that the id is still its own.
            let pid = i32::try_from(id)
                .ok()
                .and_then(Pid::from_raw)
                .with_context(|| format!("{id} is no process id"))?;
            kill_process(pid, Signal::TERM).with_context(|| format!("cannot end process {id}"))?;
            let begun = Instant::now();
            while dir.exists() {
                if begun.elapsed() > DOWN_PATIENCE {
                    bail!(
                        "process {id} was told to end {} s ago and has not removed {}",
                        DOWN_PATIENCE.as_secs(),
                        dir.display()
                    );
                }
                std::thread::sleep(POLL);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings a control plane up for the time of one command, and returns the command's status.
pub(crate) fn run(command: &[String]) -> anyhow::Result<ExitCode> {
    let [program, args @ ..] = command else { bail!("no command given") };
    let plane = ControlPlane::start()?;
    listening(async |signals| {
        let mut child = Command::new(program);
        child.args(args).env("KUBECONFIG", plane.kubeconfig()).env(SHARED_KUBECONFIG, plane.kubeconfig());
        let child = spawn_tied(child, Signal::TERM).with_context(|| format!("cannot start {program}"))?;
        let status = attend(child, signals).await?;
        let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    })
}

/// Waits for the end of `child`; a signal to us is passed on, and the child decides how to end.
async fn attend(mut child: Child, signals: &mut Signals) -> anyhow::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the command")? {
            return Ok(status);
        }
        if signals.arrived(POLL).await
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            // Ctrl-C reached it already, for it is in our process group: a second signal does no harm.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// The signals that ask us to end.
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches them from now on; needs a tokio runtime.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    pub(crate) async fn wait(&mut self) {
        while !self.arrived(Duration::from_mins(1)).await {}
    }

    /// Waits at most `patience` for one of them.
    pub(crate) async fn arrived(&mut self, patience: Duration) -> bool {
        let Self { interrupt, terminate, hangup } = self;
        tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
            _ = hangup.recv() => true,
            () = sleep(patience) => false,
        }
    }
}

/// Runs `task` with the signals caught. One that comes before, while programs are built or started, ends us at once: what
/// we started then goes down as after a crash.
pub(crate) fn listening(
    task: impl AsyncFnOnce(&mut Signals) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        task(&mut signals).await
    })
}

pub(crate) fn print_export(kubeconfig: &Path) {
    println!("export KUBECONFIG={}", kubeconfig.display());
}
