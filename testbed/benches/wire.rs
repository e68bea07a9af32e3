//! What a way through the coordinator costs on the wire, beside bare ipvlan between the same nodes, in one run.
//!
//! Needs root, as the nodes do. The nodes' kernels and all that runs in them share this machine's processors, so figures compare with
//! each other and with nothing else. `SPIDERPOOL_BENCH=brief` measures for a shorter time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench's own functions may fail it")]

#[path = "../tests/built/product.rs"]
mod built;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::aliyun::Topology;
use testbed::image::PROBE;
use testbed::{Nodes, Plugins, Product, Setup};

/// The probe's port for this.
const PORT: u16 = 8082;
const PATIENCE: Duration = Duration::from_mins(4);
/// The network without anything but ipvlan: its pods have addresses that their nodes' NICs have, the last of each pool, so that the
/// pool, which gives out the first, does not meet them.
const BARE: &str = "bare";
const BARE_PODS: [(&str, &str, &str); 2] =
    [("bare-near", "master", "172.31.199.189/20"), ("bare-far", "worker", "172.31.199.194/20")];
const PODS: [(&str, &str); 2] = [("near", "master"), ("far", "worker")];

fn main() {
    let is_brief = std::env::var("SPIDERPOOL_BENCH").is_ok_and(|value| value == "brief");
    let (rounds, length) = if is_brief { (1, "1s") } else { (24, "500ms") };
    println!("\n== packets between pods of two nodes, beside bare ipvlan, {rounds} x {length} each in turn");
    let programs = built::product("spiderpool-agent");
    let product = Product::in_folder(programs.parent().unwrap()).unwrap();
    let nodes = Setup::new(Topology::seed()).product(product).start().unwrap();
    create(&nodes);
    let address = |pod: &str| wait(&nodes, &["get", "pod", pod, "-o", "jsonpath={.status.podIP}"]);
    let [bare, ours] = [address("bare-far"), address("far")];
    let service = wait(&nodes, &["get", "service", "far", "-o", "jsonpath={.spec.clusterIP}"]);
    let mut ways = [
        Way::new(&nodes, "bare ipvlan, pod to pod", "bare-near", &bare),
        // How far figures of the same thing are from each other says what those of others are worth.
        Way::new(&nodes, "the same once more", "bare-near", &bare),
        Way::new(&nodes, "with coordinator, pod to pod", "near", &ours),
        Way::new(&nodes, "with coordinator, pod to ClusterIP", "near", &service),
    ];
    // In turn, so that a busy moment of the machine is everybody's; and each comes first in its turn.
    let number = ways.len();
    for round in 0..rounds {
        for turn in 0..number {
            ways[(round + turn) % number].measure(&nodes, length);
        }
    }
    let [first, ..] = &ways;
    let (rtt, mbit) = (median(&first.rtt), median(&first.mbit));
    for way in &ways {
        let (own_rtt, own_mbit) = (median(&way.rtt), median(&way.mbit));
        println!(
            "| {:<52} | {own_rtt:>8.3} ms | round trip, p50; {:.2} x bare ipvlan |",
            way.name,
            own_rtt / rtt
        );
        println!(
            "| {:<52} | {own_mbit:>6.0} Mbit/s | one connection, {:.0} to {:.0}; {:.2} x bare ipvlan |",
            "",
            extreme(&way.mbit, f64::min),
            extreme(&way.mbit, f64::max),
            own_mbit / mbit
        );
    }
}

/// From a pod to an address, again and again.
struct Way {
    name: &'static str,
    /// The UID of the pod that asks, on the first node.
    from: String,
    target: String,
    rtt: Vec<f64>,
    mbit: Vec<f64>,
}

impl Way {
    fn new(nodes: &Nodes, name: &'static str, from: &str, address: &str) -> Self {
        let from = wait(nodes, &["get", "pod", from, "-o", "jsonpath={.metadata.uid}"]);
        Self { name, from, target: format!("{address}:{PORT}"), rtt: Vec::new(), mbit: Vec::new() }
    }

    fn measure(&mut self, nodes: &Nodes, length: &str) {
        let probe = Plugins::ensure().unwrap().probe();
        let command = format!("'{}' measure --for {length} {}", probe.display(), self.target);
        // The server comes a moment after its pod.
        let said = eventually(&command, || {
            let output = nodes.guest(PODS[0].1).run_in_pod(&self.from, &command);
            let output = output.map_err(|error| error.to_string())?;
            if output.status == 0 { Ok(output.stdout) } else { Err(output.stderr) }
        });
        let said: Value = serde_json::from_str(&said).unwrap();
        self.rtt.push(said["p50_ms"].as_f64().unwrap());
        self.mbit.push(said["mbit_s"].as_f64().unwrap());
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn extreme(values: &[f64], of: fn(f64, f64) -> f64) -> f64 {
    values.iter().copied().reduce(of).unwrap_or(f64::NAN)
}

/// Runs kubectl until it says something.
fn wait(nodes: &Nodes, args: &[&str]) -> String {
    eventually(&format!("kubectl {args:?}"), || nodes.kubectl(args).map_err(|error| error.to_string()))
}

/// Looks until there is something to see.
fn eventually(what: &str, look: impl Fn() -> Result<String, String>) -> String {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(said) if !said.is_empty() => return said,
            said if begun.elapsed() > PATIENCE => panic!("{what}: {said:?}"),
            _ => thread::sleep(Duration::from_millis(250)),
        }
    }
}

fn create(nodes: &Nodes) {
    let meta = |name: &str, annotations: &Value| json!({"name": name, "namespace": "default", "labels": {"app": name}, "annotations": annotations});
    let pod = |name: &str, node: &str, annotations: &Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": meta(name, annotations),
            "spec": {
                "nodeName": node, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "probe", "image": PROBE, "imagePullPolicy": "Never", "args": ["serve"]}],
            },
        })
    };
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "far", "namespace": "default"},
        "spec": {"selector": {"app": "far"}, "ports": [{"port": PORT}]},
    })];
    for (name, node, address) in BARE_PODS {
        let network = format!("{BARE}-{node}");
        let config = json!({
            "cniVersion": "1.0.0", "name": network, "type": "ipvlan", "master": "eth0",
            "ipam": {"type": "static", "addresses": [{"address": address, "gateway": "172.31.207.253"}], "routes": [{"dst": "0.0.0.0/0"}]},
        });
        objects.push(json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": network, "namespace": "default"}, "spec": {"config": config.to_string()},
        }));
        objects.push(pod(
            name,
            node,
            &json!({"v1.multus-cni.io/default-network": format!("default/{network}")}),
        ));
    }
    objects.extend(PODS.map(|(name, node)| pod(name, node, &json!({}))));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    // The namespace's account comes a moment after the cluster.
    wait(nodes, &["get", "serviceaccount", "default", "-o", "name"]);
    nodes.plane().kubectl_with(&["create", "-f", "-"], &list).unwrap();
}
