//! One run against clouds and cluster: everything is asked at once, and nothing is waited for beyond the deadline.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::arguments::Timeout;
use crate::failure::Failure;

/// A person who waits this long wants to know for what.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the waiting line is written anew.
const REFRESH: Duration = Duration::from_secs(1);

/// Runs a command, and does not wait for what it leaves behind: a name that is being resolved blocks a thread.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

/// What is being waited for, and until when.
#[derive(Debug)]
pub(crate) struct Session {
    began: Instant,
    timeout: Duration,
    pending: Mutex<BTreeSet<String>>,
}

/// The deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {0:?}")]
pub(crate) struct Late(Duration);

impl Session {
    /// Begins now.
    pub(crate) fn begin(Timeout(timeout): Timeout) -> Self {
        Self { began: Instant::now(), timeout, pending: Mutex::default() }
    }

    /// Returns how long it has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for one answer, at most until the deadline of the whole session.
    pub(crate) async fn wait<T>(&self, whom: &str, answer: impl Future<Output = T>) -> Result<T, Late> {
        self.pending().insert(whom.to_owned());
        let outcome = timeout_at(self.began + self.timeout, answer).await;
        self.pending().remove(whom);
        outcome.map_err(|_| Late(self.timeout))
    }

    /// Waits for all answers, and says on a terminal whom it is waiting for.
    pub(crate) async fn watched<T>(&self, answers: impl Future<Output = T>) -> T {
        let mut answers = std::pin::pin!(answers);
        let mut next = self.began + PATIENCE;
        let mut line = Line::default();
        loop {
            tokio::select! {
                biased;
                all = &mut answers => return all,
                () = sleep_until(next), if std::io::stderr().is_terminal() => {
                    let whom: Vec<String> = self.pending().iter().cloned().collect();
                    line.show(&format!("waiting for {} ({} s)", whom.join(", "), self.elapsed().as_secs()));
                    next += REFRESH;
                }
            }
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line on the terminal that is written over, and gone in the end.
#[derive(Default)]
struct Line {
    shown: Option<()>,
}

impl Line {
    fn show(&mut self, text: &str) {
        // Without stderr nobody is waiting.
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        self.shown = Some(());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_waited_for_beyond_the_deadline_of_the_whole() {
        let session = Session::begin(Timeout(Duration::from_millis(20)));
        let (late, on_time) = tokio::join!(
            session.wait("provider a", std::future::pending::<()>()),
            session.wait("provider b", async { 7 })
        );
        assert_eq!((late, on_time), (Err(Late(Duration::from_millis(20))), Ok(7)));
        assert_eq!(session.wait("provider c", std::future::pending::<()>()).await, late);
        assert!(session.pending().is_empty());
    }
}
