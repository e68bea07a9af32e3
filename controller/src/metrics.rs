//! What the controller measures of itself, under names that begin with `spiderpool_cloud_`.

mod census;
mod label;

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use census::{AddressState, Census, Condition};
pub use label::{Change, Kind, Outcome, PassOutcome, ReloadOutcome, Verb};

use crate::lease::Role;
use census::Published;

/// What every name begins with, an underscore after it.
pub const PREFIX: &str = "spiderpool_cloud";

/// The controller's counters and gauges. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    leader: Gauge,
    passes: Family<PassLabels, Counter>,
    pass_duration: Histogram,
    steps: Family<StepLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    config_reloads: Family<ReloadLabels, Counter>,
    config_last_reload_successful: Gauge,
    events_dropped: Counter,
    attachments: Family<AttachmentLabels, Gauge>,
    census: Published,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttachmentLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    change: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

impl Metrics {
    /// Registers all metrics below [`PREFIX`]. Others may register theirs in the same registry before it is served;
    /// what must carry the prefix goes into `registry.sub_registry_with_prefix(PREFIX)`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            leader: Gauge::default(),
            passes: Family::default(),
            // From 1 ms, a pass without changes over a small cluster, to 65 s, a cold start of thousands of nodes.
            pass_duration: Histogram::new(exponential_buckets(0.001, 2.0, 17)),
            steps: Family::default(),
            writes: Family::default(),
            config_reloads: Family::default(),
            config_last_reload_successful: Gauge::default(),
            events_dropped: Counter::default(),
            attachments: Family::default(),
            census: Published::default(),
        };
        metrics.register(registry.sub_registry_with_prefix(PREFIX));
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let Self {
            leader,
            passes,
            pass_duration,
            steps,
            writes,
            config_reloads,
            config_last_reload_successful,
            events_dropped,
            attachments,
            census,
        } = self.clone();
        registry.register("leader", "Whether this process is the one that writes", leader);
        registry.register("passes", "Passes of observe, plan, apply", passes);
        registry.register_with_unit("pass_duration", "How long a pass took", Unit::Seconds, pass_duration);
        registry.register("steps", "Planned changes of pools", steps);
        registry.register("writes", "Writes to the Kubernetes API", writes);
        let help = "Changes of the configuration file that were seen";
        registry.register("config_reloads", help, config_reloads);
        let help = "Whether the configuration file, as it is now, is the one in force";
        registry.register("config_last_reload_successful", help, config_last_reload_successful);
        let help = "Events that could not be written; what they say is in the log";
        registry.register("events_dropped", help, events_dropped);
        let help =
            "SpiderMultusConfigs by the reason of their Ready condition; all but Generated are not ready";
        registry.register("attachments", help, attachments);
        registry.register_collector(Box::new(census));
    }

    /// Shows whether we lead. What a former leader counted of the cluster is shown no more.
    pub fn follow(&self, role: &Role) {
        self.leader.set(i64::from(role.leadership().is_some()));
        if role.leadership().is_none() {
            self.census.show(&Census::default());
            self.attachments.clear();
        }
    }

    /// Shows how many attachments there are by the reason of their condition.
    pub fn attachments(&self, reasons: &BTreeMap<&'static str, i64>) {
        self.attachments.clear();
        for (reason, count) in reasons {
            self.attachments.get_or_create(&AttachmentLabels { reason }).set(*count);
        }
    }

    /// Counts a pass that took `duration`.
    pub fn pass(&self, outcome: PassOutcome, duration: Duration) {
        self.passes.get_or_create(&PassLabels { outcome: outcome.as_str() }).inc();
        self.pass_duration.observe(duration.as_secs_f64());
    }

    /// Counts one step of a plan.
    pub fn step(&self, change: Change, outcome: Outcome) {
        let labels = StepLabels { change: change.as_str(), outcome: outcome.as_str() };
        self.steps.get_or_create(&labels).inc();
    }

    /// Counts one write to the Kubernetes API.
    pub fn write(&self, kind: Kind, verb: Verb, outcome: Outcome) {
        let labels = WriteLabels { kind: kind.as_str(), verb: verb.as_str(), outcome: outcome.as_str() };
        self.writes.get_or_create(&labels).inc();
    }

    /// Counts a change of the configuration file. Call it for the first reading too.
    pub fn reload(&self, outcome: ReloadOutcome) {
        self.config_reloads.get_or_create(&ReloadLabels { outcome: outcome.as_str() }).inc();
        self.config_last_reload_successful.set(match outcome {
            ReloadOutcome::Applied | ReloadOutcome::Unchanged => 1,
            ReloadOutcome::Invalid | ReloadOutcome::Unreadable => 0,
        });
    }

    /// Counts an Event that could not be written.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// Shows what a pass found: all of it at once, and nothing of the pass before.
    pub fn publish(&self, census: &Census) {
        self.census.show(census);
    }
}

#[cfg(test)]
mod tests;
