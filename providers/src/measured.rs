//! A provider whose calls are counted and timed.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use model::{Claim, InstanceId, Inventory, Node, ProviderName};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::{Error, Provider};

/// Upper bounds in seconds: from one page of a near cloud to the minute after which every provider gives up.
const BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Calls {
    provider: String,
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Durations {
    provider: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfProvider {
    provider: String,
}

/// The metrics of all providers of one program; clones share their values.
#[derive(Clone, Debug)]
pub struct ProviderMetrics {
    calls: Family<Calls, Counter>,
    durations: Family<Durations, Histogram, fn() -> Histogram>,
    listed_at: Family<OfProvider, Gauge<f64, AtomicU64>>,
    nics: Family<OfProvider, Gauge>,
}

impl ProviderMetrics {
    /// Adds the metrics to a registry, which may have a prefix of its own:
    ///
    /// - `provider_calls_total{provider, method, outcome}`: `outcome` is `ok` or the error's class
    /// - `provider_call_duration_seconds{provider, method}`
    /// - `provider_last_listing_timestamp_seconds{provider}`: when the last complete listing ended, since the epoch
    /// - `provider_nics{provider}`: how many NICs that listing held
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            listed_at: Family::default(),
            nics: Family::default(),
        };
        let Self { calls, durations, listed_at, nics } = &metrics;
        registry.register(
            "provider_calls",
            "Readings asked of a provider, by outcome: ok or the error's class",
            calls.clone(),
        );
        registry.register_with_unit(
            "provider_call_duration",
            "How long a provider took for one reading, all its pages and retries included",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register_with_unit(
            "provider_last_listing_timestamp",
            "When the last complete listing ended",
            Unit::Seconds,
            listed_at.clone(),
        );
        registry.register("provider_nics", "NICs in the last complete listing", nics.clone());
        metrics
    }
}

/// A provider whose `list` and `describe` are counted and timed; what it answers is not changed.
#[derive(Debug)]
pub struct Measured<P> {
    inner: P,
    metrics: ProviderMetrics,
}

impl<P: Provider> Measured<P> {
    /// Measures a provider.
    pub fn new(inner: P, metrics: ProviderMetrics) -> Self {
        Self { inner, metrics }
    }

    async fn measure(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<Inventory, Error>>,
    ) -> Result<Inventory, Error> {
        let begin = Instant::now();
        let result = call.await;
        let provider = self.inner.name().to_string();
        let outcome = result.as_ref().map_or_else(|error| error.class.as_str(), |_| "ok");
        let ProviderMetrics { calls, durations, listed_at: _, nics: _ } = &self.metrics;
        calls.get_or_create(&Calls { provider: provider.clone(), method, outcome }).inc();
        durations.get_or_create(&Durations { provider, method }).observe(begin.elapsed().as_secs_f64());
        result
    }
}

impl<P: Provider> Provider for Measured<P> {
    fn name(&self) -> &ProviderName {
        self.inner.name()
    }

    fn claim(&self, node: &Node) -> Claim {
        self.inner.claim(node)
    }

    async fn list(&self) -> Result<Inventory, Error> {
        let inventory = self.measure("list", self.inner.list()).await?;
        let provider = OfProvider { provider: self.inner.name().to_string() };
        // A clock before 1970 is shown as 0, like a listing that never ended.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.metrics.listed_at.get_or_create(&provider).set(now.as_secs_f64());
        let nics = i64::try_from(inventory.nic_count()).unwrap_or(i64::MAX);
        self.metrics.nics.get_or_create(&provider).set(nics);
        Ok(inventory)
    }

    async fn describe(&self, instances: &BTreeSet<InstanceId>) -> Result<Inventory, Error> {
        self.measure("describe", self.inner.describe(instances)).await
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::Class;

    /// Lists an empty world, and is throttled whenever it is to describe something.
    struct Moody(ProviderName);

    impl Provider for Moody {
        fn name(&self) -> &ProviderName {
            &self.0
        }

        fn claim(&self, _: &Node) -> Claim {
            Claim::NotMine
        }

        async fn list(&self) -> Result<Inventory, Error> {
            Ok(Inventory::default())
        }

        async fn describe(&self, _: &BTreeSet<InstanceId>) -> Result<Inventory, Error> {
            Err(Error::new(Class::Throttled, "slow down"))
        }
    }

    async fn metrics_after(calls: impl AsyncFnOnce(&Measured<Moody>)) -> String {
        let mut registry = Registry::default();
        let measured = Measured::new(Moody("hz".into()), ProviderMetrics::register(&mut registry));
        calls(&measured).await;
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[tokio::test]
    async fn calls_are_counted_by_outcome() {
        let text = metrics_after(async |provider| {
            provider.list().await.unwrap();
            provider.describe(&BTreeSet::new()).await.unwrap_err();
            provider.describe(&BTreeSet::new()).await.unwrap_err();
        })
        .await;
        for line in [
            r#"provider_calls_total{provider="hz",method="list",outcome="ok"} 1"#,
            r#"provider_calls_total{provider="hz",method="describe",outcome="throttled"} 2"#,
            r#"provider_call_duration_seconds_count{provider="hz",method="describe"} 2"#,
            r#"provider_nics{provider="hz"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn only_a_complete_listing_has_a_time() {
        let name = r#"provider_last_listing_timestamp_seconds{provider="hz"} "#;
        let failed = metrics_after(async |provider| drop(provider.describe(&BTreeSet::new()).await)).await;
        assert!(!failed.contains(name), "{failed}");
        let listed = metrics_after(async |provider| drop(provider.list().await)).await;
        let time = listed.split_once(name).unwrap().1.split_whitespace().next().unwrap();
        assert!(time.parse::<f64>().unwrap() > 1.6e9, "{time} is not a time of this century");
    }
}
