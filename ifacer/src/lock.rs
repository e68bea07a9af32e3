use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::failed::Failed;

/// Each holds it for some milliseconds; a switch that answers slowly does not count, since nobody waits for a carrier.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until no other ifacer of this node is at work. The lock ends with what is returned, or with the process.
pub(crate) fn take(path: &Path) -> Result<File, Failed> {
    let failed = |source| Failed::Lock { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(Failed::Busy(path.to_owned()));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_second_waits_until_the_first_is_through() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/lock");
        let held = take(&path).unwrap();
        let started = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(60));
                drop(held);
            });
            take(&path).unwrap();
        });
        assert!(started.elapsed() >= Duration::from_millis(60));
    }

    #[test]
    fn a_place_where_nothing_can_be_written_is_named() {
        let message = take(Path::new("/proc/nowhere/lock")).unwrap_err().to_string();
        assert!(message.contains("/proc/nowhere/lock"), "{message}");
    }
}
