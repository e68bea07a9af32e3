//! As much HTTP/1.1 as one request and its reply need. Both axum's and Go's servers are understood.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// A reply of the agent is a kilobyte or two; more than this is not the agent.
const REPLY_LIMIT: usize = 1 << 20;

/// How far a request came, which decides whether the agent may have acted on it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody was there to read it.
    Connect(io::Error),
    /// The connection was made, and then failed, was cut, or was silent too long.
    Talk(io::Error),
    /// What came back is no HTTP.
    Garbage(&'static str),
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Asks once. All of it takes no longer than `patience`.
pub(crate) fn request(
    socket: &Path,
    method: &str,
    path: &str,
    body: &[u8],
    patience: Duration,
) -> Result<Reply, Failure> {
    let mut wire = Wire {
        stream: dial(socket, patience).map_err(Failure::Connect)?,
        deadline: Instant::now() + patience,
        seen: Vec::new(),
        read: 0,
    };
    let mut message = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    message.extend_from_slice(body);
    // One that refuses early closes while we write, and may have said why.
    let sent = wire.write(&message);
    match (wire.reply(), sent) {
        (Err(Failure::Talk(_)), Err(error)) => Err(Failure::Talk(error)),
        (reply, _) => reply,
    }
}

/// Connects with a limit, which std cannot: an agent that is stopped leaves its backlog full, and connecting then waits for ever.
fn dial(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    connect(&socket, &address)?;
    Ok(UnixStream::from(socket))
}

struct Wire {
    stream: UnixStream,
    deadline: Instant,
    /// All that came so far.
    seen: Vec<u8>,
    /// How much of it was taken.
    read: usize,
}

impl Wire {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    fn write(&mut self, mut message: &[u8]) -> io::Result<()> {
        while !message.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match self.stream.write(message) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => message = message.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error)),
            }
        }
        Ok(())
    }

    /// Takes more from the agent; nothing at the end.
    fn more(&mut self) -> Result<usize, Failure> {
        let mut piece = [0; 4096];
        loop {
            let left = self.left().map_err(Failure::Talk)?;
            self.stream.set_read_timeout(Some(left)).map_err(Failure::Talk)?;
            match self.stream.read(&mut piece) {
                Ok(len) => {
                    self.seen.extend_from_slice(piece.get(..len).unwrap_or_default());
                    // Heads, chunk sizes and bodies together.
                    return if self.seen.len() > REPLY_LIMIT {
                        Err(Failure::Garbage("more than 1 MiB"))
                    } else {
                        Ok(len)
                    };
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Talk(timed_out(error))),
            }
        }
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut searched = self.read;
        loop {
            if let Some(at) = self.seen.iter().skip(searched).position(|byte| *byte == b'\n') {
                let end = searched + at;
                let line = String::from_utf8_lossy(self.seen.get(self.read..end).unwrap_or_default())
                    .trim_end_matches('\r')
                    .to_owned();
                self.read = end + 1;
                return Ok(line);
            }
            searched = self.seen.len();
            if self.more()? == 0 {
                return Err(cut());
            }
        }
    }

    fn take(&mut self, len: usize) -> Result<Vec<u8>, Failure> {
        if len > REPLY_LIMIT {
            return Err(Failure::Garbage("more than 1 MiB"));
        }
        while self.seen.len() - self.read < len {
            if self.more()? == 0 {
                return Err(cut());
            }
        }
        let taken = self.seen.get(self.read..self.read + len).unwrap_or_default().to_vec();
        self.read += len;
        Ok(taken)
    }

    fn reply(&mut self) -> Result<Reply, Failure> {
        loop {
            let status = self.status()?;
            let (mut length, mut chunked) = (None, false);
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    break;
                }
                let (name, value) =
                    line.split_once(':').ok_or(Failure::Garbage("a header without a colon"))?;
                if name.eq_ignore_ascii_case("content-length") {
                    length = Some(
                        value.trim().parse().map_err(|_| Failure::Garbage("a length that is no number"))?,
                    );
                } else if name.eq_ignore_ascii_case("transfer-encoding") {
                    chunked = value.trim().eq_ignore_ascii_case("chunked");
                }
            }
            // Only a provisional answer.
            if (100..200).contains(&status) {
                continue;
            }
            let body = match (status, chunked, length) {
                (204 | 304, ..) => Vec::new(),
                (_, true, _) => self.chunks()?,
                (_, false, Some(length)) => self.take(length)?,
                (_, false, None) => {
                    while self.more()? > 0 {}
                    self.seen.split_off(self.read)
                }
            };
            return Ok(Reply { status, body });
        }
    }

    fn status(&mut self) -> Result<u16, Failure> {
        let line = self.line()?;
        let code = line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .filter(|code| code.len() == 3);
        code.and_then(|code| code.parse().ok()).ok_or(Failure::Garbage("a first line that is not HTTP/1.1's"))
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| Failure::Garbage("a chunk whose size is no number"))?;
            if size == 0 {
                // Trailers end with an empty line; they say nothing to us.
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            if !self.line()?.is_empty() {
                return Err(Failure::Garbage("a chunk longer than its size"));
            }
        }
    }
}

fn cut() -> Failure {
    Failure::Talk(ErrorKind::UnexpectedEof.into())
}

/// The kernel calls an expired socket timeout "would block".
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}
