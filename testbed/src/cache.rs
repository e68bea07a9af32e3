//! Where built and unpacked programs are kept, outside the checkout, shared by all checkouts of a user.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::progress::say;

/// The folder of the cache: `SPIDERPOOL_TESTBED_CACHE`, or `spiderpool-testbed` in the user's cache folder.
///
/// # Errors
/// When neither of `SPIDERPOOL_TESTBED_CACHE`, `XDG_CACHE_HOME` and `HOME` is set.
pub fn folder() -> Result<PathBuf, Error> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    var("SPIDERPOOL_TESTBED_CACHE").or_else(|| Some(user()?.join("spiderpool-testbed"))).ok_or_else(|| {
        Error::Missing {
            program: "a folder for the cache".to_owned(),
            remedy: "set SPIDERPOOL_TESTBED_CACHE to a folder with 10 GiB of room".to_owned(),
        }
    })
}

/// Held while something is put into the cache, so that two processes do not build the same thing twice.
pub(crate) struct CacheLock {
    _file: File,
}

impl CacheLock {
    /// Waits until no other process fills the cache.
    pub(crate) fn take(cache: &Path) -> Result<Self, Error> {
        fs::create_dir_all(cache).map_err(Error::file("create", cache))?;
        let path = cache.join("lock");
        let file = File::create(&path).map_err(Error::file("create", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                say("another process is filling the cache, waiting for it");
                file.lock().map_err(Error::file("lock", &path))?;
            }
            Err(TryLockError::Error(source)) => return Err(Error::file("lock", &path)(source)),
        }
        Ok(Self { _file: file })
    }
}
