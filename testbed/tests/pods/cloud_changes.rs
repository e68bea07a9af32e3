//! What the cloud takes away stops, and what it gives can be used.

use std::net::IpAddr;
use std::time::Duration;

use testbed::WORLD_V4;

use crate::pod::Draft;
use crate::space::Space;
use crate::stage::{PATIENCE, POOLS, SECOND_NETWORK, stage_alone};

/// All IPv4 addresses that the seed gives the worker's second NIC.
const FIVE: u8 = 5;
const NIC: &str = "eni-bp1worker1";
/// Free in that NIC's subnet.
const ADDED: &str = "192.168.0.200";

#[test]
fn an_address_that_the_cloud_takes_stops_and_one_that_it_adds_is_used() {
    let stage = stage_alone();
    let space = Space::new(&stage, "cloud");
    let draft = |n: u8| Draft::new(&format!("p{n}"), "worker").default_network(SECOND_NETWORK);
    space.create(&(0..FIVE).map(draft).collect::<Vec<_>>());
    let pods = space.all_running(usize::from(FIVE), PATIENCE, || space.pods());
    let victim = pods.iter().find(|pod| pod.name == "p2").unwrap();
    let lost = victim.of("eth0")[0];
    let world = format!("http://{WORLD_V4}/");
    space.ask("p2", &world, 20).unwrap();

    stage.nodes.edit(|cloud| cloud.unassign(NIC, &[lost])).unwrap().unwrap();
    let silence = space.ask("p2", &world, 3).unwrap_err();
    assert!(silence.contains("timeout") || silence.contains("deadline"), "{silence}");
    space.ask("p1", &world, 20).expect("its neighbour goes on");
    // What is held stays in the pool, and people are told.
    stage.eventually("the node's state names the lost address", || {
        let said =
            stage.kubectl_now(&["get", "spidernode", "worker", "-o", "jsonpath={.status.conditions}"])?;
        if said.contains(&format!("{lost} left NIC {NIC}")) { Ok(()) } else { Err(said) }
    });
    let pool = || {
        let pools = stage.get(&format!("{POOLS}?labelSelector=cloud.spidernet.io%2Fnic%3D{NIC}"));
        pools.into_iter().find(|pool| pool["spec"]["ipVersion"] == 4).unwrap()
    };
    stage.eventually(
        "agents are told, for the time after its pod",
        || match pool()["metadata"]["annotations"]["cloud.spidernet.io/denied"].as_str() {
            Some(denied) if denied == lost.to_string() => Ok(()),
            denied => Err(format!("{denied:?}")),
        },
    );

    // Its pod goes, another one comes: the pool has no other address, so this one waits.
    space.delete(&["p2"]);
    stage.eventually("p2 is gone", || space.pod("p2").map_or(Ok(()), |pod| Err(pod.phase)));
    space.create(&[draft(FIVE)]);
    stage.eventually("the pool does not name the lost address any more", || {
        let spec = &pool()["spec"];
        if offers(&spec["ips"], lost) { Err(spec.to_string()) } else { Ok(()) }
    });
    stage.eventually("the pod without an address says why", || {
        let events = ["get", "events", "-n", &space.name, "-o", "jsonpath={.items[*].message}"];
        match stage.kubectl_now(&events)? {
            said if said.contains("p5 gets no IPv4 address") => Ok(()),
            said => Err(said),
        }
    });
    let late = space.pod("p5").unwrap();
    assert_eq!((late.phase.as_str(), late.ips.len()), ("Pending", 0));
    assert!(!space.held().iter().any(|(address, _)| *address == lost), "{:?}", space.held());

    let added: IpAddr = ADDED.parse().unwrap();
    stage.nodes.edit(|cloud| cloud.assign(NIC, &[added])).unwrap().unwrap();
    let late = space.running("p5");
    assert_eq!(late.of("eth0")[0], added);
    assert_eq!(space.seen_by(&late, WORLD_V4.into()), testbed::NAT_V4.to_string());
    let neighbour = pods.iter().find(|pod| pod.name == "p1").unwrap();
    space.reaches(neighbour, neighbour.of("eth0")[0], &late, added);

    space.clear(PATIENCE + Duration::from_secs(30));
    stage.nodes.edit(|cloud| cloud.unassign(NIC, &[added])).unwrap().unwrap();
    stage.nodes.edit(|cloud| cloud.assign(NIC, &[lost])).unwrap().unwrap();
}

/// Whether ranges such as `192.168.0.161-192.168.0.165` hold an address of IPv4.
fn offers(ranges: &serde_json::Value, address: IpAddr) -> bool {
    let ranges = ranges.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
    let mut ranges = ranges.map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        parse(first)..=parse(last)
    });
    ranges.any(|range| range.contains(&address))
}
