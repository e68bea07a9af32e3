//! Many pods at once: one pod an address, all the time, and none in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::oracle::Oracle;
use crate::pod::{Draft, Pod};
use crate::space::Space;
use crate::stage::{Stage, stage_alone};

/// How many pods there are without [`COUNT`]. A pod costs about 3 s of a core to come and as much to go in these guests.
const FEW: usize = 16;
/// The environment variable with the number of pods.
const COUNT: &str = "SPIDERPOOL_CROWD";
/// What the nodes' first NICs and kubelets have room for.
const MOST: usize = 200;

const NODES: [&str; 2] = ["master", "worker"];
const SUM: &str = "spiderpool_ipam_allocation_duration_seconds_sum";
const ADDS: &str = "spiderpool_ipam_allocation_duration_seconds_count";

/// The agents' time in ADDs in seconds, and their number.
fn adds(stage: &Stage) -> (f64, f64) {
    let both = NODES.map(|node| (stage.metric(node, SUM), stage.metric(node, ADDS)));
    (both[0].0 + both[1].0, both[0].1 + both[1].1)
}

/// The addresses of all network namespaces of a node but its own, as its kernel has them.
fn on_node(stage: &Stage, node: &str) -> Vec<IpAddr> {
    let script = "for netns in $(ls /run/netns); do \
                  ip -netns $netns -oneline addr show dev eth0 scope global 2>/dev/null; done; true";
    let text = stage.guest(node).run_for(script, Duration::from_mins(5)).unwrap().stdout;
    let addresses = text.lines().filter_map(|line| line.split_whitespace().nth(3)?.split('/').next());
    addresses.map(|address| address.parse().unwrap()).collect()
}

/// What pods may have left on a node: their cables and the ways through them, rules, namespaces.
fn left_behind(stage: &Stage, node: &str) -> String {
    let script = "ip -oneline link show group 83; ls /run/netns; ip neigh show nud permanent; \
                  for family in -4 -6; do ip $family route show table 500 2>/dev/null; \
                  ip $family rule | grep -v -e 'lookup \\(local\\|main\\|default\\|1000[0-9]\\)' \
                  | grep -v '^1000:.from all lookup 500'; done; true";
    stage.guest(node).sh(script).unwrap()
}

fn no_pod_shares(pods: &[Pod]) {
    let mut holders: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    for pod in pods {
        assert_eq!(pod.ips.len(), 2, "{pod:?}");
        pod.ips.iter().for_each(|ip| holders.entry(*ip).or_default().push(&pod.name));
    }
    let shared: Vec<_> = holders.iter().filter(|(_, pods)| pods.len() > 1).collect();
    assert!(shared.is_empty(), "{shared:?}");
}

#[test]
fn a_crowd_comes_and_goes_and_each_address_has_one_pod_at_any_time() {
    let stage = stage_alone();
    let count = std::env::var(COUNT).map_or(FEW, |count| count.parse().unwrap()).min(MOST);
    let space = Space::new(&stage, "crowd");
    let oracle = Oracle::start(&stage);
    let before = adds(&stage);
    let drafts: Vec<_> = (0..count).map(|n| Draft::new(&format!("p{n}"), NODES[n % 2])).collect();
    let patience = Duration::from_secs(180 + 6 * count as u64);

    let begun = Instant::now();
    space.create(&drafts);
    let pods = space.all_running(count, patience, || oracle.pods(&space.name));
    let up = begun.elapsed();
    no_pod_shares(&pods);
    let recorded: BTreeMap<IpAddr, String> = stage
        .pools()
        .into_iter()
        .flat_map(|pool| pool.held)
        .map(|record| (record.address, record.uid))
        .collect();
    for pod in &pods {
        for ip in &pod.ips {
            assert_eq!(recorded.get(ip), Some(&pod.uid), "{ip} of {}", pod.name);
        }
    }
    // What the kernels have, not what anybody says of it.
    let real: Vec<IpAddr> = NODES.iter().flat_map(|node| on_node(&stage, node)).collect();
    let distinct: BTreeSet<IpAddr> = real.iter().copied().collect();
    assert_eq!(real.len(), 2 * count, "two addresses a pod");
    assert_eq!(distinct.len(), real.len(), "no address is twice on the wire");
    assert!(pods.iter().flat_map(|pod| &pod.ips).all(|ip| distinct.contains(ip)));

    let after = adds(&stage);
    let begun = Instant::now();
    stage.kubectl(&["delete", "pods", "--all", "-n", &space.name, "--wait=false"]);
    space.all_gone(patience, || oracle.pods(&space.name));
    let down = begun.elapsed();
    for node in NODES {
        stage.eventually("nothing of the pods is left on their node", || match left_behind(&stage, node) {
            nothing if nothing.trim().is_empty() => Ok(()),
            left => Err(left),
        });
    }
    let (most, ever) = oracle.extent();
    assert_eq!(oracle.wrongs(), Vec::<String>::new());
    assert!(most >= 2 * count && ever >= count, "the observer saw {most} addresses and {ever} pods only");

    let (spent, number) = (after.0 - before.0, after.1 - before.1);
    println!(
        "\n| pods | apply to Running s | pods/s | ADDs | mean ADD ms | agents' ADD time / (wall x 2 nodes) | delete to free s |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!(
        "| {count} | {:.1} | {:.2} | {number} | {:.1} | {:.1} % | {:.1} |",
        up.as_secs_f64(),
        f64::from(u32::try_from(count).unwrap()) / up.as_secs_f64(),
        1000.0 * spent / number,
        100.0 * spent / (2.0 * up.as_secs_f64()),
        down.as_secs_f64(),
    );
}
