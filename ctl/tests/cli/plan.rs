//! What `plan` prints of the seed's cloud.

use serde_json::{Value, json};
use testbed::aliyun::Topology;

use crate::bench::{Bench, list, pool};

const PLAN: &str = "plan --config cloud.yaml --nodes nodes.yaml";

fn kinds(documents: &[Value]) -> Vec<&str> {
    documents.iter().map(|it| it["kind"].as_str().unwrap()).collect()
}

#[test]
fn the_seed_gives_its_four_ipv4_pools_and_their_ipv6_siblings() {
    let bench = Bench::seed();
    let documents = bench.ctl(PLAN).documents();
    let expected: [(&str, &str, &str, &str, &str); 4] = [
        (
            "master",
            "eth0",
            "172.31.192.0/20",
            "172.31.199.185-172.31.199.189",
            "c0ac::185-2001:db8:31:c0ac::187",
        ),
        (
            "master",
            "eth1",
            "192.168.0.0/24",
            "192.168.0.156-192.168.0.160",
            "c0c0::156-2001:db8:31:c0c0::158",
        ),
        (
            "worker",
            "eth0",
            "172.31.192.0/20",
            "172.31.199.190-172.31.199.194",
            "c0ac::190-2001:db8:31:c0ac::192",
        ),
        (
            "worker",
            "eth1",
            "192.168.0.0/24",
            "192.168.0.161-192.168.0.165",
            "c0c0::161-2001:db8:31:c0c0::163",
        ),
    ];
    for (node, interface, subnet, ips, ips6) in expected {
        let v4 = &pool(&documents, node, interface, 4)["spec"];
        let multus = format!("kube-system/ipvlan-{interface}");
        assert_eq!((&v4["subnet"], &v4["ips"]), (&json!(subnet), &json!([ips])), "{node} {interface}");
        assert_eq!((&v4["multusName"], &v4["default"]), (&json!([multus]), &json!(true)));
        assert!(v4["gateway"].is_string(), "{v4}");
        let v6 = &pool(&documents, node, interface, 6)["spec"];
        assert_eq!(v6["ips"], json!([format!("2001:db8:31:{ips6}")]), "{node} {interface}");
    }
    let counts = ["SpiderMultusConfig", "SpiderIPPool", "SpiderNode"]
        .map(|kind| kinds(&documents).iter().filter(|it| **it == kind).count());
    assert_eq!(counts, [2, 8, 2]);
}

#[test]
fn documents_come_in_an_order_that_can_be_applied() {
    let documents = Bench::seed().ctl(PLAN).documents();
    let mut order = kinds(&documents);
    order.dedup();
    assert_eq!(order, ["SpiderMultusConfig", "SpiderIPPool", "SpiderNode"]);
    for document in &documents {
        assert_eq!(document["apiVersion"], "spiderpool.spidernet.io/v2beta1");
        assert!(document["metadata"]["name"].is_string() && document["spec"].is_object(), "{document}");
        assert_eq!(document["status"].is_object(), document["kind"] == "SpiderNode", "{document}");
        assert_eq!(document["metadata"]["ownerReferences"], Value::Null, "a node of a file has no uid");
    }
}

#[test]
fn nothing_is_said_on_stderr_when_all_is_well() {
    assert_eq!(Bench::seed().ctl(PLAN).stderr, "");
}

#[test]
fn the_table_shows_each_pool_once_with_short_ranges() {
    let table = Bench::seed().ctl(&format!("{PLAN} -o table")).ok();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["POOL", "NODE", "INTERFACE", "FAMILY", "SUBNET", "ADDRESSES", "COUNT", "ACTION"]);
    assert_eq!(lines.len(), 9, "{table}");
    let expected = ["master", "eth0", "IPv4", "172.31.192.0/20", "172.31.199.185-189", "5", "create"];
    assert_eq!(lines[1][1..], expected);
    assert_eq!(lines[8][1..4], ["worker", "eth1", "IPv6"]);
    assert_eq!(lines[8][5..], ["2001:db8:31:c0c0::161-163", "3", "create"]);
}

#[test]
fn json_is_a_list_of_the_same_objects() {
    let bench = Bench::seed();
    let list: Value = serde_json::from_str(&bench.ctl(&format!("{PLAN} -o json")).ok()).unwrap();
    assert_eq!((&list["apiVersion"], &list["kind"]), (&json!("v1"), &json!("List")));
    let names = |items: &[Value]| items.iter().map(|it| it["metadata"]["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(list["items"].as_array().unwrap()), names(&bench.ctl(PLAN).documents()));
}

#[test]
fn a_node_without_an_instance_is_one_line_and_does_not_stop_the_rest() {
    let bench = Bench::seed();
    let mut nodes = Topology::seed().nodes();
    nodes.push(("lost".to_owned(), "cn-hangzhou.i-bp1gone".to_owned()));
    nodes.push(("stranger".to_owned(), "gce://project/zone/vm".to_owned()));
    nodes.push(("bare".to_owned(), "''".to_owned()));
    bench.write("nodes.yaml", &list(&nodes));
    let ran = bench.ctl(PLAN);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, (node, part)) in
        lines.iter().zip([("bare", "providerID is empty"), ("lost", "i-bp1gone"), ("stranger", "gce://")])
    {
        assert!(line.starts_with(&format!("warning: node {node}: ")) && line.contains(part), "{line}");
    }
    let documents = ran.documents();
    assert_eq!(kinds(&documents).iter().filter(|it| **it == "SpiderIPPool").count(), 8);
}

#[test]
fn a_nic_without_addresses_is_one_line() {
    let bench = Bench::seed();
    bench
        .sim
        .edit(|cloud| {
            let mut ips: Vec<std::net::IpAddr> =
                (161..=165).map(|last| format!("192.168.0.{last}").parse().unwrap()).collect();
            ips.extend(
                (0x161..=0x163)
                    .map(|last| format!("2001:db8:31:c0c0::{last:x}").parse::<std::net::IpAddr>().unwrap()),
            );
            cloud.unassign("eni-bp1worker1", &ips)
        })
        .unwrap();
    let ran = bench.ctl(PLAN);
    let [line] = ran.stderr.lines().collect::<Vec<_>>()[..] else { panic!("one line: {}", ran.stderr) };
    assert!(line.starts_with("warning: node worker: ") && line.contains("eth1: 0 IPv4, 0 IPv6"), "{line}");
}

#[test]
fn only_selected_nodes_are_planned() {
    let bench = Bench::seed();
    let config = std::fs::read_to_string(bench.dir.path().join("cloud.yaml")).unwrap();
    bench.write("cloud.yaml", &format!("nodeSelector: pool=cloud\n{config}"));
    let node = |name: &str, labels: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n\
             spec: {{providerID: cn-hangzhou.i-bp1{name}}}\n"
        )
    };
    bench.write("nodes.yaml", &format!("{}---\n{}", node("master", "pool: cloud"), node("worker", "")));
    let ran = bench.ctl(PLAN);
    assert_eq!(ran.stderr, "");
    let documents = ran.documents();
    assert_eq!(
        kinds(&documents),
        [&["SpiderMultusConfig"; 2][..], &["SpiderIPPool"; 4], &["SpiderNode"]].concat()
    );
    pool(&documents, "master", "eth0", 4);
}

#[test]
fn a_static_inventory_needs_no_cloud() {
    let bench = Bench::empty();
    bench.write(
        "cloud.yaml",
        "providers:\n  - name: rack\n    type: static\n    nodes:\n      \"on\":\n        \
         - {interface: eth0, subnet: 192.0.2.0/24, gateway: 192.0.2.1, ips: [\"192.0.2.10-192.0.2.19\"]}\n",
    );
    bench.write("nodes.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: \"on\"}\n");
    let ran = bench.ctl(PLAN);
    // kubectl reads YAML 1.1, where a bare `on` is true.
    assert!(!ran.stdout.contains("name: on\n") && !ran.stdout.contains("- on\n"), "{}", ran.stdout);
    let documents = ran.documents();
    assert_eq!(pool(&documents, "on", "eth0", 4)["spec"]["ips"], json!(["192.0.2.10-192.0.2.19"]));
    assert_eq!(bench.sim.calls().total(), 0);
}

#[test]
fn planning_writes_nothing_to_the_cloud() {
    let bench = Bench::seed();
    bench.ctl(PLAN).ok();
    let actions: Vec<String> = bench.sim.calls().by_action().into_keys().collect();
    assert!(
        !actions.is_empty() && actions.iter().all(|action| action.starts_with("Describe")),
        "{actions:?}"
    );
}
