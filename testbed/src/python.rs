//! Python with packages from its index, kept in the cache: how vendors' own SDKs get to drive our simulators.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::cache::{self, CacheLock};
use crate::error::Error;
use crate::progress;

/// What drives the Alibaba simulator: the vendor's SDK, at the versions that its replies were compared with.
pub const ALIBABA_SDK: &[&str] = &[
    "alibabacloud-ecs20140526==7.11.8",
    "alibabacloud-vpc20160428==7.2.2",
    "alibabacloud-sts20150401==1.2.0",
];

/// Returns a `python3` that has `packages` (`name==version`), which are installed into the cache the first time.
///
/// # Errors
/// When there is no Python 3 with venv and it cannot be installed, or a package cannot be had.
pub fn python_with(packages: &[&str]) -> Result<PathBuf, Error> {
    environment(&cache::folder()?, packages)
}

fn environment(cache: &Path, packages: &[&str]) -> Result<PathBuf, Error> {
    let _lock = CacheLock::take(cache)?;
    let wanted = Sha256::digest(packages.join("\n"));
    let home =
        cache.join(format!("python-{:02x}{:02x}{:02x}{:02x}", wanted[0], wanted[1], wanted[2], wanted[3]));
    let python = home.join("bin/python3");
    // Written last: an environment cannot be renamed when it is whole, for its scripts hold its path.
    let whole = home.join("whole");
    if whole.exists() {
        return Ok(python);
    }
    let log = cache.join("python.log");
    if home.exists() {
        fs::remove_dir_all(&home).map_err(Error::file("remove", &home))?;
    }
    create(&home, &log).map_err(|error| missing(&error))?;
    if !packages.is_empty() {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        progress::run(
            &format!("installing {} for Python, once (about 30 s)", packages.join(", ")),
            pip,
            &log,
        )?;
    }
    fs::write(&whole, "").map_err(Error::file("write", &whole))?;
    Ok(python)
}

fn create(home: &Path, log: &Path) -> Result<(), Error> {
    let venv = || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv"]).arg(home);
        progress::run("making a Python environment (about 5 s)", command, log)
    };
    // Debian's Python comes without venv. Installing it needs root; the second try tells whether it helped.
    venv().or_else(|_| {
        for args in [&["update"][..], &["install", "--no-install-recommends", "python3-venv"]] {
            let mut apt = Command::new("apt-get");
            apt.args(["--quiet", "--yes"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
            drop(progress::run(&format!("apt-get {}", args.join(" ")), apt, log));
        }
        venv()
    })
}

fn missing(error: &Error) -> Error {
    let remedy = format!("install Debian's python3-venv; making an environment failed: {error}");
    Error::Missing { program: "Python 3 with venv".to_owned(), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_runs_and_is_made_once() {
        let cache = tempfile::tempdir().unwrap();
        let python = environment(cache.path(), &[]).unwrap();
        assert!(Command::new(&python).args(["-c", "import pip"]).status().unwrap().success());
        let log = cache.path().join("python.log");
        fs::remove_file(&log).unwrap();
        assert_eq!(environment(cache.path(), &[]).unwrap(), python);
        assert!(!log.exists(), "nothing ran the second time");
    }
}
