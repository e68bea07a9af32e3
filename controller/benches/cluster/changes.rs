//! The time from a change in the cloud to the pool, at the size of the walkthrough: two nodes, two NICs each.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use api::{SpiderIPPool, labels};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use testbed::aliyun::{NicSpec, Refusal, Topology};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::stage::{Controller, Stage, eventually};
use crate::{Size, spread};

const NIC: &str = "eni-bp1worker1";
const LISTING: &str = "DescribeNetworkInterfaces";

pub(crate) async fn measure(size: &Size) {
    println!("== a real API server: 2 nodes, 2 NICs each, changes in the cloud, resync 1 s");
    let stage = Stage::new(Topology::seed()).await;
    let mut pools = watch(&stage);
    let controller = synced(&stage, "1s").await;
    addresses(&stage, &mut pools, size.samples).await;
    controller.stop().await;

    let controller = synced(&stage, "10m").await;
    joins(&stage, &mut pools, size.samples).await;
    controller.stop().await;
}

/// Starts a controller and waits until it is at rest.
async fn synced(stage: &Stage, resync: &str) -> Controller {
    let controller = stage.controller(resync);
    eventually("the pools of the walkthrough", Duration::from_millis(50), async || {
        let passes = controller.metric("spiderpool_cloud_passes_total").await;
        (stage.pools().await == 8 && passes > 0.0).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    controller
}

async fn addresses(stage: &Stage, pools: &mut UnboundedReceiver<(Timestamp, SpiderIPPool)>, samples: u8) {
    let mut added = Split::default();
    let mut denied = Split::default();
    let mut removed = Vec::new();
    for at in 0..samples {
        let address = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 200 + at));
        // Changes come at any time between two listings.
        tokio::time::sleep(Duration::from_millis(u64::from(at) * 97)).await;
        let begun = stage.sim.edit(|cloud| {
            cloud.assign(NIC, &[address]).unwrap();
            cloud.clock.now()
        });
        let seen = until(pools, |pool| offers(pool, address)).await;
        added.take(stage, begun, seen);
        tokio::time::sleep(Duration::from_millis(u64::from(samples - at) * 97)).await;
        let begun = stage.sim.edit(|cloud| {
            cloud.unassign(NIC, &[address]).unwrap();
            cloud.clock.now()
        });
        let seen = until(pools, |pool| of_nic(pool, NIC) && is_v4(pool) && !offers(pool, address)).await;
        denied.take(stage, begun, seen);
        let seen = until(pools, |pool| of_nic(pool, NIC) && is_v4(pool) && !names(pool, address)).await;
        removed.push(between(begun, seen));
    }
    let Split { whole, waiting, reaction } = &mut added;
    spread("address added in the cloud, to the pool", whole, "");
    spread("  of it waiting for the next listing", waiting, ", resync 1 s");
    spread("  of it from that listing to the pool", reaction, "");
    let Split { whole, waiting, reaction } = &mut denied;
    spread("address removed in the cloud, to not offered", whole, "");
    spread("  of it waiting for the next listing", waiting, ", resync 1 s");
    spread("  of it from that listing to the pool", reaction, "");
    spread("address removed in the cloud, to gone from the pool", &mut removed, ", after a second listing");
}

async fn joins(stage: &Stage, pools: &mut UnboundedReceiver<(Timestamp, SpiderIPPool)>, samples: u8) {
    let mut times = Vec::new();
    for at in 0..samples {
        let name = format!("late{at}");
        stage.sim.edit(|cloud| instance(cloud, &name, at)).unwrap();
        let begun = Timestamp::now();
        stage.join(vec![(name.clone(), format!("cn-hangzhou.i-{name}"))]).await;
        let mut last = begun;
        for _ in 0..4 {
            let node = name.as_str();
            last = until(pools, |pool| {
                pool.annotations().get(labels::NODE_NAME).is_some_and(|of| of == node)
                    && pool.status.is_none()
            })
            .await;
        }
        times.push(between(begun, last));
    }
    spread("node joins, to its last of 4 pools", &mut times, ", 500 ms of it the join window");
}

/// Times of one kind of change.
#[derive(Default)]
struct Split {
    whole: Vec<Duration>,
    waiting: Vec<Duration>,
    reaction: Vec<Duration>,
}

impl Split {
    /// Splits the time at the first listing that began after the change.
    fn take(&mut self, stage: &Stage, begun: Timestamp, seen: Timestamp) {
        let log = stage.sim.log();
        let listed = log.iter().find(|call| call.action == LISTING && call.at >= begun).unwrap().at;
        self.whole.push(between(begun, seen));
        self.waiting.push(between(begun, listed));
        self.reaction.push(between(listed, seen));
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Watches the pools as anybody may: when each event arrived, and what it showed.
fn watch(stage: &Stage) -> UnboundedReceiver<(Timestamp, SpiderIPPool)> {
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    let (told, pools) = unbounded_channel();
    tokio::spawn(async move {
        let mut stream = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
        while let Ok(Some(pool)) = stream.try_next().await {
            if told.send((Timestamp::now(), pool)).is_err() {
                return;
            }
        }
    });
    pools
}

/// Waits for a pool that looks so, and returns when it was seen.
async fn until(
    pools: &mut UnboundedReceiver<(Timestamp, SpiderIPPool)>,
    looks: impl Fn(&SpiderIPPool) -> bool,
) -> Timestamp {
    let wait = async {
        while let Some((at, pool)) = pools.recv().await {
            if looks(&pool) {
                return at;
            }
        }
        Timestamp::MAX
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap()
}

fn of_nic(pool: &SpiderIPPool, nic: &str) -> bool {
    pool.annotations().get(labels::NIC_ID).is_some_and(|of| of == nic)
}

fn is_v4(pool: &SpiderIPPool) -> bool {
    pool.labels().get(labels::FAMILY).is_some_and(|family| family == "v4")
}

fn holds(ranges: &[String], address: IpAddr) -> bool {
    model::AddressSet::parse(ranges).unwrap().contains(address)
}

fn names(pool: &SpiderIPPool, address: IpAddr) -> bool {
    holds(&pool.spec.ips, address)
}

fn offers(pool: &SpiderIPPool, address: IpAddr) -> bool {
    names(pool, address) && !holds(&pool.spec.exclude_ips, address)
}

/// An instance with two NICs, five IPv4 and two IPv6 addresses each.
fn instance(cloud: &mut testbed::aliyun::Cloud, name: &str, at: u8) -> Result<(), Refusal> {
    let id = format!("i-{name}");
    cloud.add_instance(&id, name, "ecs.g7.xlarge", "vsw-bp1seed0")?;
    for nic in 0..2u8 {
        let (card, vswitch) = (format!("eni-{name}x{nic}"), format!("vsw-bp1seed{nic}"));
        let spec = match nic {
            0 => NicSpec::primary(card, vswitch),
            _ => NicSpec::secondary(card, vswitch).device_index(Some(1)),
        };
        let v4 = |n: u8| match nic {
            0 => Ipv4Addr::new(172, 31, 200, at * 8 + n),
            _ => Ipv4Addr::new(192, 168, 0, 10 + at * 8 + n),
        };
        let group = if nic == 0 { 0xc0ac } else { 0xc0c0 };
        let v6 = |n: u8| {
            let last = 0x1000 + u16::from(at) * 8 + u16::from(n);
            IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0x31, group, 0, 0, 0, last))
        };
        let ips = (1..=5).map(|n| IpAddr::V4(v4(n))).chain((1..=2).map(v6));
        cloud.attach(&id, spec.primary_ip(v4(0)).ips(ips))?;
    }
    Ok(())
}
