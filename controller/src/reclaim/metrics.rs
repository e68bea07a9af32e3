//! Counts of reclaim, under upstream's names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Upstream's prefix: its dashboards know these two.
const PREFIX: &str = "spiderpool";

/// The counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    freed: Counter,
    failures: Counter,
}

impl Metrics {
    /// Registers the counters.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let help = "Addresses that the controller freed because their node could not";
        registry.register("ip_gc_counts", help, metrics.freed.clone());
        let help = "Readings and writes of reclaim that failed; nothing was freed, the next pass tries again";
        registry.register("ip_gc_failure_counts", help, metrics.failures.clone());
        metrics
    }

    pub(super) fn freed(&self, count: usize) {
        self.freed.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
