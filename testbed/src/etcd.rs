//! etcd from Debian, unpacked into the cache: nothing is installed, so no service starts and no root is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::CacheLock;
use crate::error::Error;
use crate::progress;

const PACKAGE: &str = "etcd-server";

/// Where the cache keeps the program.
pub(crate) fn cached(cache: &Path) -> PathBuf {
    cache.join("etcd").join("usr/bin/etcd")
}

/// Fetches and unpacks Debian's package, unless it is there by now.
pub(crate) fn unpack(cache: &Path) -> Result<PathBuf, Error> {
    let _lock = CacheLock::take(cache)?;
    let program = cached(cache);
    if program.exists() {
        return Ok(program);
    }
    let work = tempfile::tempdir_in(cache).map_err(Error::file("create a folder in", cache))?;
    let log = cache.join("etcd.log");
    if download(work.path(), &log).is_err() {
        // A new machine has no package lists yet; bringing them needs root, and the second try tells whether it helped.
        drop(progress::run("reading Debian's package lists", apt(&["update"]), &log));
        download(work.path(), &log).map_err(|error| missing(&error))?;
    }
    let package = find_package(work.path())?;
    let tree = work.path().join("tree");
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("--extract").arg(&package).arg(&tree);
    progress::run("unpacking etcd", dpkg, &log)?;
    let home = cache.join("etcd");
    if home.exists() {
        fs::remove_dir_all(&home).map_err(Error::file("remove", &home))?;
    }
    fs::rename(&tree, &home).map_err(Error::file("rename", &tree))?;
    Ok(program)
}

fn download(into: &Path, log: &Path) -> Result<(), Error> {
    let mut command = apt(&["download", PACKAGE]);
    command.current_dir(into);
    progress::run("fetching etcd from Debian (about 3 s)", command, log)
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "--yes"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn find_package(dir: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(dir).map_err(Error::file("read", dir))?;
    let mut packages = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "deb"));
    packages.next().ok_or_else(|| Error::Missing {
        program: "etcd".to_owned(),
        remedy: format!("apt-get left no package in {}", dir.display()),
    })
}

fn missing(error: &Error) -> Error {
    let remedy =
        format!("install Debian's {PACKAGE} or put etcd 3.4 or newer on PATH; fetching it failed: {error}");
    Error::Missing { program: "etcd".to_owned(), remedy }
}
