//! What one pass found in the cluster, shown as one consistent set of gauges.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{Family as AddressFamily, ProviderName, Truth};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Unit;

use super::label::label;

label! {
    /// What pods may do with an address of a pool.
    AddressState {
        /// It can be given to a pod.
        Offered = "offered",
        /// It is in the pool's `excludeIPs`: no longer given out, not yet removed.
        Denied = "denied",
        /// A pod holds it, and its NIC does not show it any more.
        InUseAbsent = "in_use_absent",
    }
}

label! {
    /// A condition of a `SpiderNode`.
    Condition {
        /// Its NICs were read.
        Discovered = "Discovered",
        /// Its pools say what was read.
        Synced = "Synced",
        /// Its pools hold addresses.
        SufficientIps = "SufficientIPs",
    }
}

/// What one pass found. Fill it, then [`publish`](super::Metrics::publish) it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Census {
    pools: BTreeMap<(String, &'static str), u64>,
    addresses: BTreeMap<(String, &'static str, &'static str), u128>,
    nodes: BTreeMap<(&'static str, &'static str), u64>,
    held_back: u128,
    oldest_unsynced_node: Duration,
}

impl Census {
    /// Counts one pool of ours.
    pub fn pool(&mut self, provider: &ProviderName, family: AddressFamily) {
        *self.pools.entry((provider.to_string(), family_label(family))).or_default() += 1;
    }

    /// Counts `count` addresses of a pool of ours.
    pub fn addresses(
        &mut self,
        provider: &ProviderName,
        family: AddressFamily,
        state: AddressState,
        count: u128,
    ) {
        let key = (provider.to_string(), family_label(family), state.as_str());
        let sum = self.addresses.entry(key).or_default();
        *sum = sum.saturating_add(count);
    }

    /// Counts one node by one of its conditions.
    pub fn node(&mut self, condition: Condition, status: Truth) {
        let status = match status {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        };
        *self.nodes.entry((condition.as_str(), status)).or_default() += 1;
    }

    /// Counts addresses that stay only because too many would go at once.
    pub fn held_back(&mut self, count: u128) {
        self.held_back = self.held_back.saturating_add(count);
    }

    /// Notes for how long a node has not been synced. The longest counts.
    pub fn unsynced_for(&mut self, time: Duration) {
        self.oldest_unsynced_node = self.oldest_unsynced_node.max(time);
    }
}

const fn family_label(family: AddressFamily) -> &'static str {
    match family {
        AddressFamily::V4 => "ipv4",
        AddressFamily::V6 => "ipv6",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    provider: String,
    family: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AddressLabels {
    provider: String,
    family: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    condition: &'static str,
    status: &'static str,
}

/// A gauge for counts that can pass 2⁶⁴, as those of IPv6 prefixes do: exact up to 2⁵³, close beyond.
type Count = Gauge<f64, AtomicU64>;

/// The last census. A scrape sees one census or the next, never a mixture, and no label of a provider that is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Published(Arc<Mutex<Census>>);

impl Published {
    pub(super) fn show(&self, census: &Census) {
        // Whole values are stored, so one that a panic left behind is whole too.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = census.clone();
    }
}

impl Collector for Published {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let census = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Census { pools, addresses, nodes, held_back, oldest_unsynced_node } = census;

        let family = Family::<PoolLabels, Count>::default();
        for ((provider, of), count) in pools {
            set(&family, &PoolLabels { provider, family: of }, u128::from(count));
        }
        show(&mut encoder, "pools", "Pools that the controller owns.", None, &family)?;

        let family = Family::<AddressLabels, Count>::default();
        for ((provider, of, state), count) in addresses {
            set(&family, &AddressLabels { provider, family: of, state }, count);
        }
        show(&mut encoder, "addresses", "Addresses in pools that the controller owns.", None, &family)?;

        let family = Family::<NodeLabels, Count>::default();
        for ((condition, status), count) in nodes {
            set(&family, &NodeLabels { condition, status }, u128::from(count));
        }
        show(&mut encoder, "nodes", "Nodes by condition.", None, &family)?;

        let help = "Addresses that stay in pools only because too many would go at once.";
        show(&mut encoder, "held_back", help, None, &ConstGauge::new(float(held_back)))?;

        let help = "For how long the node that waits longest has not been synced.";
        let waiting = ConstGauge::new(oldest_unsynced_node.as_secs_f64());
        show(&mut encoder, "oldest_unsynced_node", help, Some(&Unit::Seconds), &waiting)
    }
}

fn set<L: Clone + Eq + std::hash::Hash>(family: &Family<L, Count>, labels: &L, count: u128) {
    family.get_or_create(labels).set(float(count));
}

#[expect(clippy::cast_precision_loss, reason = "a metric's value is a float; see Count")]
fn float(count: u128) -> f64 {
    count as f64
}

fn show(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}
