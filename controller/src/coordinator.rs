//! The cluster's SpiderCoordinator: its status says where services and the overlay's pods are, which agents tell plugins.
//!
//! Beside the plan, as the definitions are. [`read`](mod@read) asks, [`judge`](mod@judge) decides, [`status`](mod@status)
//! says; a pass is a task of its own, because it waits for eight answers.

mod blocks;
mod facts;
mod judge;
mod read;
mod sources;
mod status;

use std::collections::BTreeSet;
use std::time::Duration;

use api::{SpiderCoordinator, labels};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use model::AddressRange;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::events::Events;
use crate::metrics::{Kind, Verb};
use crate::wait::backoff;
use crate::world::World;
use crate::writer::{Failure, Writer};
use status::Findings;

/// How often the cluster is asked again.
const INTERVAL: Duration = Duration::from_mins(1);
/// Shortest and longest wait before what could not be read or written is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), INTERVAL);
/// How long a status that somebody else wrote stands: two controllers must not write against each other without end.
const STAND: Duration = Duration::from_secs(5);

/// What keeps the object's status, and when it is due.
pub(crate) struct Coordinator {
    due: Instant,
    failures: u32,
    /// Whether it was said that there is no object.
    missing_said: bool,
    /// The pass under way: one at most.
    pass: JoinSet<Outcome>,
}

/// What became of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All that there is was read, and said.
    Done,
    /// Something is to be tried again.
    Again,
}

/// What changed of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// Its status only.
    Status,
    /// What people write.
    Spec,
}

impl Coordinator {
    pub(crate) fn new() -> Self {
        Self { due: Instant::now(), failures: 0, missing_said: false, pass: JoinSet::new() }
    }

    /// Begins anew: what another leader did is not known.
    pub(crate) fn reset(&mut self) {
        self.pass.abort_all();
        self.pass.detach_all();
        self.missing_said = false;
        self.due = Instant::now();
    }

    /// Takes in that the object changed.
    pub(crate) fn ask(&mut self, news: News) {
        let wait = match news {
            News::Spec => Duration::ZERO,
            News::Status => STAND,
        };
        self.due = self.due.min(Instant::now() + wait);
    }

    /// Returns when a pass is due: not before the object was asked for, nor while one is under way.
    pub(crate) fn due(&self, world: &World) -> Option<Instant> {
        (self.pass.is_empty() && world.coordinator_known()).then_some(self.due)
    }

    /// Begins a pass over what `world` shows.
    pub(crate) fn begin(&mut self, world: &World, name: &str, writer: Writer, events: &Events) {
        self.due = Instant::now() + INTERVAL;
        let Some(object) = world.coordinator() else {
            if !std::mem::replace(&mut self.missing_said, true) {
                info!(
                    coordinator = name,
                    "there is no SpiderCoordinator of this name: agents answer no coordinator plugin until there is"
                );
            }
            return;
        };
        self.missing_said = false;
        if object.metadata.deletion_timestamp.is_some() {
            // What goes needs no status any more.
            self.pass.spawn(release(object.clone(), writer));
            return;
        }
        let underlay: Vec<AddressRange> =
            world.pools().values().flat_map(|pool| pool.ips.ranges()).copied().collect();
        let nodes = world.node_names();
        self.pass.spawn(pass(object.clone(), underlay, nodes, writer, events.clone()));
    }

    /// Waits for the end of the pass; without one, returns none.
    pub(crate) async fn ended(&mut self) -> Option<Outcome> {
        // One that panicked said so itself.
        Some(self.pass.join_next().await?.unwrap_or(Outcome::Again))
    }

    /// Takes in what became of a pass.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.failures = match outcome {
            Outcome::Done => 0,
            Outcome::Again => {
                self.due = self.due.min(Instant::now() + backoff(RETRY, self.failures));
                self.failures.saturating_add(1)
            }
        };
    }
}

/// Lets an object go that upstream's finalizer holds: it guards nothing, and upstream's controller may be gone.
async fn release(object: SpiderCoordinator, writer: Writer) -> Outcome {
    let rest: Vec<&String> = object.finalizers().iter().filter(|it| *it != labels::FINALIZER).collect();
    if rest.len() == object.finalizers().len() {
        return Outcome::Done;
    }
    let api: Api<SpiderCoordinator> = Api::all(writer.client.clone());
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": rest}});
    let (name, params, patch) = (object.name_any(), PatchParams::default(), Patch::Merge(&patch));
    match writer.write(Kind::Coordinator, Verb::Patch, api.patch(&name, &params, &patch)).await {
        Ok(_) | Err(Failure::Gone(_) | Failure::Conflict | Failure::NotLeader) => Outcome::Done,
        Err(failure) => {
            warn!(coordinator = name, "finalizer {} not removed: {failure}", labels::FINALIZER);
            Outcome::Again
        }
    }
}

async fn pass(
    object: SpiderCoordinator,
    underlay: Vec<AddressRange>,
    nodes: Option<BTreeSet<String>>,
    writer: Writer,
    events: Events,
) -> Outcome {
    let facts = Box::pin(read::facts(&writer.client)).await;
    let findings = Findings {
        services: judge::services(&object.spec, &facts),
        overlay: judge::overlay(&object.spec, &facts, &underlay),
    };
    let wanted = status::status(&object, &findings, nodes.as_ref(), Timestamp::now());
    let name = object.name_any();
    match status::write(&object, &wanted, &writer, &events).await {
        Ok(true) => info!(
            coordinator = name,
            phase = wanted.phase,
            services = ?wanted.service_cidr,
            overlay = ?wanted.overlay_pod_cidr,
            "status written"
        ),
        // Nothing new; or it changed since it was read, which the watch tells; or another leads.
        Ok(false) | Err(Failure::Conflict | Failure::NotLeader) => {}
        Err(failure) => {
            warn!(coordinator = name, "status not written: {failure}");
            return Outcome::Again;
        }
    }
    if findings.unread() { Outcome::Again } else { Outcome::Done }
}
