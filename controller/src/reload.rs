//! The configuration file: read at the start, and again when it changes.
//!
//! A change counts when the file has read the same twice in a row: half of a file that is being written can be a valid
//! one that lists fewer nodes. The content is compared, not times or inode numbers, so it does not matter whether an
//! editor writes, renames, or kubelet swaps the symlinks of a mounted `ConfigMap`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{Config, Error, Mistake};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::metrics::{Metrics, ReloadOutcome};

/// How often the file is read. Kubelet takes up to a minute to bring a changed `ConfigMap`; this adds little.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// Follows one file.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    metrics: Metrics,
    /// What was last judged, good or not.
    judged: Content,
    /// What the last reading found, if it was something else.
    pending: Option<Content>,
}

/// What one reading found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Text(Vec<u8>),
    /// It could not be read. The kind is enough to tell one trouble from another.
    Nothing(ErrorKind),
}

impl Follower {
    /// Reads the configuration for the first time.
    ///
    /// # Errors
    /// A file that is missing, unreadable or wrong: there is nothing to go on with.
    pub async fn open(path: &Path, metrics: Metrics) -> Result<(Self, Arc<Config>), Error> {
        let judged = Content::of(path).await;
        let config = judged.parse(path)?;
        metrics.reload(ReloadOutcome::Applied);
        Ok((Self { path: path.to_owned(), metrics, judged, pending: None }, Arc::new(config)))
    }

    /// Reads the file every `interval` (see [`INTERVAL`]) until `shutdown`, and sends each new valid configuration.
    ///
    /// While the file is wrong or gone, the last good one stays in force, and each new trouble is one line in the log.
    pub async fn run(
        mut self,
        interval: Duration,
        shutdown: CancellationToken,
        configs: watch::Sender<Arc<Config>>,
    ) {
        let mut ticks = tokio::time::interval(interval);
        // A machine that was asleep owes no readings.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => self.look(&configs).await,
            }
        }
    }

    async fn look(&mut self, configs: &watch::Sender<Arc<Config>>) {
        let content = Content::of(&self.path).await;
        if content == self.judged {
            self.pending = None;
            return;
        }
        if self.pending.as_ref() != Some(&content) {
            self.pending = Some(content);
            return;
        }
        self.pending = None;
        self.judged = content;
        let path = self.path.display().to_string();
        let outcome = match self.judged.parse(&self.path) {
            Ok(config) => {
                let changed = configs.send_if_modified(|current| {
                    let changed = **current != config;
                    if changed {
                        *current = Arc::new(config);
                    }
                    changed
                });
                info!(path, changed, "configuration read again");
                if changed { ReloadOutcome::Applied } else { ReloadOutcome::Unchanged }
            }
            Err(error) => {
                error!(path, "the configuration that was read last stays in force: {error}");
                match error {
                    Error::Wrong { .. } => ReloadOutcome::Invalid,
                    Error::Missing { .. } | Error::Unreadable { .. } => ReloadOutcome::Unreadable,
                }
            }
        };
        self.metrics.reload(outcome);
    }
}

impl Content {
    async fn of(path: &Path) -> Self {
        match tokio::fs::read(path).await {
            Ok(bytes) => Self::Text(bytes),
            Err(error) => Self::Nothing(error.kind()),
        }
    }

    fn parse(&self, path: &Path) -> Result<Config, Error> {
        let bytes = match self {
            Self::Text(bytes) => bytes,
            Self::Nothing(ErrorKind::NotFound) => return Err(Error::Missing { path: path.to_owned() }),
            Self::Nothing(kind) => {
                return Err(Error::Unreadable { path: path.to_owned(), source: (*kind).into() });
            }
        };
        let origin = path.display().to_string();
        match std::str::from_utf8(bytes) {
            Ok(text) => Config::parse(text, &origin),
            Err(error) => {
                let message = format!("byte {} is no UTF-8 text", error.valid_up_to() + 1);
                Err(Error::Wrong { mistakes: vec![Mistake { origin, line: None, column: None, message }] })
            }
        }
    }
}

#[cfg(test)]
mod tests;
