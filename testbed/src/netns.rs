//! Network namespaces that nobody has to remove: the kernel does when the last process in them ends.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::error::Error;

/// A network namespace of ours. It has no name anywhere, so two worlds cannot meet and a crash leaves nothing.
#[derive(Debug, Clone)]
pub(crate) struct Netns {
    handle: Arc<File>,
}

impl Netns {
    /// Makes an empty one, its loopback up. Needs root.
    pub(crate) fn create() -> Result<Self, Error> {
        let made = on_thread(|| {
            #[expect(
                unsafe_code,
                reason = "a namespace of its own for a thread that shares no file descriptors table flag"
            )]
            unsafe {
                unshare_unsafe(UnshareFlags::NEWNET)?;
            }
            File::open(own_path())
        });
        let handle = made.map_err(|source| Error::Network {
            action: "create a network namespace (this needs root)".to_owned(),
            source,
        })?;
        Ok(Self { handle: Arc::new(handle) })
    }

    /// Runs `work` on a thread inside. Sockets that it opens stay inside, whoever uses them later.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    /// Moves the calling thread inside, for good.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Listens inside.
    pub(crate) fn listen(&self, address: SocketAddr) -> Result<TcpListener, Error> {
        let bound = self.run(|| TcpListener::bind(address)).and_then(|bound| bound);
        bound.map_err(|source| Error::Network { action: format!("listen on {address}"), source })
    }

    /// Makes `command` start inside.
    pub(crate) fn place(&self, command: &mut Command) {
        let handle = Arc::clone(&self.handle);
        let enter = move || {
            let handle: BorrowedFd<'_> = handle.as_fd();
            move_into_link_name_space(handle, Some(LinkNameSpaceType::Network))?;
            Ok(())
        };
        #[expect(
            unsafe_code,
            reason = "between fork and exec the closure makes one system call, which is async-signal-safe, and allocates nothing"
        )]
        unsafe {
            command.pre_exec(enter);
        }
    }

    /// A path by which others can enter while this process lives.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd()))
    }
}

fn own_path() -> &'static str {
    "/proc/thread-self/ns/net"
}

/// Runs `work` on a thread of its own, whose namespace may change.
fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread in the network namespace panicked")))
}
