//! The way into a guest: scripts put into its folder, named on its console's input.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Output;
use crate::error::{Error, tail};

/// How often the host looks whether a script is done.
const LOOK: Duration = Duration::from_millis(3);

/// Runs scripts in a guest, any number of them side by side.
#[derive(Debug)]
pub(super) struct Door {
    node: String,
    folder: PathBuf,
    line: Mutex<File>,
    next: AtomicU32,
}

impl Door {
    /// A door whose guest reads the names of scripts from the other end of `line`.
    pub(super) fn new(node: &str, folder: &Path, line: File) -> Self {
        let (node, folder) = (node.to_owned(), folder.to_owned());
        Self { node, folder, line: Mutex::new(line), next: AtomicU32::new(0) }
    }

    /// From now on the guest reads at the other end of another `line`.
    pub(super) fn lead_to(&self, line: File) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }

    /// Runs a script; gives up after `patience`, though the script goes on.
    pub(super) fn run(&self, script: &str, patience: Duration) -> Result<Output, Error> {
        // Other processes may use the same door.
        let id = format!("{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed));
        let path = |kind: &str| self.folder.join("door").join(format!("{id}{kind}"));
        fs::write(path(""), script).map_err(Error::file("write", &path("")))?;
        {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            let told = line.write_all(format!("{id}\n").as_bytes());
            told.map_err(Error::file("tell the guest to run", &path("")))?;
        }
        let begun = Instant::now();
        let status = loop {
            let text = fs::read_to_string(path(".status")).unwrap_or_default();
            if let Some(status) = text.strip_suffix('\n').and_then(|text| text.parse().ok()) {
                break status;
            }
            if begun.elapsed() > patience {
                return Err(Error::Node {
                    node: self.node.clone(),
                    wanted: "done with a command",
                    seconds: patience.as_secs(),
                    tail: format!("{script}\n{}", self.console()),
                });
            }
            thread::sleep(LOOK);
        };
        let read = |kind| String::from_utf8_lossy(&fs::read(path(kind)).unwrap_or_default()).into_owned();
        let output = Output { status, stdout: read(".out"), stderr: read(".err") };
        for kind in ["", ".out", ".err", ".status"] {
            // They are looked at by nobody any more, and gone with the folder at the latest.
            drop(fs::remove_file(path(kind)));
        }
        Ok(output)
    }

    fn console(&self) -> String {
        let bytes = fs::read(self.folder.join("console.log")).unwrap_or_default();
        tail(&String::from_utf8_lossy(&bytes), 5)
    }
}
