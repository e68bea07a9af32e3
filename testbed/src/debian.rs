//! Debian packages unpacked into the cache: nothing is installed, so no service starts and no root is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::CacheLock;
use crate::error::Error;
use crate::progress;

/// Some packages in one folder of the cache.
pub(crate) struct Packages {
    /// What they are together, for people; also the folder's name.
    pub(crate) name: &'static str,
    /// Their names.
    pub(crate) names: &'static [&'static str],
    /// How long fetching them takes, in seconds.
    pub(crate) seconds: u32,
}

impl Packages {
    /// Where the cache keeps the unpacked tree.
    pub(crate) fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(self.name)
    }

    /// Fetches and unpacks them, unless `proof`, a path in the tree, is there by now. Returns the tree.
    pub(crate) fn unpack(&self, cache: &Path, proof: &str) -> Result<PathBuf, Error> {
        let home = self.folder(cache);
        if home.join(proof).exists() {
            return Ok(home);
        }
        let _lock = CacheLock::take(cache)?;
        if home.join(proof).exists() {
            return Ok(home);
        }
        let work = tempfile::tempdir_in(cache).map_err(Error::file("create a folder in", cache))?;
        let log = cache.join(format!("{}.log", self.name));
        if self.download(work.path(), &log).is_err() {
            // A new machine has no package lists yet; bringing them needs root, and the second try tells whether it helped.
            drop(progress::run("reading Debian's package lists", apt(&["update"]), &log));
            self.download(work.path(), &log).map_err(|error| self.missing(&error))?;
        }
        let tree = work.path().join("tree");
        for package in archives(work.path())? {
            let mut dpkg = Command::new("dpkg-deb");
            dpkg.arg("--extract").arg(&package).arg(&tree);
            progress::run_quietly(dpkg, &log)?;
        }
        if home.exists() {
            fs::remove_dir_all(&home).map_err(Error::file("remove", &home))?;
        }
        fs::rename(&tree, &home).map_err(Error::file("rename", &tree))?;
        Ok(home)
    }

    fn download(&self, into: &Path, log: &Path) -> Result<(), Error> {
        let mut command = apt(&["download"]);
        command.args(self.names).current_dir(into);
        progress::run(
            &format!("fetching {} from Debian, once (about {} s)", self.name, self.seconds),
            command,
            log,
        )
    }

    fn missing(&self, error: &Error) -> Error {
        let remedy = format!("install Debian's {}; fetching them failed: {error}", self.names.join(", "));
        Error::Missing { program: self.name.to_owned(), remedy }
    }
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "--yes"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn archives(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(dir).map_err(Error::file("read", dir))?;
    let mut archives: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    archives.sort();
    Ok(archives)
}
