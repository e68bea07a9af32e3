//! The unix socket that plugins talk to: bound so that only root reaches it, and never half there.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::{Instant, sleep};

/// How long we wait for another agent that still answers on the socket: a former one that is about to end.
const FORMER: Duration = Duration::from_secs(12);

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The socket in the file system. Dropping it removes the file, unless another agent has put its own in that place.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    inode: u64,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error(
        "another process listens on {}: end it, or give this agent a socket of its own by --socket",
        path.display()
    )]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot listen on {}: cannot {step}: {source}; choose another path by --socket", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Socket {
    /// Listens on `path`. What a dead agent left there is replaced; a living one is waited for a little, and never replaced.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub async fn bind(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let failed = |step| move |source| SocketError::Failed { path: path.to_owned(), step, source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed("make its folder"))?;
        }
        alone(path).await?;
        // Under another name first: who finds the socket by its name finds one that is complete.
        let temporary = path.with_added_extension(std::process::id().to_string());
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("remove what a former agent left")(error));
            }
            _ => {}
        }
        let socket = UnixSocket::new_stream().map_err(failed("make a socket"))?;
        socket.bind(&temporary).map_err(failed("bind it"))?;
        // Before anybody can connect.
        std::fs::set_permissions(&temporary, Permissions::from_mode(0o600))
            .map_err(failed("keep it from others"))?;
        let listener = socket.listen(BACKLOG).map_err(failed("listen"))?;
        let inode = std::fs::symlink_metadata(&temporary).map_err(failed("look at it"))?.ino();
        std::fs::rename(&temporary, path).map_err(failed("put it in its place"))?;
        Ok((Self { path: path.to_owned(), inode }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            // Nothing can be done about a file that stays: the next agent replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes sure that nobody answers on the socket.
async fn alone(path: &Path) -> Result<(), SocketError> {
    let start = Instant::now();
    while UnixStream::connect(path).await.is_ok() {
        if start.elapsed() >= FORMER {
            return Err(SocketError::Taken { path: path.to_owned() });
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_owner_reaches_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/spiderpool.sock");
        let (socket, _listener) = Socket::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_dead_agent_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_socket, _listener) = Socket::bind(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_living_agent_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (_socket, _listener) = Socket::bind(&path).await.unwrap();
        assert!(matches!(Socket::bind(&path).await, Err(SocketError::Taken { .. })));
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_former_agent_is_waited_for_and_does_not_remove_our_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (former, listener) = Socket::bind(&path).await.unwrap();
        let end = tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            drop(listener);
            former
        });
        let (_socket, _listener) = Socket::bind(&path).await.unwrap();
        drop(end.await.unwrap());
        UnixStream::connect(&path).await.unwrap();
    }
}
