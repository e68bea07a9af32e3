use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use cni::{Code, Error};
use serde::Serialize;

use crate::http::{self, Failure, Reply};

/// 100: the agent cannot be reached, or cannot be understood.
pub const UNREACHABLE: Code = Code::Plugin(100);
/// 101: the agent was reached and refused.
pub const REFUSED: Code = Code::Plugin(101);

/// This node's agent, behind its socket.
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
}

/// What is asked of the agent, for messages.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// HTTP's.
    pub method: &'static str,
    /// One of `wire`'s, with what follows `?` if anything does.
    pub path: &'a str,
    /// Completes "cannot …".
    pub purpose: &'a str,
    /// How long all of it may take.
    pub patience: Duration,
}

/// Whether the agent did as it was asked.
#[derive(Debug)]
pub enum Outcome {
    /// It did, and said this.
    Done(Vec<u8>),
    /// It has no such path: upstream's agent, or an older one of ours.
    Unsupported,
    /// It refused.
    Refused(Error),
}

impl Agent {
    /// Where its socket is.
    #[must_use]
    pub const fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks once. Fails when the agent cannot be reached or understood.
    pub fn call(&self, call: Call<'_>, body: &impl Serialize) -> Result<Outcome, Error> {
        let Call { method, path, purpose, patience } = call;
        let body = serde_json::to_vec(body).map_err(|error| {
            Error::new(
                Code::Decode,
                format!("cannot {purpose}: the request cannot be written as JSON: {error}"),
            )
        })?;
        // Who asks with `()` has nothing to say.
        let body = if body == b"null" { Vec::new() } else { body };
        let reply = http::request(&self.socket, method, path, &body, patience)
            .map_err(|failure| self.failed(purpose, patience, &failure))?;
        Ok(match reply.status {
            200..300 => Outcome::Done(reply.body),
            404 | 405 | 501 => Outcome::Unsupported,
            _ => Outcome::Refused(self.refused(purpose, &reply)),
        })
    }

    /// For calls that every agent knows.
    pub fn must(&self, call: Call<'_>, body: &impl Serialize) -> Result<Vec<u8>, Error> {
        match self.call(call, body)? {
            Outcome::Done(body) => Ok(body),
            Outcome::Refused(error) => Err(error),
            Outcome::Unsupported => {
                let why = format!(
                    "cannot {}: whoever listens at {} does not know {} {}: is it spiderpool-agent?",
                    call.purpose,
                    self.socket.display(),
                    call.method,
                    call.path
                );
                Err(Error::new(UNREACHABLE, why))
            }
        }
    }

    fn failed(&self, purpose: &str, patience: Duration, failure: &Failure) -> Error {
        let socket = self.socket.display();
        let why = match failure {
            Failure::Connect(error) => match error.kind() {
                ErrorKind::NotFound => format!(
                    "spiderpool-agent's socket {socket} does not exist: see whether the agent's pod runs on this node"
                ),
                ErrorKind::ConnectionRefused => format!(
                    "nobody listens at spiderpool-agent's socket {socket}: see why the agent's pod on this node stopped"
                ),
                ErrorKind::WouldBlock => format!(
                    "spiderpool-agent did not take the connection at {socket} within {} s: see whether the agent's pod on this node hangs",
                    patience.as_secs()
                ),
                _ => format!("connecting to spiderpool-agent's socket {socket} failed: {error}"),
            },
            Failure::Talk(error) => match error.kind() {
                ErrorKind::TimedOut => format!(
                    "spiderpool-agent at {socket} did not answer within {} s: see the agent's log on this node",
                    patience.as_secs()
                ),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    format!(
                        "spiderpool-agent at {socket} closed the connection before it had answered: see whether the agent's pod on this node was restarted"
                    )
                }
                _ => format!("talking to spiderpool-agent at {socket} failed: {error}"),
            },
            Failure::Garbage(what) => {
                format!("what listens at {socket} answered with {what}: is it spiderpool-agent?")
            }
        };
        Error::new(UNREACHABLE, format!("cannot {purpose}: {why}"))
    }

    fn refused(&self, purpose: &str, reply: &Reply) -> Error {
        // Upstream's agent writes its reason as a JSON text.
        let reason = serde_json::from_slice::<String>(&reply.body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&reply.body).into_owned());
        let reason = reason.trim();
        let reason = if reason.is_empty() { "without a reason: see its log on this node" } else { reason };
        let code = if reply.status == 503 { Code::TryAgain } else { REFUSED };
        Error::new(
            code,
            format!("cannot {purpose}: spiderpool-agent at {} refused: {reason}", self.socket.display()),
        )
        .with_details(format!("HTTP status {}", reply.status))
    }
}
