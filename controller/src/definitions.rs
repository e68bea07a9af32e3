//! The `NetworkAttachmentDefinition`s: one for each SpiderMultusConfig, made, repaired and removed with it.
//!
//! Beside the plan, not in it: what a definition says follows from one object and from no cloud, so definitions are kept
//! also while no cloud can be read. [`judge`](mod@judge) decides, [`write`](mod@write) writes, [`status`](mod@status)
//! says what came of it.

mod judge;
mod scope;
mod status;
mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use api::SpiderMultusConfig;
use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use tokio::time::Instant;
use tracing::{info, warn};

use judge::Owned;
pub use scope::Scope;

use crate::events::{Events, Severity};
use crate::metrics::Metrics;
use crate::shelf::Delta;
use crate::wait::backoff;
use crate::world::{Seen, World};
use crate::writer::{Failure, Writer, some_at_once};

/// Shortest and longest wait before the writes that failed are tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How often a definition that is in the way is looked at again: we watch our own only.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What keeps the definitions, and when it is due.
pub(crate) struct Definitions {
    scope: Scope,
    /// When the next pass is due; `None`: when something changes.
    due: Option<Instant>,
    failures: u32,
}

/// What became of one object.
struct Outcome {
    seen: Vec<Seen>,
    reason: &'static str,
    /// How often something was in the way that no watch tells of.
    look_again: bool,
    failure: Option<Failure>,
}

impl Definitions {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope, due: None, failures: 0 }
    }

    /// Asks for a pass at `at` or sooner.
    pub(crate) fn ask(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Returns when a pass is due, if enough is known for one.
    pub(crate) fn due(&self, world: &World) -> Option<Instant> {
        self.due.filter(|_| self.scope != Scope::Nowhere && world.definitions_known())
    }

    /// Brings all definitions and statuses to where they should be; asks for the next pass if one is needed.
    pub(crate) async fn pass(
        &mut self,
        world: &mut World,
        writer: &Writer,
        events: &Events,
        metrics: &Metrics,
    ) {
        let now = Timestamp::now();
        let due = world.multus_configs().filter(|config| {
            config.metadata.deletion_timestamp.is_none()
                && self.scope.holds(&config.namespace().unwrap_or_default())
        });
        let look: &World = world;
        let owned = Owned::of(look);
        let outcomes =
            some_at_once(due.map(async |config| one(config, look, &owned, writer, events, now).await)).await;
        let mut reasons = BTreeMap::<&'static str, i64>::new();
        let (mut failures, mut look_again, mut interrupted) = (0, false, false);
        for outcome in outcomes {
            *reasons.entry(outcome.reason).or_default() += 1;
            failures += usize::from(outcome.failure.is_some());
            interrupted |= matches!(outcome.failure, Some(Failure::NotLeader));
            look_again |= outcome.look_again;
            for seen in outcome.seen {
                world.take(seen);
            }
        }
        // What we wrote ourselves is no news.
        world.definitions_seen();
        metrics.attachments(&reasons);
        self.failures = if failures == 0 { 0 } else { self.failures.saturating_add(1) };
        let retry = (failures > 0 && !interrupted).then(|| backoff(RETRY, self.failures - 1));
        let next = [retry, look_again.then_some(LOOK_AGAIN)].into_iter().flatten().min();
        self.due = next.map(|wait| Instant::now() + wait);
    }
}

/// Looks after one object: its definition, those that it had under other names, its status.
async fn one(
    config: &SpiderMultusConfig,
    world: &World,
    owned: &Owned<'_>,
    writer: &Writer,
    events: &Events,
    now: Timestamp,
) -> Outcome {
    let mut seen = Vec::new();
    let name = format!("{}/{}", config.namespace().unwrap_or_default(), config.name_any());
    let write::Made { verdict, definition, written, failure } =
        write::definition(config, world, writer).await;
    if let (Some(done), Some(definition)) = (written, &definition) {
        let key = write::key(definition);
        info!(multus = name, definition = key, "{}", done.sentence());
        events.report(
            config.object_ref(&()),
            Severity::Normal,
            done.reason(),
            "Apply",
            &format!("NetworkAttachmentDefinition {key} {}", done.sentence()),
        );
        seen.push(Seen::Definition(Delta::Here(key, definition.clone())));
    }
    let mut failure = failure;
    if verdict.status == model::Truth::True {
        for former in owned.former(config) {
            match write::delete(former, writer).await {
                Ok(()) => {
                    let key = write::key(former);
                    info!(multus = name, definition = key, "removed, the object names another now");
                    seen.push(Seen::Definition(Delta::Gone(key)));
                }
                Err(error) => failure = Some(error),
            }
        }
    }
    if let Some(failure) = &failure {
        warn!(multus = name, "definition not written: {failure}");
    }
    let key = definition.as_ref().or_else(|| owned.by(config).next()).map(write::key);
    let (reason, look_again) = (verdict.reason, judge::nobody_tells(&verdict));
    // What could not be tried is no news of the object.
    let untold = matches!(failure, Some(Failure::NotLeader | Failure::Unreachable(_) | Failure::Conflict));
    if !untold {
        match status::write(config, &verdict, key, now, writer, events).await {
            Ok(None) => {}
            Ok(Some(object)) => seen.push(Seen::Multus(Delta::Here(name, *object))),
            Err(error) => {
                warn!(multus = name, "status not written: {error}");
                failure = failure.or(Some(error));
            }
        }
    }
    Outcome { seen, reason, look_again, failure }
}
