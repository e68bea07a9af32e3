//! Builds the testbed's own CNI programs from `testbed/plugins`, once per state of that module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::cache::{self, CacheLock};
use crate::debian::Packages;
use crate::error::Error;
use crate::progress;

/// The module; the testbed is never shipped, so it always runs beside its checkout.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins");

/// What is built: the name of the program, and where its `main` is.
const PROGRAMS: [(&str, &str); 4] = [
    ("multus", "./cmd/multus"),
    ("cnitool", "github.com/containernetworking/cni/cnitool"),
    ("libcni-probe", "./cmd/libcni-probe"),
    ("probe", "./cmd/probe"),
];

/// Upstream's own plugins, as Debian has them: version 1.1.1, which speaks CNI up to 1.0.0.
const UPSTREAM: Packages =
    Packages { name: "debian-cni", names: &["containernetworking-plugins"], seconds: 5 };

/// The programs that stand in for, or look into, what calls and what surrounds our CNI plugins.
#[derive(Debug, Clone)]
pub struct Plugins {
    folder: PathBuf,
}

impl Plugins {
    /// Builds the programs into the cache, unless this state of the module has been built there.
    ///
    /// # Errors
    /// When Go is missing, or the module does not build.
    pub fn ensure() -> Result<Self, Error> {
        Self::build(&cache::folder()?, Path::new(MODULE))
    }

    fn build(cache: &Path, module: &Path) -> Result<Self, Error> {
        let folder = cache.join(format!("plugins-{}", fingerprint(module)?));
        if folder.exists() {
            return Ok(Self { folder });
        }
        let _lock = CacheLock::take(cache)?;
        if folder.exists() {
            return Ok(Self { folder });
        }
        let work = tempfile::Builder::new()
            .prefix("plugins-unfinished-")
            .tempdir_in(cache)
            .map_err(Error::file("create a folder in", cache))?;
        // Measured: 44 s of CPU time with nothing compiled yet, which two cores share; a few when only this module changed.
        let what =
            "building multus, cnitool, libcni-probe and probe from Go modules (about 25 s on two idle cores)";
        match progress::run(what, go_build(module, work.path()), &cache.join("plugins.log")) {
            Err(Error::Start { .. }) => return Err(no_go()),
            other => other?,
        }
        // Renamed when it is whole, so that a build that was ended leaves nothing that looks finished.
        fs::rename(work.path(), &folder).map_err(Error::file("rename", work.path()))?;
        Ok(Self { folder })
    }

    /// The folder of upstream's own plugins (bridge, ptp, ipvlan, host-local, …): Debian's, unpacked into the cache.
    ///
    /// # Errors
    /// When neither the cache nor Debian's mirror has them.
    pub fn upstream() -> Result<PathBuf, Error> {
        const BIN: &str = "usr/lib/cni";
        const PROOF: &str = "usr/lib/cni/host-local";
        Ok(UPSTREAM.unpack(&cache::folder()?, PROOF)?.join(BIN))
    }

    /// The folder that holds them all, for a search path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The stand-in for Multus, a CNI plugin after the NPWG multi-network specification v1.3.
    #[must_use]
    pub fn multus(&self) -> PathBuf {
        self.folder.join("multus")
    }

    /// Upstream's own tool to run a CNI configuration by hand.
    #[must_use]
    pub fn cnitool(&self) -> PathBuf {
        self.folder.join("cnitool")
    }

    /// Any CNI command through upstream's library, with result or error as JSON.
    #[must_use]
    pub fn libcni_probe(&self) -> PathBuf {
        self.folder.join("libcni-probe")
    }

    /// The static client and server that the pods of the tests run.
    #[must_use]
    pub fn probe(&self) -> PathBuf {
        self.folder.join("probe")
    }
}

fn go_build(module: &Path, into: &Path) -> Command {
    let mut command = Command::new("go");
    command.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"]);
    // With the slash at the end Go puts each program there under its own name.
    command.arg(into.join(""));
    command.args(PROGRAMS.map(|(_, main)| main));
    command.current_dir(module).env("CGO_ENABLED", "0").env("GOWORK", "off");
    command
}

/// Names the state of the module: its files by name and content.
fn fingerprint(module: &Path) -> Result<String, Error> {
    let mut files = Vec::new();
    collect(module, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let text = fs::read(&file).map_err(Error::file("read", &file))?;
        let name = file.strip_prefix(module).unwrap_or(&file).as_os_str().as_encoded_bytes();
        for part in [name, &text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hash.finalize().iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::file("read", dir))? {
        let path = entry.map_err(Error::file("read", dir))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn no_go() -> Error {
    let remedy = "it is built from Go modules, so install Go 1.26 or newer and put `go` on PATH".to_owned();
    Error::Missing { program: "multus".to_owned(), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_file_and_a_moved_line_name_another_state() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("a.go", "one");
        write("b.go", "two");
        let first = fingerprint(dir.path()).unwrap();
        assert_eq!(fingerprint(dir.path()).unwrap(), first);
        write("a.go", "onet");
        write("b.go", "wo");
        let second = fingerprint(dir.path()).unwrap();
        assert_ne!(second, first);
        fs::create_dir(dir.path().join("cmd")).unwrap();
        write("cmd/a.go", "");
        assert_ne!(fingerprint(dir.path()).unwrap(), second);
    }
}
