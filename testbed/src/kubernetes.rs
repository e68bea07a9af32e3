//! The programs of Kubernetes, from their Go modules.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::go_module::GoModule;

/// The release that the module files below name.
const VERSION: &str = "v1.36.3";
const MAJOR_MINOR: (&str, &str) = ("1", "36");

/// The module that names the release, and the exact sums of all it needs.
fn module() -> GoModule {
    let (major, minor) = MAJOR_MINOR;
    GoModule {
        name: "kubernetes",
        version: VERSION,
        files: [
            ("go.mod", include_str!("../kubernetes/go.mod")),
            ("go.sum", include_str!("../kubernetes/go.sum")),
            ("tools.go", include_str!("../kubernetes/tools.go")),
        ],
        packages: "k8s.io/kubernetes/cmd",
        tags: "",
        // Without these every program calls itself v0.0.0, and the API server then refuses newer features.
        link: format!(
            "-s -w -X k8s.io/component-base/version.gitVersion={VERSION} -X k8s.io/component-base/version.gitMajor={major} \
             -X k8s.io/component-base/version.gitMinor={minor} -X k8s.io/client-go/pkg/version.gitVersion={VERSION}"
        ),
    }
}

/// Where the cache keeps a program of this release.
pub(crate) fn cached(cache: &Path, program: &str) -> PathBuf {
    module().folder(cache).join(program)
}

/// Builds one of the programs that `tools.go` names into the cache, unless it is there by now.
pub(crate) fn build(cache: &Path, program: &str) -> Result<PathBuf, Error> {
    module().build(cache, program, usual_seconds(program))
}

/// Measured on two cores with the module cache empty, in this order: each finds more in the build cache than the one before.
fn usual_seconds(program: &str) -> u32 {
    match program {
        "kube-apiserver" => 260,
        "kube-controller-manager" => 75,
        "kube-scheduler" => 10,
        "kubelet" => 60,
        _ => 30,
    }
}
