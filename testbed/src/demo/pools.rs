//! The pools of the cluster as `kubectl get --watch` tells of them, and how they compare with the cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use testbed::aliyun::Cloud;
use testbed::{Controller, Signal, spawn_tied};
use tokio::sync::watch;
use tokio::time::timeout;

/// A demo whose pools are not right by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often we look whether the controller still runs while we wait for the pools.
const LOOK: Duration = Duration::from_millis(200);

/// An address on a node.
pub(crate) type Place = (String, IpAddr);

/// What the demo reads of a pool.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: Vec<String>,
    #[serde(default)]
    ips: Vec<String>,
    #[serde(default, rename = "excludeIPs")]
    exclude_ips: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: Object,
}

/// The pools at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools(BTreeMap<String, Spec>);

impl Pools {
    fn follow(&mut self, event: Event) {
        let Event { r#type, object: Object { metadata: Metadata { name }, spec } } = event;
        if r#type == "DELETED" {
            self.0.remove(&name);
        } else {
            self.0.insert(name, spec);
        }
    }

    /// The addresses that pods may get.
    pub(crate) fn offered(&self) -> BTreeSet<Place> {
        self.places(|spec| {
            let excluded = addresses(&spec.exclude_ips);
            addresses(&spec.ips).into_iter().filter(|ip| !excluded.contains(ip)).collect()
        })
    }

    /// The addresses that the pools still list, the excluded ones too.
    pub(crate) fn listed(&self) -> BTreeSet<Place> {
        self.places(|spec| addresses(&spec.ips))
    }

    fn places(&self, of: impl Fn(&Spec) -> BTreeSet<IpAddr>) -> BTreeSet<Place> {
        let places = self.0.values().flat_map(|spec| {
            let ips = of(spec);
            spec.node_name.iter().flat_map(move |node| ips.clone().into_iter().map(|ip| (node.clone(), ip)))
        });
        places.collect()
    }

    /// How many pools are bound to the node.
    pub(crate) fn of_node(&self, node: &str) -> usize {
        self.0.values().filter(|spec| spec.node_name.iter().any(|name| name == node)).count()
    }
}

/// The addresses of ranges as pools list them, `a-b` or `a`. The demo's are short.
fn addresses(ranges: &[String]) -> BTreeSet<IpAddr> {
    ranges.iter().flat_map(|range| expand(range)).collect()
}

fn expand(range: &str) -> Vec<IpAddr> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse(), last.parse()) {
        (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) => {
            (u32::from(first)..=u32::from(last)).map(|n| IpAddr::V4(n.into())).collect()
        }
        (Ok(IpAddr::V6(first)), Ok(IpAddr::V6(last))) => {
            (u128::from(first)..=u128::from(last)).map(|n| IpAddr::V6(n.into())).collect()
        }
        _ => Vec::new(),
    }
}

/// The addresses that the cloud assigned for pods: all but each NIC's own.
pub(crate) fn assigned(cloud: &Cloud) -> BTreeSet<Place> {
    let world = cloud.world();
    let mut places = BTreeSet::new();
    for instance in world.instances() {
        for nic in world.nics_of(&instance.id) {
            let v4 = nic.secondary.iter().copied().map(IpAddr::V4);
            let v6 = nic.ipv6.iter().copied().map(IpAddr::V6);
            places.extend(v4.chain(v6).map(|ip| (instance.name.clone(), ip)));
        }
    }
    places
}

/// A running `kubectl get --watch`; ended on drop.
pub(crate) struct PoolWatch {
    kubectl: Child,
    pools: watch::Receiver<Pools>,
}

impl PoolWatch {
    /// Starts to follow the pools of the cluster.
    pub(crate) fn start(kubectl: &Path, kubeconfig: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(kubectl);
        command
            .args([
                "get",
                "spiderippools",
                "--watch",
                "--output-watch-events",
                "--output=json",
                "--kubeconfig",
            ])
            .arg(kubeconfig)
            .env("KUBECACHEDIR", folder.join("kubectl-cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut kubectl = spawn_tied(command, Signal::KILL).context("cannot start kubectl")?;
        let stdout = kubectl.stdout.take().context("kubectl has no stdout")?;
        let (sender, pools) = watch::channel(Pools::default());
        // Ends with kubectl's output, and so with this watch.
        std::thread::spawn(move || {
            let events = serde_json::Deserializer::from_reader(BufReader::new(stdout)).into_iter::<Event>();
            for event in events.map_while(Result::ok) {
                sender.send_modify(|pools| pools.follow(event));
            }
        });
        Ok(Self { kubectl, pools })
    }

    /// Waits until the pools are as `right` wants them, and returns how long after `since` that was.
    ///
    /// # Errors
    /// When they are not within 30 s, or the controller or kubectl ends before: with what was seen last.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        since: Instant,
        controller: &mut Controller,
        right: impl Fn(&Pools) -> bool,
    ) -> anyhow::Result<Duration> {
        loop {
            if right(&self.pools.borrow_and_update()) {
                return Ok(since.elapsed());
            }
            controller.check()?;
            if since.elapsed() > PATIENCE {
                let seen = self.pools.borrow().clone();
                bail!("not within {} s: {what}\nThe pools are {seen:#?}", PATIENCE.as_secs());
            }
            if let Ok(change) = timeout(LOOK, self.pools.changed()).await {
                change.context("`kubectl get spiderippools --watch` ended by itself")?;
            }
        }
    }
}

impl Drop for PoolWatch {
    fn drop(&mut self) {
        if self.kubectl.kill().is_ok() {
            drop(self.kubectl.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(events: serde_json::Value) -> Pools {
        let mut pools = Pools::default();
        for event in serde_json::from_value::<Vec<Event>>(events).unwrap() {
            pools.follow(event);
        }
        pools
    }

    fn event(kind: &str, name: &str, ips: &[&str], excluded: &[&str]) -> serde_json::Value {
        let spec = serde_json::json!({"nodeName": ["a"], "ips": ips, "excludeIPs": excluded});
        serde_json::json!({"type": kind, "object": {"metadata": {"name": name}, "spec": spec}})
    }

    #[test]
    fn an_excluded_address_is_listed_and_not_offered() {
        let pools = pools(serde_json::json!([event("ADDED", "p", &["10.0.0.1-10.0.0.3"], &["10.0.0.2"])]));
        let place = ("a".to_owned(), "10.0.0.2".parse().unwrap());
        assert_eq!((pools.listed().len(), pools.offered().len()), (3, 2));
        assert!(pools.listed().contains(&place) && !pools.offered().contains(&place));
    }

    #[test]
    fn a_deleted_pool_is_gone() {
        let events = serde_json::json!([
            event("ADDED", "p", &["10.0.0.1"], &[]),
            event("ADDED", "q", &["2001:db8::9-2001:db8::a"], &[]),
            event("DELETED", "p", &["10.0.0.1"], &[]),
        ]);
        let pools = pools(events);
        assert_eq!((pools.of_node("a"), pools.listed().len()), (1, 2));
    }
}
