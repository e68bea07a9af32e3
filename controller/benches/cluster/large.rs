//! 1,000 nodes with 4 NICs each, dual stack: 8,000 pools.

use std::time::{Duration, Instant};

use testbed::aliyun::{NicSpec, Refusal, Topology};

use crate::stage::{Controller, Stage, eventually};
use crate::{Size, raw, row};

const NICS: u8 = 4;
/// Addresses of each family on each NIC.
const ADDRESSES: u16 = 10;

const WRITES: &str = "spiderpool_cloud_writes_total";
const CREATED: &str = "spiderpool_cloud_writes_total{kind=\"SpiderIPPool\",verb=\"create\",outcome=\"done\"}";
const TOTAL: &str = "spiderpool_cloud_writes_total{kind=\"SpiderIPPool\",verb=\"status\",outcome=\"done\"}";
const NODE_STATUS: &str =
    "spiderpool_cloud_writes_total{kind=\"SpiderNode\",verb=\"status\",outcome=\"done\"}";
const LISTING: &str = "DescribeNetworkInterfaces";

impl Size {
    fn pools(&self) -> usize {
        usize::from(self.nodes) * usize::from(NICS) * 2
    }

    /// Calls of one listing: 500 NICs a page.
    fn pages(&self) -> u64 {
        (u64::from(self.nodes) * u64::from(NICS)).div_ceil(500)
    }
}

pub(crate) async fn measure(size: &Size) {
    let (nodes, pools) = (size.nodes, size.pools());
    println!("== a real API server: {nodes} nodes, {NICS} NICs each, dual stack: {pools} pools");
    let begun = Instant::now();
    let stage = Stage::new(Topology::large(nodes, NICS, ADDRESSES)).await;
    println!("   control plane, cloud and {nodes} nodes up in {:.0} s", begun.elapsed().as_secs_f64());
    cold(&stage, size).await;
    steady(&stage, size).await;
    join(&stage, size).await;
    raw::measure(&stage, size.raw).await;
}

async fn cold(stage: &Stage, size: &Size) {
    stage.sim.reset_calls();
    let before = stage.used();
    let controller = stage.controller("60s");
    // The controller's own count: asking the API server ten times a second would cost it what is measured here.
    let created = async |least: f64| {
        eventually("pools", Duration::from_millis(50), async || {
            (controller.metric(CREATED).await >= least).then(|| controller.begun.elapsed())
        })
        .await
    };
    let first = created(1.0).await;
    let all = created(number(size.pools())).await;
    assert_eq!(stage.pools().await, size.pools(), "pools at the API server");
    row(
        "cold start, to the first pool",
        &format!("{:.1} s", first.as_secs_f64()),
        "from the start of the process",
    );
    let rate = number(size.pools()) / all.saturating_sub(first).as_secs_f64();
    row(
        &format!("cold start, to all {} pools", size.pools()),
        &format!("{:.1} s", all.as_secs_f64()),
        &format!("{rate:.0} pools a second"),
    );
    eventually("the last SpiderNode", Duration::from_millis(50), async || {
        let nodes = controller.metric(NODE_STATUS).await;
        (controller.metric(TOTAL).await >= number(size.pools()) && nodes >= f64::from(size.nodes))
            .then_some(())
    })
    .await;
    let (writes, done) = quiet(&controller).await;
    let calm = done - controller.begun;
    row(
        "cold start, to the last write",
        &format!("{:.1} s", calm.as_secs_f64()),
        &format!(
            "{writes:.0} writes: pools, their totals, SpiderNodes; {:.0} a second",
            writes / calm.as_secs_f64()
        ),
    );
    for line in controller.metrics(WRITES).await {
        println!("   {line}");
    }
    let (now, peak) = controller.memory();
    row(
        "memory of the controller after it",
        &format!("{} MiB", now / 1024),
        &format!("{} MiB at most", peak / 1024),
    );
    let after = stage.used();
    let mut used: Vec<String> = before
        .iter()
        .zip(&after)
        .map(|((name, before), (_, after))| format!("{name} {:.1} s", after - before))
        .collect();
    used.sort();
    row(
        "processor time of the controller for it",
        &format!("{:.1} s", controller.processor_time()),
        &format!("beside it: {}", used.join(", ")),
    );
    let stopping = controller.stop().await;
    row("time to stop", &format!("{} ms", stopping.as_millis()), "SIGTERM to the end, lease given back");
}

/// Starts again over what is there, and lets some resyncs pass.
async fn steady(stage: &Stage, size: &Size) {
    stage.sim.reset_calls();
    let controller = stage.controller("10s");
    let pass = "spiderpool_cloud_passes_total";
    eventually("the first pass", Duration::from_millis(50), async || {
        (controller.metric(pass).await > 0.0 && stage.sim.calls().of(LISTING) >= size.pages()).then_some(())
    })
    .await;
    let ready = controller.begun.elapsed();
    // Everything was listed; what a restart writes, it writes now.
    let (writes, _) = quiet(&controller).await;
    row(
        &format!("restart over {} pools, to the first pass", size.pools()),
        &format!("{:.1} s", ready.as_secs_f64()),
        "lists and one plan",
    );
    row("restart, writes", &format!("{writes:.0}"), "0 expected: nothing changed");
    if writes > 0.0 {
        for line in controller.metrics(WRITES).await {
            println!("   {line}");
        }
    }
    whole_listing(stage, size).await;
    let listed = stage.sim.calls();
    let (writes, used) = (controller.metric(WRITES).await, controller.processor_time());
    let goal = listed.of(LISTING) + size.resyncs * size.pages();
    let begun = Instant::now();
    eventually("some resyncs", Duration::from_millis(50), async || {
        (stage.sim.calls().of(LISTING) >= goal).then_some(())
    })
    .await;
    // The last listing still has to be planned, well before the next one begins.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calls = stage.sim.calls();
    let (listings, all) = (calls.of(LISTING) - listed.of(LISTING), calls.total() - listed.total());
    assert_eq!(listings, (size.resyncs * size.pages()), "{:?}", calls.by_action());
    assert_eq!(all, listings, "only NICs are listed: {:?}", calls.by_action());
    let each = size.resyncs;
    row("calls to the cloud a resync", &format!("{}", all / each), "all of them DescribeNetworkInterfaces");
    let written = controller.metric(WRITES).await - writes;
    assert!(written.abs() < 0.5, "{written} writes although nothing changed");
    row("writes to Kubernetes a resync", "0", &format!("{each} resyncs, nothing changed"));
    let used = (controller.processor_time() - used) / number(usize::try_from(each).unwrap());
    row(
        "processor time of the controller a resync",
        &format!("{:.0} ms", used * 1e3),
        &format!("over {:.0} s with a resync every 10 s", begun.elapsed().as_secs_f64()),
    );
    let (now, peak) = controller.memory();
    row(
        "memory of the controller, at rest",
        &format!("{} MiB", now / 1024),
        &format!("{} MiB at most", peak / 1024),
    );
    let each = number(usize::try_from(now).unwrap()) / number(size.pools());
    row(
        "memory of the controller a pool",
        &format!("{each:.1} KiB"),
        &format!("all of it, divided by {}", size.pools()),
    );
    controller.stop().await;
}

/// Waits until a listing has just ended.
async fn whole_listing(stage: &Stage, size: &Size) {
    let goal = (stage.sim.calls().of(LISTING) / size.pages() + 1) * size.pages();
    eventually("a whole listing", Duration::from_millis(20), async || {
        (stage.sim.calls().of(LISTING) >= goal).then_some(())
    })
    .await;
}

/// Lets nodes join in one window.
async fn join(stage: &Stage, size: &Size) {
    let controller = stage.controller("10m");
    let pass = "spiderpool_cloud_passes_total";
    eventually("the first pass", Duration::from_millis(50), async || {
        (controller.metric(pass).await > 0.0 && stage.sim.calls().of(LISTING).is_multiple_of(size.pages()))
            .then_some(())
    })
    .await;
    quiet(&controller).await;
    stage.sim.edit(|cloud| (0..size.joining).try_for_each(|at| instance(cloud, at))).unwrap();
    stage.sim.reset_calls();
    let nodes =
        (0..size.joining).map(|at| (format!("late-{at}"), format!("cn-hangzhou.i-late{at}"))).collect();
    let begun = Instant::now();
    stage.join(nodes).await;
    let created = begun.elapsed();
    // One IPv4 pool each: the vSwitch is the first one, and no IPv6 address was given.
    let goal = size.pools() + usize::from(size.joining);
    eventually("pools of the nodes that joined", Duration::from_millis(20), async || {
        (stage.pools().await >= goal).then_some(())
    })
    .await;
    let took = begun.elapsed();
    quiet(&controller).await;
    let calls = stage.sim.calls();
    row(
        &format!("{} nodes join at once, to all their pools", size.joining),
        &format!("{} ms", took.as_millis()),
        &format!("the last Node was created after {} ms; window 500 ms", created.as_millis()),
    );
    let text: Vec<String> = calls.by_action().iter().map(|(action, n)| format!("{n} {action}")).collect();
    row("calls to the cloud for these nodes", &calls.total().to_string(), &text.join(", "));
    // Two windows, should the nodes straddle one; never one call a node.
    assert!(calls.total() <= 4, "{:?}", calls.by_action());
    controller.stop().await;
}

/// An instance in the first vSwitch with one NIC and five addresses.
fn instance(cloud: &mut testbed::aliyun::Cloud, at: u16) -> Result<(), Refusal> {
    let (id, vswitch) = (format!("i-late{at}"), "vsw-bp1large000");
    cloud.add_instance(&id, format!("late-{at}"), "ecs.g7.16xlarge", vswitch)?;
    let address = |n: u16| {
        let [high, low] = (0x8000 + at * 8 + n).to_be_bytes();
        std::net::Ipv4Addr::new(10, 0, high, low)
    };
    let nic = NicSpec::primary(format!("eni-late{at}"), vswitch).primary_ip(address(0));
    cloud.attach(&id, nic.ips((1..=5).map(|n| address(n).into())))
}

/// Waits until the controller has written nothing for a second; returns how much it has written, and when it stopped.
async fn quiet(controller: &Controller) -> (f64, Instant) {
    let (mut writes, mut since) = (controller.metric(WRITES).await, Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = controller.metric(WRITES).await;
        if now > writes {
            (writes, since) = (now, Instant::now());
        }
    }
    (writes, since)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}
