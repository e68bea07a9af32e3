//! A folder that is gone when its owner is, however the owner ends.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::Error;

const LOCK: &str = "owner.lock";
const PREFIX: &str = "spiderpool-testbed-";
/// A folder younger than this may not have its lock yet.
const SETTLED: Duration = Duration::from_mins(1);

/// A folder for keys, data and logs, readable by this user only, removed on drop and after a crash.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    janitor: Child,
    /// Locked as long as the owner lives: tells a folder in use from one left behind by a machine that went down.
    _lock: File,
}

impl Scratch {
    /// Makes a folder of its own under the temporary folder, and removes those that nobody owns any more.
    pub(crate) fn temporary() -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(Error::file("create a folder in", &parent))?
            .keep();
        Self::own(path)
    }

    /// Takes `path`, which must not exist, be empty, or be left behind by an owner that is gone.
    pub(crate) fn at(path: &Path) -> Result<Self, Error> {
        match Owner::of(path)? {
            Owner::Alive(pid) => {
                let reason = format!(
                    "process {pid} runs a control plane there; `testbed down --dir {}` ends it",
                    path.display()
                );
                return Err(Error::InUse { path: path.to_owned(), reason });
            }
            Owner::Gone => fs::remove_dir_all(path).map_err(Error::file("remove", path))?,
            Owner::Nobody => {
                let empty = fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
                if !empty {
                    let reason = "it holds files that are not the testbed's; name another folder".to_owned();
                    return Err(Error::InUse { path: path.to_owned(), reason });
                }
            }
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("create", path))?;
        Self::own(fs::canonicalize(path).map_err(Error::file("open", path))?)
    }

    fn own(path: PathBuf) -> Result<Self, Error> {
        let name = path.join(LOCK);
        let lock = File::create(&name).map_err(Error::file("create", &name))?;
        lock.lock().map_err(Error::file("lock", &name))?;
        fs::write(&name, std::process::id().to_string()).map_err(Error::file("write", &name))?;
        let janitor = janitor(&path)?;
        Ok(Self { path, janitor, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        drop(self.janitor.wait());
    }
}

/// Starts a process that waits for the end of our pipe, which the kernel closes even when we crash, and then removes `path`.
fn janitor(path: &Path) -> Result<Child, Error> {
    // Children killed with us may still be writing: the first tries can fail.
    const SCRIPT: &str = r#"read -r _; for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1"; [ -e "$1" ] || exit 0; sleep 0.2; done"#;
    Command::new("sh")
        .args(["-c", SCRIPT, "testbed-janitor"])
        .arg(path)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Start { program: "sh".to_owned(), source })
}

/// Who owns a folder of the testbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The process with this id, which lives.
    Alive(u32),
    /// A process that has ended without removing it.
    Gone,
    /// No testbed ever did.
    Nobody,
}

impl Owner {
    /// Finds the owner of `dir`.
    pub fn of(dir: &Path) -> Result<Self, Error> {
        let name = dir.join(LOCK);
        let Ok(lock) = File::open(&name) else {
            return Ok(Self::Nobody);
        };
        match lock.try_lock() {
            Ok(()) => Ok(Self::Gone),
            Err(TryLockError::WouldBlock) => {
                let text = fs::read_to_string(&name).map_err(Error::file("read", &name))?;
                let being_set_up = || Error::InUse {
                    path: dir.to_owned(),
                    reason: "another testbed is just setting it up".to_owned(),
                };
                text.trim().parse().map(Self::Alive).map_err(|_| being_set_up())
            }
            Err(TryLockError::Error(source)) => Err(Error::file("lock", &name)(source)),
        }
    }
}

fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let settled = entry
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > SETTLED));
        if ours && settled && matches!(Owner::of(&entry.path()), Ok(Owner::Gone)) {
            // Another process may be sweeping the same folder: who removes it does not matter.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_gone_with_its_owner() {
        let scratch = Scratch::temporary().unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("file"), "data").unwrap();
        assert_eq!(Owner::of(&path).unwrap(), Owner::Alive(std::process::id()));
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_with_somebody_elses_files_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("thesis.txt");
        fs::write(&file, "data").unwrap();
        let error = Scratch::at(dir.path()).unwrap_err().to_string();
        assert!(error.contains("not the testbed's"), "{error}");
        assert!(file.exists());
    }

    #[test]
    fn a_folder_left_behind_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("world");
        fs::create_dir(&path).unwrap();
        fs::write(path.join(LOCK), "1").unwrap();
        fs::write(path.join("old"), "data").unwrap();
        let scratch = Scratch::at(&path).unwrap();
        assert!(!scratch.path().join("old").exists());
    }
}
