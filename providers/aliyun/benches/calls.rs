//! How many calls a resync and a join cost at 1,000 nodes with 4 NICs each, counted by the simulated cloud; every
//! count is asserted.

#![expect(clippy::unwrap_used, reason = "a bench's own functions may fail it")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use model::InstanceId;
use providers::Provider;
use providers_aliyun::{Aliyun, Environment, Settings};
use testbed::aliyun::{KEY, SECRET, Simulator, Topology};

const NODES: u16 = 1_000;
const NICS: u8 = 4;
/// Addresses of each family on each NIC.
const ADDRESSES: u16 = 10;
/// How many nodes join within one window.
const JOINING: usize = 50;
/// How many resyncs are counted.
const RESYNCS: u64 = 3;

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let nics = u64::from(NODES) * u64::from(NICS);
    println!(
        "== calls to Alibaba Cloud: {NODES} nodes, {NICS} NICs each, {ADDRESSES} + {ADDRESSES} addresses a NIC"
    );
    let simulator = Simulator::start().await.unwrap();
    let topology = Topology::large(NODES, NICS, ADDRESSES);
    let vpc = topology.vpc().to_owned();
    simulator.edit(|cloud| topology.build(cloud)).unwrap();
    let vswitches = simulator.edit(|cloud| cloud.world().vswitches().count());
    let vswitch_pages = u64::try_from(vswitches).unwrap().div_ceil(50);
    let pages = nics.div_ceil(500);
    let cloud = open(&simulator, vpc);

    simulator.reset_calls();
    let begun = Instant::now();
    let whole = cloud.list().await.unwrap();
    let took = begun.elapsed();
    assert_eq!(u64::try_from(whole.nic_count()).unwrap(), nics);
    let expected = [("DescribeNetworkInterfaces", pages), ("DescribeVSwitches", vswitch_pages)];
    count(&simulator, "calls of the first listing", &expected, "NICs by 500, vSwitches by 50 a page");
    row(
        "time of the first listing",
        &format!("{} ms", took.as_millis()),
        "the simulator's own time included",
    );

    simulator.reset_calls();
    let begun = Instant::now();
    for _ in 0..RESYNCS {
        cloud.list().await.unwrap();
    }
    let took = begun.elapsed();
    let expected = [("DescribeNetworkInterfaces", pages * RESYNCS)];
    count(
        &simulator,
        "calls of the next 3 listings",
        &expected,
        "8 a resync, none a node; vSwitches are cached",
    );
    let each = took.as_millis() / u128::from(RESYNCS);
    row("time of a listing", &format!("{each} ms"), "the simulator's own time included");

    simulator.reset_calls();
    let joining: BTreeSet<InstanceId> = whole.instances.keys().take(JOINING).cloned().collect();
    let begun = Instant::now();
    let joined = cloud.describe(&joining).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(joined.instances.len(), JOINING);
    let pages = u64::try_from(JOINING * usize::from(NICS)).unwrap().div_ceil(100);
    let expected = [("DescribeInstances", 1), ("DescribeNetworkInterfaces", pages)];
    count(&simulator, "calls of 50 nodes that join together", &expected, "by 100 instances, by 100 NICs");
    row("time of that question", &format!("{} ms", took.as_millis()), "the simulator's own time included");
}

fn open(simulator: &Simulator, vpc: String) -> Aliyun {
    let endpoint = |text: &str| Some(text.parse().unwrap());
    let endpoints = simulator.endpoints();
    let mut settings = Settings::new("hz".into());
    settings.region = Some("cn-hangzhou".to_owned());
    settings.vpc_id = Some(vpc);
    settings.endpoints.ecs = endpoint(&endpoints.ecs);
    settings.endpoints.vpc = endpoint(&endpoints.vpc);
    settings.endpoints.sts = endpoint(&endpoints.sts);
    settings.endpoints.metadata = endpoint(&endpoints.metadata);
    settings.timeouts.call = Duration::from_secs(20);
    let key = [("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET)];
    let environment: Environment = key.into_iter().collect();
    Aliyun::with_environment(settings, &environment).unwrap()
}

/// Asserts that exactly these calls were made, and prints their number.
fn count(simulator: &Simulator, what: &str, expected: &[(&str, u64)], note: &str) {
    let calls = simulator.calls().by_action();
    let expected: BTreeMap<String, u64> =
        expected.iter().map(|(action, count)| ((*action).to_owned(), *count)).collect();
    assert_eq!(calls, expected, "{what}");
    let all: Vec<String> = calls.iter().map(|(action, count)| format!("{count} {action}")).collect();
    row(what, &simulator.calls().total().to_string(), &format!("{}: {note}", all.join(", ")));
}

fn row(what: &str, figure: &str, note: &str) {
    println!("| {what:<52} | {figure:>12} | {note}");
}
