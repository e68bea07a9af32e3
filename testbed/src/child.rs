//! Child processes that die with this one, however it ends.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::process::Signal;

use crate::error::{Error, tail};

/// A part of the control plane that runs: ended, and waited for, on drop.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: Process,
    log: PathBuf,
}

impl Child {
    /// Starts `command` with its output at the end of `<dir>/<name>.log`.
    pub(crate) fn start(name: &'static str, mut command: Command, dir: &Path) -> Result<Self, Error> {
        let log = dir.join(format!("{name}.log"));
        // A part that is started again writes on where the former one was killed.
        let out = File::options().create(true).append(true).open(&log);
        let out = out.map_err(Error::file("create", &log))?;
        let err = out.try_clone().map_err(Error::file("open", &log))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).current_dir(dir);
        // Not in the terminal's foreground group: Ctrl-C is for the parent, which ends its children in order.
        command.process_group(0);
        let process = spawn_tied(command, Signal::KILL)
            .map_err(|source| Error::Start { program: name.to_owned(), source })?;
        Ok(Self { name, process, log })
    }

    /// Fails when the process has ended, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        match self.process.try_wait() {
            Ok(Some(status)) => Err(self.ended(status)),
            _ => Ok(()),
        }
    }

    fn ended(&self, status: ExitStatus) -> Error {
        Error::Ended { component: self.name, status, log: self.log.clone(), tail: self.log_tail() }
    }

    /// The name that its log and messages carry.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it as a crash would (-9), and waits for its end.
    pub(crate) fn kill(&mut self) {
        if self.process.kill().is_ok() {
            // It cannot refuse, and one that has ended before is no other case.
            drop(self.process.wait());
        }
    }

    /// Where its log is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        tail(&std::fs::read_to_string(&self.log).unwrap_or_default(), 15)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Its data is thrown away with its folder, so there is nothing a gentle end could save.
        self.kill();
    }
}

type Order = (Command, Signal, Sender<io::Result<Process>>);

/// Starts a command that gets `signal` when this process ends, by a crash too.
///
/// The kernel sends that signal when the *thread* that forked ends, so one thread that never ends forks for all.
///
/// # Errors
/// Whatever kept the command from starting.
pub fn spawn_tied(command: Command, signal: Signal) -> io::Result<Process> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        thread::spawn(move || {
            for (command, signal, answer) in inbox {
                // Nobody waits for the answer any more: the child is dropped, and dies with us at the latest.
                drop(answer.send(fork(command, signal)));
            }
        });
        orders
    });
    let (answer, result) = channel();
    let gone = || io::Error::other("the spawning thread is gone");
    spawner.send((command, signal, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

fn fork(mut command: Command, signal: Signal) -> io::Result<Process> {
    let parent = rustix::process::getpid();
    let tie = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // The parent may have ended between fork and here: then no signal will ever come.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    #[expect(
        unsafe_code,
        reason = "between fork and exec the closure makes two system calls, both async-signal-safe, and allocates nothing"
    )]
    unsafe {
        command.pre_exec(tie);
    }
    command.spawn()
}
