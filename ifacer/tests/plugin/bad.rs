//! What is not as it should be: one clear error, and nothing is changed.

use serde_json::{Value, json};

use crate::call::Runtime;
use crate::world::{Kind, World};

fn asked(keys: Value) -> Runtime {
    let mut network = json!({ "interfaces": ["eth1", "eth2"], "bond": { "name": "bond0", "mode": 1 } });
    if let Value::Object(keys) = keys {
        keys.into_iter().for_each(|(key, value)| network[key] = value);
    }
    Runtime::new(network)
}

#[test]
fn what_cannot_be_used_is_named() {
    let world = World::new();
    let bond = |keys: Value| json!({ "bond": keys });
    for (keys, words) in [
        (json!({ "interfaces": [] }), &["\"interfaces\"", "one interface"][..]),
        (json!({ "interfaces": null }), &["\"interfaces\""]),
        (json!({ "interfaces": "eth1" }), &["\"interfaces\""]),
        (json!({ "interfaces": ["eth1", "eth1"] }), &["\"interfaces\"", "eth1 twice"]),
        (json!({ "interfaces": ["a/b", "eth1"] }), &["\"interfaces\"", "a/b"]),
        (json!({ "interfaces": [7] }), &["\"interfaces\""]),
        (json!({ "vlanID": 4095 }), &["\"vlanID\"", "4094"]),
        (json!({ "vlanID": -1 }), &["\"vlanID\""]),
        (json!({ "vlanID": "5" }), &["\"vlanID\""]),
        (json!({ "interfaces": ["interface-name"], "vlanID": 4000 }), &["\"vlanID\"", "15 bytes"]),
        (json!({ "mtu": 67 }), &["\"mtu\"", "68"]),
        (json!({ "bond": null }), &["\"bond\"", "need a bond"]),
        (json!({ "bond": [] }), &["\"bond\"", "an object"]),
        (bond(json!({ "name": "a b" })), &["\"bond.name\""]),
        (bond(json!({ "name": "eth1" })), &["\"bond.name\"", "eth1"]),
        (bond(json!({ "mode": 7 })), &["\"bond.mode\"", "balance-alb (6)"]),
        (bond(json!({ "mode": -1 })), &["\"bond.mode\""]),
        (bond(json!({ "mode": "lacp" })), &["\"bond.mode\"", "802.3ad (4)"]),
        (bond(json!({ "mode": [] })), &["\"bond.mode\""]),
        (bond(json!({ "options": "speed=9" })), &["\"bond.options\"", "\"speed\" is unknown", "miimon"]),
        (bond(json!({ "options": "miimon" })), &["\"bond.options\"", "\"=\""]),
        (bond(json!({ "options": "xmit_hash_policy=best" })), &["\"bond.options\"", "layer3+4 (1)"]),
        (bond(json!({ "options": "primary=eth3" })), &["\"bond.options\"", "eth3"]),
        (bond(json!({ "options": 7 })), &["\"bond.options\""]),
        (json!({ "logOptions": [] }), &["\"logOptions\""]),
        (json!({ "stateDir": "relative" }), &["\"stateDir\""]),
        (json!({ "lockFile": "relative" }), &["\"lockFile\""]),
        (json!({ "name": "" }), &["\"name\""]),
        (json!({ "name": 7 }), &["\"name\""]),
    ] {
        let runtime = asked(keys);
        world.refused(&runtime, 7, words);
        let (code, message) = runtime.fails(&world.node, "CHECK");
        assert!(code == 7 && words.iter().all(|word| message.contains(word)), "{message}");
        runtime.fails(&world.node, "STATUS");
        if !words.contains(&"\"name\"") {
            runtime.must(&world.node, "DEL");
        }
    }
}

#[test]
fn what_is_no_configuration_is_said_to_be_none() {
    let world = World::new();
    let before = world.node.all();
    let lacks = json!({ "cniVersion": "1.1.0", "type": "ifacer", "interfaces": ["eth1"] }).to_string();
    for (stdin, code, word) in [
        ("", 6, "no JSON"),
        ("{", 6, "no JSON"),
        ("[]", 6, "no object"),
        (&lacks, 7, "lacks the key \"name\""),
    ] {
        for verb in ["ADD", "CHECK", "STATUS"] {
            let told = Runtime::run_text(&world.node, verb, stdin);
            assert!(!told.succeeded && told.stdout["code"] == json!(code), "{stdin} {told:?}");
            assert!(told.stdout["msg"].as_str().unwrap().contains(word), "{told:?}");
        }
    }
    assert_eq!(world.node.all(), before);
    let told = Runtime::run_text(&world.node, "VERSION", "");
    assert!(told.stdout["supportedVersions"].as_array().unwrap().contains(&json!("0.3.1")), "{told:?}");
}

#[test]
fn an_interface_that_the_node_lacks_is_named() {
    let world = World::new();
    for keys in [
        json!({ "interfaces": ["eth9"], "vlanID": 5 }),
        json!({ "interfaces": ["eth9"] }),
        json!({ "interfaces": ["eth1", "eth9"] }),
    ] {
        let runtime = asked(keys);
        world.refused(&runtime, 113, &["no interface eth9", "\"interfaces\""]);
        let (code, message) = runtime.fails(&world.node, "STATUS");
        assert!(code == 50 && message.contains("eth9"), "{message}");
    }
}

#[test]
fn the_node_is_never_cut_off_by_a_bond() {
    let world = World::new();
    let with = |part: &str| asked(json!({ "interfaces": [part, "eth2"] }));
    world.refused(&with("eth0"), 113, &["eth0", "default route", "bond0"]);
    world.refused(&with("lo"), 113, &["lo", "no Ethernet"]);
    world.node.ip("address add fd00:9:1::2/64 dev eth1 nodad");
    world.refused(&with("eth1"), 113, &["eth1", "fd00:9:1::2"]);
    world.node.ip("address flush dev eth1");
    world.node.ip("address add 10.9.1.2/24 dev eth1");
    world.refused(&with("eth1"), 113, &["eth1", "10.9.1.2"]);
    // A way out in a table of its own, as policy routing of several NICs has it.
    world.node.ip("address del 10.9.1.2/24 dev eth1");
    world.node.ip("route add default dev eth1 table 101");
    world.refused(&with("eth1"), 113, &["eth1", "default route"]);
    world.node.ip("route del default dev eth1 table 101");
    if world.can(&with("eth1"), &[Kind::Bond]) {
        with("eth1").must(&world.node, "ADD");
    }
}

#[test]
fn a_nic_that_others_hold_is_refused() {
    let world = World::new();
    if world.node.try_ip("link add br0 type bridge").is_ok() {
        world.node.ip("link set eth1 master br0");
        world.refused(&asked(json!({})), 113, &["eth1 is a part of br0 already", "bond0"]);
        world.node.ip("link del br0");
    }
    world.node.ip("link add link eth1 name above type macvlan mode bridge");
    world.refused(&asked(json!({})), 113, &["eth1", "above", "macvlan", "stands on it"]);
}

#[test]
fn a_record_that_cannot_be_kept_keeps_no_pod_from_starting() {
    let world = World::new();
    let mut runtime = Runtime::new(json!({ "interfaces": ["eth1"], "stateDir": "/proc/nowhere" }));
    world.node.ip("link set eth1 down");
    runtime.must(&world.node, "ADD");
    world.shows("eth1", &[",UP"]);
    assert!(runtime.log().contains("cannot keep a record in /proc/nowhere"), "{}", runtime.log());
    runtime.network["lockFile"] = json!("/proc/nowhere/lock");
    world.refused(&runtime, 5, &["cannot lock /proc/nowhere/lock"]);
}

#[test]
fn a_del_succeeds_whatever_there_is() {
    let world = World::new();
    let before = world.node.all();
    for keys in
        [json!({}), json!({ "interfaces": 7 }), json!({ "interfaces": ["eth9"] }), json!({ "prevResult": 7 })]
    {
        let runtime = asked(keys);
        runtime.must(&world.node, "DEL");
        runtime.must(&world.node, "DEL");
    }
    let mut runtime = asked(json!({}));
    runtime.network["cni.dev/valid-attachments"] = json!([]);
    runtime.must(&world.node, "GC");
    assert_eq!(world.node.all(), before);
}
