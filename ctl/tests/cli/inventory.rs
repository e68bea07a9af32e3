//! What `inventory` prints.

use model::Inventory;
use std::collections::BTreeMap;
use testbed::aliyun::{Fault, When};

use crate::bench::Bench;

#[test]
fn every_nic_and_subnet_is_a_row() {
    let table = Bench::seed().ctl("inventory --config cloud.yaml").ok();
    let (nics, subnets) = table.split_once("\n\n").unwrap();
    let row = nics.lines().find(|line| line.contains("eni-bp1worker1")).unwrap();
    for part in [
        "hz ",
        "i-bp1worker ",
        " 1 ",
        " eth1 ",
        "00:16:3e:00:01:9b",
        "vsw-bp1seed1",
        " pods ",
        "192.168.0.155",
    ] {
        assert!(row.contains(part), "{part}: {row}");
    }
    assert!(row.ends_with("192.168.0.161-165,2001:db8:31:c0c0::161-163"), "{row}");
    assert_eq!((nics.lines().count(), subnets.lines().count()), (5, 3), "{table}");
    assert!(subnets.contains("172.31.192.0/20") && subnets.contains("2001:db8:31:c0c0::/64"), "{subnets}");
}

#[test]
fn a_nic_that_is_left_alone_says_why() {
    let bench = Bench::seed();
    bench.sim.edit(|cloud| cloud.tag_nic("eni-bp1worker1", "cloud.spidernet.io/unmanaged", "true")).unwrap();
    let table = bench.ctl("inventory --config cloud.yaml -o table").ok();
    let row = table.lines().find(|line| line.contains("eni-bp1worker1")).unwrap();
    assert!(row.contains("left alone: ") && row.contains("unmanaged"), "{row}");
}

#[test]
fn yaml_and_json_are_the_inventory_as_it_can_be_replayed() {
    let bench = Bench::seed();
    let json: BTreeMap<String, Inventory> =
        serde_json::from_str(&bench.ctl("inventory --config cloud.yaml -o json").ok()).unwrap();
    let yaml: BTreeMap<String, Inventory> =
        serde_saphyr::from_str(&bench.ctl("inventory --config cloud.yaml -o yaml").ok()).unwrap();
    assert_eq!(json, yaml);
    assert_eq!((json["hz"].nic_count(), json["hz"].subnets.len()), (4, 2));
}

#[test]
fn an_unreadable_cloud_fails_and_prints_nothing() {
    let bench = Bench::seed();
    bench.sim.edit(|cloud| cloud.faults.add("*", When::Always, Fault::code("Forbidden.RAM")));
    let sentence = bench.ctl("inventory --config cloud.yaml").failed(1);
    assert!(sentence.starts_with("cannot read provider hz: "), "{sentence}");
}
