//! Upstream Spiderpool, from its Go module: what ours is measured beside.

use std::path::PathBuf;

use crate::cache;
use crate::error::Error;
use crate::go_module::GoModule;

/// The newest release that the Go module proxy gives out. The checksum database has no sum of it: the one in `go.sum` is that of
/// the day when it was added.
const VERSION: &str = "v1.2.0";

fn module() -> GoModule {
    GoModule {
        name: "upstream",
        version: VERSION,
        files: [
            ("go.mod", include_str!("../peer/go.mod")),
            ("go.sum", include_str!("../peer/go.sum")),
            ("tools.go", include_str!("../peer/tools.go")),
        ],
        packages: "github.com/spidernet-io/spiderpool/cmd",
        tags: "",
        link: "-s -w".to_owned(),
    }
}

/// A program of upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Its CNI plugin `coordinator`.
    Coordinator,
}

impl Peer {
    /// The release.
    pub const VERSION: &str = VERSION;

    /// Builds it into the cache, unless it is there by now (minutes, for it stands on much of Kubernetes).
    ///
    /// # Errors
    /// When Go is missing or the module cannot be had.
    pub fn ensure(self) -> Result<PathBuf, Error> {
        let Self::Coordinator = self;
        let (module, cache) = (module(), cache::folder()?);
        let path = module.folder(&cache).join("coordinator");
        if path.exists() { Ok(path) } else { module.build(&cache, "coordinator", 120) }
    }
}
