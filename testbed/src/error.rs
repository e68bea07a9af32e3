//! Why the testbed could not do what it was asked, in words that say what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// What went wrong, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb: `read`, `create`, …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program is neither there nor can it be had.
    #[error("{program} is missing: {remedy}")]
    Missing {
        /// The program's name.
        program: String,
        /// What the user does to get it.
        remedy: String,
    },
    /// A program was found, but it is too old to stand for what we support.
    #[error("{} is Kubernetes {found}, the testbed needs {needed} or newer: take it off PATH and KUBEBUILDER_ASSETS, or replace it", path.display())]
    TooOld {
        /// The program that was found.
        path: PathBuf,
        /// Its version, as it says.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
    },
    /// A command could not be started at all.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A command ran and failed.
    #[error("`{command}` failed ({status}):\n{tail}")]
    Command {
        /// The command as one would type it.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said on stderr.
        tail: String,
    },
    /// A part of the control plane ended by itself while it was needed.
    #[error("{component} ended by itself ({status}); the end of {}:\n{tail}", log.display())]
    Ended {
        /// Which part.
        component: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },
    /// A part of the control plane did not become ready in time.
    #[error("{component} was not ready after {seconds} s (last answer: {answer}); the end of {}:\n{tail}", log.display())]
    NotReady {
        /// Which part.
        component: &'static str,
        /// How long we waited.
        seconds: u64,
        /// What it said when asked last.
        answer: String,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate of {subject}: {source}")]
    Certificate {
        /// Whose certificate.
        subject: String,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// Something of the network between nodes could not be made.
    #[error("cannot {action}: {source}")]
    Network {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A node did not become what it must.
    #[error("node {node} is not {wanted} after {seconds} s; the end of its logs:\n{tail}")]
    Node {
        /// The node.
        node: String,
        /// What was waited for.
        wanted: &'static str,
        /// How long.
        seconds: u64,
        /// What it said last.
        tail: String,
    },
    /// A script in a guest failed.
    #[error("on node {node} this failed with status {status}:\n{script}\n{said}")]
    InGuest {
        /// The node.
        node: String,
        /// The script.
        script: String,
        /// Its exit status.
        status: i32,
        /// What it wrote.
        said: String,
    },
    /// A kernel that was booted for a program did not bring it to its end.
    #[error(
        "{kernel} {ended} after {seconds} s, before its program had ended; the end of its console:\n{tail}"
    )]
    Kernel {
        /// Which kernel.
        kernel: &'static str,
        /// How it ended, as a verb.
        ended: &'static str,
        /// How long it ran.
        seconds: u64,
        /// What it said last.
        tail: String,
    },
    /// The simulated cloud is not what nodes can be made of.
    #[error("cannot make nodes of the simulated cloud: {reason}")]
    Cloud {
        /// What is wrong.
        reason: String,
    },
    /// The folder belongs to something else.
    #[error("{} is in use: {reason}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// By whom, and what to do.
        reason: String,
    },
}

impl Error {
    /// Makes a closure for `map_err` that keeps what was tried on which file.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// The last `lines` lines of a text: enough of a log to see why something failed.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
