//! Pods that no cloud would let through get nothing through here: without this, the other tests would prove little.

use serde_json::{Value, json};
use testbed::{WORLD_V4, WORLD_V6};

use crate::pod::Draft;
use crate::space::Space;
use crate::stage::{PATIENCE, stage_alone};

/// The last address that the master's first NIC has for crowds: no pool gives it out before 100 others.
const OWN: [&str; 2] = ["172.31.200.110/20", "2001:db8:31:c0ac:0:0:c8:6e/64"];
/// Addresses that the worker's NIC has.
const FOREIGN: [&str; 2] = ["172.31.201.110/20", "2001:db8:31:c0ac:0:0:c9:6e/64"];
/// Addresses that nobody has.
const NOBODYS: [&str; 2] = ["172.31.202.1/20", "2001:db8:31:c0ac:0:0:ca:1/64"];

/// A network with one address of each family that are what they are.
fn network(name: &str, namespace: &str, kind: &str, mode: &str, addresses: [&str; 2]) -> Value {
    let gateways = ["172.31.207.253", "2001:db8:31:c0ac:ffff:ffff:ffff:fff7"];
    let addresses = addresses.iter().zip(gateways);
    let addresses: Vec<_> =
        addresses.map(|(address, gateway)| json!({"address": address, "gateway": gateway})).collect();
    let config = json!({
        "cniVersion": "1.0.0", "name": name, "type": kind, "master": "eth0", "mode": mode,
        "ipam": {
            "type": "static", "addresses": addresses,
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    });
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"config": config.to_string()},
    })
}

#[test]
fn a_foreign_address_and_a_foreign_mac_get_nothing_through() {
    // Beside other pods' ipvlan interfaces no macvlan can stand on the NIC.
    let stage = stage_alone();
    let space = Space::new(&stage, "strangers");
    let kinds = [
        ("own", "ipvlan", "l2", OWN),
        ("foreign", "ipvlan", "l2", FOREIGN),
        ("nobodys", "ipvlan", "l2", NOBODYS),
        ("macvlan", "macvlan", "bridge", OWN),
    ];
    for (name, kind, mode, addresses) in kinds {
        space.apply(&network(name, &space.name, kind, mode, addresses));
    }
    let on = |name: &str| Draft::new(name, "master").default_network(&format!("{}/{name}", space.name));
    let [other] = space.run([Draft::new("other", "worker")]);
    let mut targets: Vec<String> = vec![format!("http://{WORLD_V4}/"), format!("http://[{WORLD_V6}]/")];
    for address in other.of("eth0") {
        let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        targets.push(format!("http://{host}:8080/"));
    }
    // Two of them have the same addresses, so the last one comes after the others.
    let (last, first) = kinds.split_last().unwrap();
    for group in [first, std::slice::from_ref(last)] {
        space.create(&group.iter().map(|(name, ..)| on(name)).collect::<Vec<_>>());
        for (name, ..) in group {
            space.running(name);
            for target in &targets {
                let answer = space.ask(name, target, if *name == "own" { 20 } else { 2 });
                match (*name, answer) {
                    ("own", answer) => assert!(answer.is_ok(), "{target}: {answer:?}\n{}", stage.logs()),
                    (_, Ok(answer)) => panic!("{name} reaches {target}: {answer}"),
                    (_, Err(error)) => assert!(
                        ["timeout", "deadline", "no route to host"].iter().any(|word| error.contains(word)),
                        "{name} to {target}: {error}"
                    ),
                }
            }
        }
        let names: Vec<&str> = group.iter().map(|(name, ..)| *name).collect();
        space.delete(&names);
        for name in names {
            stage.eventually("the pod is gone", || space.pod(name).map_or(Ok(()), |pod| Err(pod.phase)));
        }
    }
    space.clear(PATIENCE);
}
