//! etcd from Debian.

use std::path::{Path, PathBuf};

use crate::debian::Packages;
use crate::error::Error;

const ETCD: Packages = Packages { name: "etcd", names: &["etcd-server"], seconds: 3 };
const PROGRAM: &str = "usr/bin/etcd";

/// Where the cache keeps the program.
pub(crate) fn cached(cache: &Path) -> PathBuf {
    ETCD.folder(cache).join(PROGRAM)
}

/// Fetches and unpacks Debian's package, unless it is there by now.
pub(crate) fn unpack(cache: &Path) -> Result<PathBuf, Error> {
    Ok(ETCD.unpack(cache, PROGRAM)?.join(PROGRAM))
}
