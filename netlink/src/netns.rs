use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
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

    /// The calling thread's own.
    pub fn current() -> Result<Self, Error> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The path by which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the calling thread into it for as long as a closure runs, and then back to `home`, which is where it was.
    ///
    /// For what can only be done from inside: sysctls, and opening sockets. [`Netns::run`] costs a thread, and its code.
    pub fn visit<T>(&self, home: &Self, work: impl FnOnce() -> T) -> Result<T, Error> {
        self.go()?;
        let done = work();
        // A descriptor that we hold: the kernel has no reason to refuse.
        home.go()?;
        Ok(done)
    }

    fn go(&self) -> Result<(), Error> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| Error::Netns { path: self.path.clone(), source: errno.into() })
    }

    /// Moves the calling thread into it, for good.
    ///
    /// Only for a program of one thread that has nothing more to do where it was: what it started or opened before stays there,
    /// and every thread that it starts later begins here. Saves a small program the 76 kB that the code of threads costs.
    pub fn enter(self) -> Result<(), Error> {
        self.go()
    }

    /// Runs a closure in it, on a thread of its own that ends with the closure: no other code ever runs in a namespace that it
    /// does not expect.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                let (file, path) = (self.file.try_clone(), self.path.clone());
                let file = file.map_err(|source| Error::Netns { path: path.clone(), source })?;
                Self { file, path }.enter()?;
                Ok(work())
            });
            entered.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
