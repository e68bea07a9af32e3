//! How the API server's questions were answered.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// How one question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Yes.
    Admitted,
    /// No.
    Refused,
    /// Not all pools were known yet.
    Unknown,
    /// It was none.
    Bad,
}

impl Metrics {
    /// Registers the counters.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix(crate::metrics::PREFIX);
        let help = "Questions of the API server whether a SpiderIPPool may be written, by answer";
        registry.register("admissions", help, metrics.0.clone());
        metrics
    }

    pub(super) fn count(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Admitted => "admitted",
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
            Outcome::Bad => "bad",
        };
        self.0.get_or_create(&Labels { outcome }).inc();
    }
}
