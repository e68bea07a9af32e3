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
        self.unpack_as(cache, proof, |into| {
            let mut command = apt(&["download"]);
            command.args(self.names).current_dir(into);
            Ok(command)
        })
    }

    /// As [`Packages::unpack`], with all that they need and this machine lacks.
    pub(crate) fn unpack_with_needs(&self, cache: &Path, proof: &str) -> Result<PathBuf, Error> {
        self.unpack_as(cache, proof, |into| {
            let partial = into.join("partial");
            fs::create_dir_all(&partial).map_err(Error::file("create", &partial))?;
            let mut command = apt(&["install", "--download-only", "--no-install-recommends"]);
            command.arg("-o").arg(format!("Dir::Cache::Archives={}", into.display()));
            // Nothing of the machine's is written, so whoever holds apt's locks is no hindrance.
            command.args(["-o", "Debug::NoLocking=1"]).args(self.names);
            Ok(command)
        })
    }

    /// As [`Packages::unpack`] for the newest version of one package that has its version in its name, between
    /// `before` and `after`: such packages come and go.
    pub(crate) fn unpack_newest(
        &self,
        cache: &Path,
        proof: &str,
        [before, after]: [&str; 2],
    ) -> Result<PathBuf, Error> {
        self.unpack_as(cache, proof, |into| {
            let names = names(&format!("^{before}.*{after}$"))?;
            let mut command = apt(&["download"]);
            // When there is none yet, this asks for the one without a version in its name, and fails in words that say so.
            command.arg(newest(&names, before, after).unwrap_or(self.name)).current_dir(into);
            Ok(command)
        })
    }

    /// Downloads by the command that `download` makes for a folder, and unpacks what is there then.
    fn unpack_as(
        &self,
        cache: &Path,
        proof: &str,
        download: impl Fn(&Path) -> Result<Command, Error>,
    ) -> Result<PathBuf, Error> {
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
        let what = format!("fetching {} from Debian, once (about {} s)", self.name, self.seconds);
        if progress::run(&what, download(work.path())?, &log).is_err() {
            // A new machine has no package lists yet; bringing them needs root, and the second try tells whether it helped.
            drop(progress::run("reading Debian's package lists", apt(&["update"]), &log));
            progress::run(&what, download(work.path())?, &log).map_err(|error| self.missing(&error))?;
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

    fn missing(&self, error: &Error) -> Error {
        let remedy = format!("install Debian's {}; fetching them failed: {error}", self.names.join(", "));
        Error::Missing { program: self.name.to_owned(), remedy }
    }
}

/// The names of the packages whose names match a regular expression.
fn names(pattern: &str) -> Result<Vec<String>, Error> {
    let start = |source| Error::Start { program: "apt-cache".to_owned(), source };
    let output =
        Command::new("apt-cache").args(["search", "--names-only", pattern]).output().map_err(start)?;
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

/// Of the names that are `before`, a version and `after`, the one of the highest version.
fn newest<'a>(names: &'a [String], before: &str, after: &str) -> Option<&'a str> {
    let versions = names.iter().filter_map(|name| {
        let version = name.strip_prefix(before)?.strip_suffix(after)?;
        let numbers = version.split(|it: char| !it.is_ascii_digit()).filter(|part| !part.is_empty());
        let numbers: Vec<u64> = numbers.map(|part| part.parse().unwrap_or_default()).collect();
        version.starts_with(|it: char| it.is_ascii_digit()).then_some((numbers, name.as_str()))
    });
    versions.max().map(|(_, name)| name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_that_of_the_highest_version_be_it_of_whichever_release() {
        let newest_of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| format!("linux-image-{name}")).collect();
            newest(&names, "linux-image-", "-cloud-amd64").map(str::to_owned)
        };
        assert_eq!(
            newest_of(&[
                "6.1.0-56-cloud-amd64",
                "6.12-cloud-amd64",
                "6.12.117+deb12-cloud-amd64",
                "6.12.99+deb12-cloud-amd64",
                "6.12.118+deb12-cloud-amd64-dbg",
                "cloud-amd64",
                "7.0.1+deb12-amd64",
            ])
            .unwrap(),
            "linux-image-6.12.117+deb12-cloud-amd64"
        );
        assert_eq!(newest_of(&["cloud-amd64"]), None);
    }
}
