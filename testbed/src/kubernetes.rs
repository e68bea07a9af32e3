//! Builds the programs of Kubernetes from their Go modules, once per machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::CacheLock;
use crate::error::Error;
use crate::progress;

/// The release that the module files below name.
pub(crate) const VERSION: &str = "v1.36.3";
const MAJOR_MINOR: (&str, &str) = ("1", "36");

/// The module that names the release, and the exact sums of all it needs.
const MODULE: [(&str, &str); 3] = [
    ("go.mod", include_str!("../kubernetes/go.mod")),
    ("go.sum", include_str!("../kubernetes/go.sum")),
    ("tools.go", include_str!("../kubernetes/tools.go")),
];

/// Where the cache keeps the programs of this release.
pub(crate) fn folder(cache: &Path) -> PathBuf {
    cache.join(format!("kubernetes-{VERSION}"))
}

/// Builds one of the programs that `tools.go` names into the cache, unless it is there by now.
pub(crate) fn build(cache: &Path, program: &str) -> Result<PathBuf, Error> {
    let _lock = CacheLock::take(cache)?;
    let folder = folder(cache);
    let path = folder.join(program);
    if path.exists() {
        return Ok(path);
    }
    let module = folder.join("module");
    fs::create_dir_all(&module).map_err(Error::file("create", &module))?;
    for (name, text) in MODULE {
        let file = module.join(name);
        fs::write(&file, text).map_err(Error::file("write", &file))?;
    }
    // Renamed when it is whole, so that a build that was ended leaves nothing that looks finished.
    let unfinished = folder.join(format!("{program}.unfinished"));
    let what = format!(
        "building {program} {VERSION} from Go modules, once (about {} s on two idle cores)",
        usual_seconds(program)
    );
    match progress::run(
        &what,
        go_build(program, &module, &unfinished),
        &folder.join(format!("{program}.log")),
    ) {
        Err(Error::Start { .. }) => return Err(no_go(program)),
        other => other?,
    }
    fs::rename(&unfinished, &path).map_err(Error::file("rename", &unfinished))?;
    Ok(path)
}

fn go_build(program: &str, module: &Path, to: &Path) -> Command {
    let (major, minor) = MAJOR_MINOR;
    // Without these every program calls itself v0.0.0, and the API server then refuses newer features.
    let flags = format!(
        "-s -w -X k8s.io/component-base/version.gitVersion={VERSION} -X k8s.io/component-base/version.gitMajor={major} \
         -X k8s.io/component-base/version.gitMinor={minor} -X k8s.io/client-go/pkg/version.gitVersion={VERSION}"
    );
    let mut command = Command::new("go");
    command
        .args(["build", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(to)
        .arg(format!("k8s.io/kubernetes/cmd/{program}"));
    command.current_dir(module).env("CGO_ENABLED", "0").env("GOWORK", "off");
    command
}

/// Measured on two cores with the module cache empty, in this order: each finds more in the build cache than the one before.
fn usual_seconds(program: &str) -> u32 {
    match program {
        "kube-apiserver" => 260,
        "kube-controller-manager" => 75,
        "kube-scheduler" => 10,
        _ => 30,
    }
}

fn no_go(program: &str) -> Error {
    let remedy = "it is built from Go modules, so install Go 1.26 or newer and put `go` on PATH \
                  (or put the programs of Kubernetes 1.31 or newer on PATH or in KUBEBUILDER_ASSETS)";
    Error::Missing { program: program.to_owned(), remedy: remedy.to_owned() }
}
