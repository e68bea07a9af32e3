//! What entries become, and which ones are refused.

#![expect(clippy::expect_used, reason = "helpers of tests end the test")]

use model::{Claim, Node};
use providers::{Path, Problem, Provider};
use providers_static::{Entry, Nodes, Static};

fn entry(interface: &str, subnet: &str, gateway: &str, ips: &[&str]) -> Entry {
    Entry {
        interface: interface.to_owned(),
        subnet: subnet.to_owned(),
        gateway: (!gateway.is_empty()).then(|| gateway.to_owned()),
        ips: ips.iter().map(ToString::to_string).collect(),
        mac: None,
    }
}

fn nodes<const N: usize>(nodes: [(&str, Vec<Entry>); N]) -> Nodes {
    nodes.into_iter().map(|(name, entries)| (name.to_owned(), entries)).collect()
}

fn open(nodes: &Nodes) -> Result<Static, Vec<Problem>> {
    Static::new("rack".into(), nodes, &Path::default().key("providers").index(1).key("nodes"))
}

fn problems(nodes: &Nodes) -> Vec<String> {
    open(nodes).expect_err("these entries are wrong").iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn two_families_of_one_interface_are_one_nic() {
    let four = entry("eth0", "192.0.2.0/24", "192.0.2.1", &["192.0.2.10-192.0.2.19"]);
    let six = entry("eth0", "2001:db8::/64", "2001:db8::1", &["2001:db8::10"]);
    let rack = open(&nodes([("node-a", vec![six, four])])).unwrap();
    let inventory = rack.list().await.unwrap();
    let [nic] = inventory.instances[&"node-a".into()].as_slice() else { panic!("{inventory:?}") };
    assert_eq!(nic.id.as_str(), "node-a/eth0");
    assert_eq!(nic.interface.as_deref(), Some("eth0"));
    assert_eq!(nic.addresses.to_string(), "192.0.2.10-192.0.2.19,2001:db8::10");
    assert_eq!(nic.subnet.as_str(), "192.0.2.0/24,2001:db8::/64");
    let subnet = &inventory.subnets[&nic.subnet];
    assert_eq!(subnet.v4_gateway.unwrap().to_string(), "192.0.2.1");
    assert_eq!(subnet.v6_gateway.unwrap().to_string(), "2001:db8::1");
}

#[tokio::test]
async fn nics_of_one_subnet_share_it_and_keep_their_order() {
    let nic = |name: &str, ip: &str| entry(name, "192.0.2.0/24", "192.0.2.1", &[ip]);
    let rack = open(&nodes([
        ("a", vec![nic("ens5", "192.0.2.7"), nic("ens1", "192.0.2.8")]),
        ("b", vec![nic("e", "192.0.2.9")]),
    ]));
    let inventory = rack.unwrap().list().await.unwrap();
    assert_eq!(inventory.subnets.len(), 1);
    let indexes: Vec<_> =
        inventory.instances[&"a".into()].iter().map(|nic| (nic.index, nic.interface.as_deref())).collect();
    assert_eq!(indexes, [(Some(0), Some("ens5")), (Some(1), Some("ens1"))]);
}

#[test]
fn a_node_is_claimed_by_its_name_whatever_its_provider_id() {
    let rack = open(&nodes([("node-a", vec![entry("eth0", "192.0.2.0/24", "", &[])])])).unwrap();
    let node = |name: &str| Node {
        name: name.to_owned(),
        uid: String::new(),
        provider_id: Some("other://x".to_owned()),
        addresses: Vec::new(),
    };
    assert_eq!(rack.claim(&node("node-a")), Claim::Instance("node-a".into()));
    assert_eq!(rack.claim(&node("node-b")), Claim::NotMine);
}

#[test]
fn a_wrong_value_is_named_with_its_path() {
    let net = "192.0.2.0/24";
    for (wrong, path, words) in [
        (entry("e", "192.0.2/24", "", &[]), "[0].subnet", "\"192.0.2/24\" is not a CIDR"),
        (entry("e", "192.0.2.1/24", "", &[]), "[0].subnet", "has host bits set; the subnet is 192.0.2.0/24"),
        (entry("e", net, "192.0.2", &[]), "[0].gateway", "\"192.0.2\" is not an IP address"),
        (entry("e", net, "198.51.100.1", &[]), "[0].gateway", "198.51.100.1 is outside subnet 192.0.2.0/24"),
        (entry("e", net, "2001:db8::1", &[]), "[0].gateway", "is outside subnet"),
        (
            entry("e", net, "192.0.2.1", &["192.0.2.1-192.0.2.9"]),
            "[0].ips[0]",
            "contains the gateway 192.0.2.1",
        ),
        (entry("e", net, "", &["192.0.2.5", "192.0.3.1"]), "[0].ips[1]", "192.0.3.1 is outside subnet"),
        (entry("e", net, "", &["192.0.2.250-192.0.3.5"]), "[0].ips[0]", "is outside subnet"),
        (entry("e", net, "", &["2001:db8::5"]), "[0].ips[0]", "is outside subnet"),
        (entry("e", net, "", &["192.0.2.9-192.0.2.5"]), "[0].ips[0]", "ends before it begins"),
        (entry("e", net, "", &["many"]), "[0].ips[0]", "\"many\" is not an IP address, a range"),
        (entry("e", net, "", &["192.0.2.5", "192.0.2.3-192.0.2.5"]), "[0].ips[0]", "shares addresses with"),
        (entry("a/b", net, "", &[]), "[0].interface", "\"a/b\" is no interface name"),
        (
            Entry { mac: Some("00:16".to_owned()), ..entry("e", net, "", &[]) },
            "[0].mac",
            "is not a MAC address",
        ),
    ] {
        let found = problems(&nodes([("node-a", vec![wrong])]));
        let [problem] = found.as_slice() else { panic!("{found:?}") };
        let start = format!("providers[1].nodes.node-a{path}: ");
        assert!(problem.starts_with(&start) && problem.contains(words), "{start}{words} is not {problem}");
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let found = problems(&nodes([
        ("a", vec![entry("e", "x", "", &[]), entry("", "192.0.2.0/24", "y", &["z"])]),
        ("b", vec![]),
    ]));
    let paths: Vec<&str> = found.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    let nodes = "providers[1].nodes";
    let expected = ["a[0].subnet", "a[1].interface", "a[1].gateway", "a[1].ips[0]", "b"];
    assert_eq!(paths, expected.map(|path| format!("{nodes}.{path}")));
}

#[test]
fn one_address_on_two_nics_is_refused() {
    let found = problems(&nodes([
        ("a", vec![entry("e", "192.0.2.0/24", "", &["192.0.2.10-192.0.2.19"])]),
        ("b", vec![entry("e", "192.0.2.0/24", "", &["192.0.2.1", "192.0.2.15"])]),
    ]));
    let expected = "providers[1].nodes.b[0].ips[1]: 192.0.2.15 shares addresses with 192.0.2.10-192.0.2.19 at \
                    providers[1].nodes.a[0].ips[0]";
    assert_eq!(found, [expected]);
}

#[test]
fn one_family_twice_on_one_interface_is_refused() {
    let found = problems(&nodes([(
        "a",
        vec![entry("e", "192.0.2.0/24", "", &[]), entry("e", "198.51.100.0/24", "", &[])],
    )]));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("a[1]: e already has an IPv4 entry at providers[1].nodes.a[0]"), "{found:?}");
}

#[test]
fn overlapping_subnets_and_two_gateways_of_one_subnet_are_refused() {
    let found = problems(&nodes([
        ("a", vec![entry("e", "10.0.0.0/8", "10.0.0.1", &[]), entry("f", "10.1.0.0/16", "", &[])]),
        ("b", vec![entry("e", "10.0.0.0/8", "10.0.0.2", &[])]),
    ]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("b[0].gateway: subnet 10.0.0.0/8 has gateway 10.0.0.2 here, but 10.0.0.1 at"),
        "{found:?}"
    );
    assert!(found[1].contains("a[1].subnet: 10.1.0.0/16 overlaps 10.0.0.0/8"), "{found:?}");
}

#[test]
fn two_macs_of_one_nic_are_refused() {
    let with = |mac: &str, entry: Entry| Entry { mac: Some(mac.to_owned()), ..entry };
    let found = problems(&nodes([(
        "a",
        vec![
            with("00:16:3e:00:00:01", entry("e", "192.0.2.0/24", "", &[])),
            with("00:16:3e:00:00:02", entry("e", "2001:db8::/64", "", &[])),
        ],
    )]));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("a[1].mac: e has MAC 00:16:3e:00:00:02 here, but 00:16:3e:00:00:01 at"),
        "{found:?}"
    );
}
