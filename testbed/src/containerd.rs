//! containerd from its Go module: Debian's is too old for this kubelet.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::go_module::GoModule;

/// The release that the module files below name.
const VERSION: &str = "v2.4.2";

/// containerd itself, what it starts for each pod, and its command line.
pub(crate) const PROGRAMS: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];

fn module() -> GoModule {
    GoModule {
        name: "containerd",
        version: VERSION,
        files: [
            ("go.mod", include_str!("../containerd/go.mod")),
            ("go.sum", include_str!("../containerd/go.sum")),
            ("tools.go", include_str!("../containerd/tools.go")),
        ],
        packages: "github.com/containerd/containerd/v2/cmd",
        // Snapshotters that nodes here cannot use; two of them want C headers.
        tags: "no_btrfs no_devmapper no_zfs",
        link: format!("-s -w -X github.com/containerd/containerd/v2/version.Version={VERSION}"),
    }
}

/// Brings all of it into one folder of the cache, which is returned.
pub(crate) fn ensure(cache: &Path) -> Result<PathBuf, Error> {
    let module = module();
    for program in PROGRAMS {
        if !module.folder(cache).join(program).exists() {
            module.build(cache, program, usual_seconds(program))?;
        }
    }
    Ok(module.folder(cache))
}

/// Measured on two cores with the module cache empty, in this order.
fn usual_seconds(program: &str) -> u32 {
    match program {
        "containerd" => 60,
        _ => 10,
    }
}
