//! What the agent measures, under upstream's documented names.
//!
//! Upstream's counters are shown with the suffix `_total`, as its exporter does. Its gauges of the average, largest, smallest
//! and latest duration are there for dashboards that use them; the histograms, which begin at 1 ms, say more.

mod node;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use node::{Look, Masquerade, NodeMetrics};

/// What every name begins with, an underscore after it.
pub const PREFIX: &str = "spiderpool";

/// What came of a request for addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// It got them.
    Done,
    /// No pool serves the pod.
    NoPool,
    /// The pools that serve it have no address left.
    Exhausted,
    /// The pool could not be written in time.
    RetriesExhausted,
    /// The pod is not there, or has ended, or the request makes no sense.
    Refused,
    /// Anything else.
    Internal,
}

/// What came of a request to take addresses back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// They are free, or were already, or are kept for good reason.
    Done,
    /// The pool could not be written in time.
    RetriesExhausted,
    /// Anything else.
    Internal,
}

/// What became of a write of a `SpiderEndpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointWrite {
    /// It was made.
    Done,
    /// It was not, and is tried again.
    Failed,
}

/// The agent's counters and gauges. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    allocations: Counter,
    allocation_failures: Counter,
    allocation_conflicts: Counter,
    allocation_no_pool: Counter,
    allocation_used_out: Counter,
    allocation_retries_exhausted: Counter,
    allocation_internal: Counter,
    allocation_refused: Counter,
    releases: Counter,
    release_failures: Counter,
    release_conflicts: Counter,
    release_retries_exhausted: Counter,
    release_internal: Counter,
    allocation_durations: Durations,
    release_durations: Durations,
    cancelled: Counter,
    queued_dels: Counter,
    endpoint_writes: Family<OutcomeLabel, Counter>,
    endpoints_waiting: Gauge,
    in_flight: Gauge,
    pods: Gauge,
    /// Of the node's network.
    pub node: NodeMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Upstream's five views of one duration.
#[derive(Clone, Debug)]
struct Durations {
    histogram: Histogram,
    average: Gauge<f64, AtomicU64>,
    max: Gauge<f64, AtomicU64>,
    min: Gauge<f64, AtomicU64>,
    latest: Gauge<f64, AtomicU64>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    count: u32,
    sum: Duration,
    max: Duration,
    min: Option<Duration>,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            // From 1 ms, below one write to a fast API server, to 65 s, beyond the deadline of a request.
            histogram: Histogram::new(exponential_buckets(0.001, 2.0, 17)),
            average: Gauge::default(),
            max: Gauge::default(),
            min: Gauge::default(),
            latest: Gauge::default(),
            seen: Arc::default(),
        }
    }
}

impl Durations {
    fn observe(&self, took: Duration) {
        self.histogram.observe(took.as_secs_f64());
        let seen = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.count = seen.count.saturating_add(1);
            seen.sum = seen.sum.saturating_add(took);
            seen.max = seen.max.max(took);
            seen.min = Some(seen.min.map_or(took, |min| min.min(took)));
            *seen
        };
        self.average.set(seen.sum.as_secs_f64() / f64::from(seen.count));
        self.max.set(seen.max.as_secs_f64());
        self.min.set(seen.min.unwrap_or_default().as_secs_f64());
        self.latest.set(took.as_secs_f64());
    }

    fn register(&self, what: &str, registry: &mut Registry) {
        let Self { histogram, average, max, min, latest, seen: _ } = self.clone();
        let help = format!("How long an {what} took");
        registry.register_with_unit(format!("ipam_{what}_duration"), help, Unit::Seconds, histogram);
        for (name, which, gauge) in [
            ("average", "on average", average),
            ("max", "at most", max),
            ("min", "at least", min),
            ("latest", "last", latest),
        ] {
            let help = format!("How long an {what} took {which}");
            registry.register_with_unit(format!("ipam_{what}_{name}_duration"), help, Unit::Seconds, gauge);
        }
    }
}

impl Metrics {
    /// Registers all metrics below [`PREFIX`].
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.register(registry.sub_registry_with_prefix(PREFIX));
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let Self {
            allocations,
            allocation_failures,
            allocation_conflicts,
            allocation_no_pool,
            allocation_used_out,
            allocation_retries_exhausted,
            allocation_internal,
            allocation_refused,
            releases,
            release_failures,
            release_conflicts,
            release_retries_exhausted,
            release_internal,
            allocation_durations,
            release_durations,
            cancelled,
            queued_dels,
            endpoint_writes,
            endpoints_waiting,
            in_flight,
            pods,
            node,
        } = self.clone();
        for (name, help, counter) in [
            ("ipam_allocation_counts", "Requests for addresses", allocations),
            ("ipam_allocation_failure_counts", "Requests for addresses that got none", allocation_failures),
            (
                "ipam_allocation_update_ippool_conflict_counts",
                "Writes of a pool, for a new address, that another writer was ahead of",
                allocation_conflicts,
            ),
            (
                "ipam_allocation_err_no_available_pool_counts",
                "Requests for addresses that no pool serves",
                allocation_no_pool,
            ),
            (
                "ipam_allocation_err_ip_used_out_counts",
                "Requests for addresses whose pools have none left",
                allocation_used_out,
            ),
            (
                "ipam_allocation_err_retries_exhausted_counts",
                "Requests for addresses whose pool could not be written in time",
                allocation_retries_exhausted,
            ),
            (
                "ipam_allocation_err_internal_counts",
                "Requests for addresses that failed for another reason",
                allocation_internal,
            ),
            (
                "ipam_allocation_err_refused_counts",
                "Requests for addresses of pods that are not there or have ended",
                allocation_refused,
            ),
            ("ipam_release_counts", "Requests to take addresses back", releases),
            ("ipam_release_failure_counts", "Requests to take addresses back that failed", release_failures),
            (
                "ipam_release_update_ippool_conflict_counts",
                "Writes of a pool, for addresses that came back, that another writer was ahead of",
                release_conflicts,
            ),
            (
                "ipam_release_err_retries_exhausted_counts",
                "Requests to take addresses back whose pool could not be written in time",
                release_retries_exhausted,
            ),
            (
                "ipam_release_err_internal_counts",
                "Requests to take addresses back that failed for another reason",
                release_internal,
            ),
            (
                "ipam_allocation_cancelled_counts",
                "Requests for addresses whose plugin went away before the answer",
                cancelled,
            ),
            (
                "ipam_queued_del_counts",
                "DELs that plugins left on the disk and that were carried out",
                queued_dels,
            ),
        ] {
            registry.register(name, help, counter);
        }
        allocation_durations.register("allocation", registry);
        release_durations.register("release", registry);
        registry.register("ipam_endpoint_writes", "Writes of SpiderEndpoints", endpoint_writes);
        let help = "SpiderEndpoints that wait to be written";
        registry.register("ipam_endpoints_waiting", help, endpoints_waiting);
        registry.register("ipam_requests_in_flight", "Requests of plugins under way", in_flight);
        registry.register("ipam_pods", "Pods of this node that the API shows", pods);
        node.register(registry);
    }

    /// Counts a request for addresses that took `took`.
    pub fn allocation(&self, outcome: Allocation, took: Duration) {
        self.allocations.inc();
        self.allocation_durations.observe(took);
        if outcome != Allocation::Done {
            self.allocation_failures.inc();
        }
        match outcome {
            Allocation::Done => 0,
            Allocation::NoPool => self.allocation_no_pool.inc(),
            Allocation::Exhausted => self.allocation_used_out.inc(),
            Allocation::RetriesExhausted => self.allocation_retries_exhausted.inc(),
            Allocation::Refused => self.allocation_refused.inc(),
            Allocation::Internal => self.allocation_internal.inc(),
        };
    }

    /// Counts a request to take addresses back that took `took`.
    pub fn release(&self, outcome: Release, took: Duration) {
        self.releases.inc();
        self.release_durations.observe(took);
        if outcome != Release::Done {
            self.release_failures.inc();
        }
        match outcome {
            Release::Done => 0,
            Release::RetriesExhausted => self.release_retries_exhausted.inc(),
            Release::Internal => self.release_internal.inc(),
        };
    }

    /// Counts a write of a pool that another writer was ahead of; `releases`: it only frees addresses.
    pub fn conflict(&self, batch: Batch) {
        match batch {
            Batch::Allocates => self.allocation_conflicts.inc(),
            Batch::Releases => self.release_conflicts.inc(),
        };
    }

    /// Counts a request whose plugin went away.
    pub fn cancelled(&self) {
        self.cancelled.inc();
    }

    /// Counts a DEL from the disk.
    pub fn queued_del(&self) {
        self.queued_dels.inc();
    }

    /// Counts a write of an endpoint.
    pub fn endpoint(&self, outcome: EndpointWrite) {
        let outcome = match outcome {
            EndpointWrite::Done => "done",
            EndpointWrite::Failed => "failed",
        };
        self.endpoint_writes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Shows how many endpoints wait to be written.
    pub fn endpoints_waiting(&self, count: usize) {
        self.endpoints_waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Shows how many pods of this node the API shows.
    pub fn pods(&self, count: usize) {
        self.pods.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a request as being under way until the return value is dropped.
    #[must_use]
    pub fn under_way(&self) -> UnderWay {
        self.in_flight.inc();
        UnderWay(self.in_flight.clone())
    }

    /// Returns whether requests of plugins are under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }
}

/// What a write of a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// It gives out an address at least.
    Allocates,
    /// It only frees addresses.
    Releases,
}

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn upstreams_documented_names_are_there() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        metrics.allocation(Allocation::Exhausted, Duration::from_millis(3));
        metrics.release(Release::Done, Duration::from_millis(2));
        let text = text(&registry);
        for line in [
            "spiderpool_ipam_allocation_counts_total 1",
            "spiderpool_ipam_allocation_failure_counts_total 1",
            "spiderpool_ipam_allocation_err_ip_used_out_counts_total 1",
            "spiderpool_ipam_allocation_err_no_available_pool_counts_total 0",
            "spiderpool_ipam_allocation_duration_seconds_count 1",
            "spiderpool_ipam_allocation_average_duration_seconds 0.003",
            "spiderpool_ipam_allocation_latest_duration_seconds 0.003",
            "spiderpool_ipam_release_counts_total 1",
            "spiderpool_ipam_release_failure_counts_total 0",
            "spiderpool_ipam_release_max_duration_seconds 0.002",
        ] {
            assert!(text.lines().any(|have| have == line), "{line:?} is not in\n{text}");
        }
        assert!(
            text.contains("spiderpool_ipam_allocation_duration_seconds_bucket{le=\"0.001\"} 0"),
            "{text}"
        );
    }

    #[test]
    fn the_average_is_of_all_durations() {
        let durations = Durations::default();
        durations.observe(Duration::from_secs(1));
        durations.observe(Duration::from_secs(3));
        assert!((durations.average.get() - 2.0).abs() < 1e-9);
        assert!((durations.min.get() - 1.0).abs() < 1e-9 && (durations.max.get() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_request_is_under_way_until_it_is_dropped() {
        let metrics = Metrics::default();
        let one = metrics.under_way();
        assert_eq!(metrics.in_flight.get(), 1);
        drop(one);
        assert_eq!(metrics.in_flight.get(), 0);
    }
}
