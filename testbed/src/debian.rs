//! Programs of Debian's packages, unpacked into the cache: nothing is installed, so no service starts and no root is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, CacheLock};
use crate::error::Error;
use crate::progress;

/// The root of one package's tree in the cache: fetched and unpacked the first time, which takes a few seconds.
///
/// What the package depends on is not fetched: name that package too.
///
/// # Errors
/// When neither the cache nor Debian's mirror has it.
pub fn package(name: &str) -> Result<PathBuf, Error> {
    unpack(&cache::folder()?, name)
}

/// Where the cache keeps the tree of one package.
fn folder(cache: &Path, package: &str) -> PathBuf {
    cache.join("debian").join(package)
}

/// Fetches and unpacks one package, unless it is there by now.
pub(crate) fn unpack(cache: &Path, package: &str) -> Result<PathBuf, Error> {
    let home = folder(cache, package);
    if home.exists() {
        return Ok(home);
    }
    let _lock = CacheLock::take(cache)?;
    if home.exists() {
        return Ok(home);
    }
    let parent = cache.join("debian");
    fs::create_dir_all(&parent).map_err(Error::file("create", &parent))?;
    let work = tempfile::tempdir_in(&parent).map_err(Error::file("create a folder in", &parent))?;
    let log = parent.join(format!("{package}.log"));
    if download(package, work.path(), &log).is_err() {
        // A new machine has no package lists yet; bringing them needs root, and the second try tells whether it helped.
        drop(progress::run("reading Debian's package lists", apt(&["update"]), &log));
        download(package, work.path(), &log).map_err(|error| missing(package, &error))?;
    }
    let archive = archive_in(work.path(), package)?;
    let tree = work.path().join("tree");
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("--extract").arg(&archive).arg(&tree);
    progress::run(&format!("unpacking {package}"), dpkg, &log)?;
    // Renamed when it is whole, so that what was interrupted leaves nothing that looks finished.
    fs::rename(&tree, &home).map_err(Error::file("rename", &tree))?;
    Ok(home)
}

fn download(package: &str, into: &Path, log: &Path) -> Result<(), Error> {
    let mut command = apt(&["download", package]);
    command.current_dir(into);
    progress::run(&format!("fetching {package} from Debian (a few seconds)"), command, log)
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "--yes"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn archive_in(dir: &Path, package: &str) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(dir).map_err(Error::file("read", dir))?;
    let mut archives = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "deb"));
    archives.next().ok_or_else(|| Error::Missing {
        program: package.to_owned(),
        remedy: format!("apt-get left no package in {}", dir.display()),
    })
}

fn missing(package: &str, error: &Error) -> Error {
    Error::Missing {
        program: package.to_owned(),
        remedy: format!("it comes from Debian's package of that name; fetching it failed: {error}"),
    }
}
