//! Programs built from a pinned Go module, once per machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::CacheLock;
use crate::error::Error;
use crate::progress;

/// A release of somebody's programs, as a Go module of ours that requires it.
pub(crate) struct GoModule {
    /// What it is, in the folder's name and in messages.
    pub(crate) name: &'static str,
    /// The release that the module files name.
    pub(crate) version: &'static str,
    /// `go.mod`, `go.sum` and the file that names the programs, with their text.
    pub(crate) files: [(&'static str, &'static str); 3],
    /// What stands before a program's name in its package path.
    pub(crate) packages: &'static str,
    /// For `-tags`.
    pub(crate) tags: &'static str,
    /// For `-ldflags`.
    pub(crate) link: String,
}

impl GoModule {
    /// Where the cache keeps the programs of this release.
    pub(crate) fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}-{}", self.name, self.version))
    }

    /// Builds a program into the cache, unless it is there by now; `seconds` is how long that usually takes, for people who wait.
    pub(crate) fn build(&self, cache: &Path, program: &str, seconds: u32) -> Result<PathBuf, Error> {
        let _lock = CacheLock::take(cache)?;
        let folder = self.folder(cache);
        let path = folder.join(program);
        if path.exists() {
            return Ok(path);
        }
        let module = folder.join("module");
        fs::create_dir_all(&module).map_err(Error::file("create", &module))?;
        for (name, text) in self.files {
            let file = module.join(name);
            fs::write(&file, text).map_err(Error::file("write", &file))?;
        }
        // Renamed when it is whole, so that a build that was ended leaves nothing that looks finished.
        let unfinished = folder.join(format!("{program}.unfinished"));
        let what = format!(
            "building {program} {} from Go modules, once (about {seconds} s on two idle cores)",
            self.version
        );
        let command = self.go_build(program, &module, &unfinished);
        match progress::run(&what, command, &folder.join(format!("{program}.log"))) {
            Err(Error::Start { .. }) => return Err(self.no_go(program)),
            other => other?,
        }
        fs::rename(&unfinished, &path).map_err(Error::file("rename", &unfinished))?;
        Ok(path)
    }

    fn go_build(&self, program: &str, module: &Path, to: &Path) -> Command {
        let mut command = Command::new("go");
        command
            .args(["build", "-trimpath", "-tags", self.tags, "-ldflags", &self.link, "-o"])
            .arg(to)
            .arg(format!("{}/{program}", self.packages));
        command.current_dir(module).env("CGO_ENABLED", "0").env("GOWORK", "off");
        command
    }

    fn no_go(&self, program: &str) -> Error {
        let remedy = format!(
            "it is built from Go modules, so install Go 1.26 or newer and put `go` on PATH (or put a program of {} on PATH)",
            self.name
        );
        Error::Missing { program: program.to_owned(), remedy }
    }
}
