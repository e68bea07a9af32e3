//! One write to the API server: only while we lead, never for ever, and counted.

use std::future::Future;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use kube::Client;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::lease::Leadership;
use crate::metrics::{Change, Kind, Metrics, Outcome, Verb};
use crate::server::Health;

/// Longest time that one write may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many writes are under way at once. The API server's own limit for mutating requests is 200 by default
/// (`--max-mutating-requests-inflight`); a sixth of it leaves the others theirs.
const CONCURRENCY: usize = 32;

/// Runs futures that write, some at once, and collects what they return.
pub(crate) async fn some_at_once<T, F: Future<Output = T>>(work: impl IntoIterator<Item = F>) -> Vec<T> {
    stream::iter(work).buffer_unordered(CONCURRENCY).collect().await
}

/// Why a write did not happen, or is not known to have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// We do not lead any more, or were told to stop.
    #[error("this controller does not lead any more, or was told to stop")]
    NotLeader,
    /// Somebody changed or created the object since it was read: the next pass sees it.
    #[error("somebody else wrote it first")]
    Conflict,
    /// The object, or what it belongs to, is gone.
    #[error("it is gone: {0}")]
    Gone(String),
    /// The API server said no.
    #[error("the API server refused: {0}")]
    Refused(String),
    /// The API server did not answer, or not in time.
    #[error("the API server did not answer: {0}")]
    Unreachable(String),
}

/// Makes writes for one term of leadership.
#[derive(Clone)]
pub(crate) struct Writer {
    /// The connection.
    pub(crate) client: Client,
    leadership: Leadership,
    metrics: Metrics,
    health: Health,
    stop: CancellationToken,
}

impl Writer {
    /// Makes a writer that stops when the term ends, or with `stop`.
    #[must_use]
    pub(crate) fn new(
        client: Client,
        leadership: Leadership,
        metrics: Metrics,
        health: Health,
        stop: CancellationToken,
    ) -> Self {
        Self { client, leadership, metrics, health, stop }
    }

    /// Counts what became of one step of a plan.
    pub(crate) fn count_step(&self, change: Change, outcome: Outcome) {
        self.metrics.step(change, outcome);
    }

    /// Makes one write, if we still lead, within the time that is left of the term.
    ///
    /// # Errors
    /// See [`Failure`]; the write may have happened in spite of [`Failure::Unreachable`].
    pub(crate) async fn write<T>(
        &self,
        kind: Kind,
        verb: Verb,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        let now = Instant::now();
        self.health.beat(now);
        let result = match self.leadership.time_left(now) {
            Err(_) => Err(Failure::NotLeader),
            Ok(_) if self.stop.is_cancelled() => Err(Failure::NotLeader),
            Ok(left) => match timeout(left.min(DEADLINE), request).await {
                Ok(reply) => reply.map_err(failure),
                Err(_) => Err(Failure::Unreachable("it took too long".to_owned())),
            },
        };
        let outcome = result.as_ref().map_or_else(outcome, |_| Outcome::Done);
        self.metrics.write(kind, verb, outcome);
        result
    }
}

/// Returns the metric label of a failure.
#[must_use]
pub(crate) fn outcome(failure: &Failure) -> Outcome {
    match failure {
        Failure::NotLeader => Outcome::Skipped,
        Failure::Conflict | Failure::Gone(_) => Outcome::Conflict,
        Failure::Refused(_) => Outcome::Refused,
        Failure::Unreachable(_) => Outcome::Unreachable,
    }
}

fn failure(error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => match status.code {
            404 => Failure::Gone(status.message.clone()),
            409 => Failure::Conflict,
            _ => Failure::Refused(status.message.clone()),
        },
        other => Failure::Unreachable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test]
    async fn without_leadership_a_request_is_not_even_begun() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let now = Instant::now();
        // Nobody holds this term: it has ended.
        let leadership = Leadership::for_test(now);
        let metrics = Metrics::new(&mut Registry::default());
        let health = Health::new(DEADLINE, now);
        let writer = Writer::new(client, leadership, metrics, health, CancellationToken::new());
        let request = async { panic!("begun") };
        let outcome = writer.write::<()>(Kind::Pool, Verb::Create, request).await;
        assert!(matches!(outcome, Err(Failure::NotLeader)));
    }
}
