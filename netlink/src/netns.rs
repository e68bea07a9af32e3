use std::fs::File;
use std::os::fd::AsFd;
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// A network namespace, held open.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

impl Netns {
    /// Opens one by its path, such as `/var/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        File::open(&path)
            .map(|file| Self { file, path: path.clone() })
            .map_err(|source| Error::Netns { path, source })
    }

    /// Runs a closure in it, on a thread of its own that ends with the closure: no other code ever runs in a namespace that it
    /// does not expect.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|errno| Error::Netns { path: self.path.clone(), source: errno.into() })?;
                Ok(work())
            });
            entered.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }
}
