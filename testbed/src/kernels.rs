//! One program in another kernel: booted for it, with a root that holds nothing else, and gone with it.

mod machine;
mod modules;
mod ramdisk;
mod root;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{iter, thread};

use rustix::process::Signal;

use crate::child::spawn_tied;
use crate::error::{Error, tail};
use crate::scratch::Scratch;

use machine::Machine;

/// What the last line of a run begins with; the program's exit status follows.
const ENDED: &str = "testbed: the program ended with status ";
/// What the line before the program's first begins with; the kernel's release and its number of CPUs follow.
const BEGAN: &str = "testbed: the program begins on Linux ";
/// How long a kernel may take to go down once its program has ended.
const DOWN: Duration = Duration::from_secs(20);

/// A kernel that is not the one of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// That of the testbed's nodes: Debian's User-Mode Linux, a process, with one CPU and no nftables for internet packets.
    Uml,
    /// The newest that Debian has for clouds, in QEMU with two CPUs: emulated, where there is no KVM.
    Cloud,
}

/// Where packets can go from a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere.
    Nothing,
    /// To servers on this machine's loopback, as [`THIS_MACHINE`], from a NIC that the program has to set up as [`OWN_ADDRESS`];
    /// in [`Kernel::Cloud`] only.
    ThisMachine,
}

/// This machine as seen from a kernel: QEMU's user network has it so.
pub const THIS_MACHINE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Which address the kernel's side has there, of a /24.
pub const OWN_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// What is to run.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The program: it is at the same path in there, with the libraries that it needs.
    pub path: &'a Path,
    /// Its arguments.
    pub arguments: &'a [&'a str],
    /// Its environment, beside `PATH`.
    pub environment: &'a [(&'a str, &'a str)],
    /// Programs that it starts, and files that it reads, each at the same path in there, too. `sh` and its like, `ip`, `iptables` and `modprobe` are there.
    pub beside: &'a [&'a Path],
    /// Where its packets can go.
    pub reach: Reach,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The program's exit status, as a shell has it.
    pub status: i32,
    /// What it wrote, on stdout and stderr.
    pub output: String,
    /// The kernel's own word for its version: `uname -r`.
    pub release: String,
    /// The number of CPUs that the program had.
    pub cpus: u32,
}

impl Kernel {
    /// Fetches what it takes, unless it is there by now, and returns it by name.
    ///
    /// # Errors
    /// When something cannot be had.
    pub fn ensure(self) -> Result<Vec<(&'static str, PathBuf)>, Error> {
        Machine::ensure(self).map(|machine| machine.paths())
    }

    /// Boots the kernel, runs a program as root in it, and takes all of it down; what takes longer than `patience` is killed.
    ///
    /// # Errors
    /// When the kernel cannot be had, or goes down or is killed before the program has ended; how the program ended is in
    /// [`Outcome::status`].
    pub fn run(self, program: &Program<'_>, patience: Duration) -> Result<Outcome, Error> {
        let machine = Machine::ensure(self)?;
        let scratch = Scratch::temporary()?;
        let ramdisk = scratch.path().join("ramdisk");
        root::write(&ramdisk, &machine, program)?;
        let console = scratch.path().join("console.log");
        let (command, name) = (machine.command(&ramdisk, scratch.path(), program.reach), machine.name());
        let begun = Instant::now();
        let killed = attend(command, name, &console, patience)?;
        let said = fs::read(&console).map_err(Error::file("read", &console))?;
        // Consoles are terminals, which have both ends of a line.
        let said = String::from_utf8_lossy(&said).replace('\r', "");
        outcome(&said).ok_or_else(|| Error::Kernel {
            kernel: name,
            ended: if killed { "was killed" } else { "went down" },
            seconds: begun.elapsed().as_secs(),
            tail: tail(&said, 30),
        })
    }
}

/// Runs the command of a kernel until it ends by itself; returns whether it had to be killed.
fn attend(
    mut command: Command,
    name: &'static str,
    console: &Path,
    patience: Duration,
) -> Result<bool, Error> {
    let out = File::create(console).map_err(Error::file("create", console))?;
    let err = out.try_clone().map_err(Error::file("open", console))?;
    command.stdout(out).stderr(err);
    let start = |source| Error::Start { program: name.to_owned(), source };
    // With the pipe that is its console's input, which nobody writes to.
    let mut process = spawn_tied(command, Signal::KILL).map_err(start)?;
    let mut deadline = Instant::now() + patience;
    let mut is_done = false;
    loop {
        if process.try_wait().map_err(start)?.is_some() {
            return Ok(false);
        }
        if Instant::now() > deadline {
            process.kill().and_then(|()| process.wait()).map_err(start)?;
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(50));
        if !is_done && fs::read(console).is_ok_and(|said| outcome(&String::from_utf8_lossy(&said)).is_some())
        {
            (is_done, deadline) = (true, deadline.min(Instant::now() + DOWN));
        }
    }
}

/// What a console says of a program, when it says that it ended.
fn outcome(console: &str) -> Option<Outcome> {
    let mut lines = console.lines().map(|line| line.trim_end_matches('\r'));
    let began = lines.find_map(|line| line.strip_prefix(BEGAN))?;
    let (release, cpus) = began.split_once(", CPUs: ")?;
    let mut output = String::new();
    for line in lines {
        // The program's last line may have no end.
        if let Some((rest, status)) = line.split_once(ENDED) {
            output += rest;
            let status = status.parse().ok()?;
            return Some(Outcome { status, output, release: release.to_owned(), cpus: cpus.parse().ok()? });
        }
        output.extend(iter::once(line).chain(["\n"]));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_tells_how_a_program_ended() {
        let console = "SeaBIOS\r\ntestbed: the program begins on Linux 6.12.1-cloud, CPUs: 2\r\none\r\ntwo\r\n\
                       threetestbed: the program ended with status 7\r\nreboot: power down\r\n";
        let told = outcome(console).unwrap();
        let wanted = Outcome {
            status: 7,
            output: "one\ntwo\nthree".to_owned(),
            release: "6.12.1-cloud".to_owned(),
            cpus: 2,
        };
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_console_that_ends_earlier_tells_nothing() {
        let console = "testbed: the program begins on Linux 6.1, CPUs: 1\none\nKernel panic - not syncing\n";
        assert_eq!(outcome(console), None);
        assert_eq!(outcome("SeaBIOS\n"), None);
        // Half of the last line is not the last line.
        let half =
            "testbed: the program begins on Linux 6.1, CPUs: 1\ntestbed: the program ended with status ";
        assert_eq!(outcome(half), None);
    }
}
