//! A reboot: a node with the same NICs and the same disk, whose kernel has forgotten everything.

use std::fs;

use ifacer::assert::{self, Outcome, Places};
use serde_json::json;

use crate::call::Runtime;
use crate::world::{Kind, World};

fn assert_all(world: &World, places: &Places) -> Vec<Outcome> {
    world.node.inside(|| assert::all(places))
}

fn done(outcomes: &[Outcome]) -> Vec<(&str, &[String])> {
    outcomes.iter().map(|it| (it.device.as_str(), it.result.as_ref().unwrap().as_slice())).collect()
}

/// N00006.
#[test]
fn after_a_reboot_vlans_and_bonds_come_back_before_any_pod() {
    let world = World::new();
    let mut runtime = Runtime::new(json!({
        "interfaces": ["eth1", "eth2"], "vlanID": 7, "bond": { "name": "bond0", "mode": 1, "options": "miimon=50" },
    }));
    if !world.can(&runtime, &[Kind::Bond, Kind::Vlan]) {
        return;
    }
    runtime.must(&world.node, "ADD");
    let bond = runtime.network.clone();
    runtime.network = json!({ "interfaces": ["eth3"], "vlanID": 5 });
    runtime.must(&world.node, "ADD");
    assert_eq!(runtime.records(), ["bond0.7.json", "eth3.5.json"]);
    drop(world);

    let world = World::new();
    world.node.ip("link set eth3 down");
    let outcomes = assert_all(&world, &runtime.places());
    assert_eq!(outcomes.len(), 2);
    let all = done(&outcomes);
    assert_eq!(all[1].1, ["set eth3 up", "create eth3.5, VLAN 5 of eth3"]);
    world.shows("bond0", &["mode active-backup", "miimon 50", ",UP"]);
    world.shows("bond0.7", &["bond0.7@bond0", "id 7 ", ",UP"]);
    world.shows("eth3.5", &["eth3.5@eth3", "id 5 ", ",UP"]);
    runtime.must(&world.node, "CHECK");
    runtime.network = bond;
    runtime.must(&world.node, "CHECK");
    // As often as one likes.
    assert!(done(&assert_all(&world, &runtime.places())).iter().all(|(_, done)| done.is_empty()));
    drop(world);

    // Upstream's way: the next pod of each network.
    let world = World::new();
    runtime.must(&world.node, "ADD");
    runtime.must(&world.node, "CHECK");
}

#[test]
fn nics_that_pods_stand_on_are_up_again_after_a_reboot() {
    let world = World::new();
    let mut runtime = Runtime::new(json!({ "interfaces": ["eth1"] }));
    runtime.must(&world.node, "ADD");
    runtime.network = json!({ "interfaces": ["eth2"], "mtu": 9000 });
    runtime.must(&world.node, "ADD");
    drop(world);
    let world = World::new();
    for nic in ["eth1", "eth2", "eth3"] {
        world.node.ip(&format!("link set {nic} down"));
    }
    let outcomes = assert_all(&world, &runtime.places());
    let all = done(&outcomes);
    assert_eq!(all[0], ("eth1", &["set eth1 up".to_owned()][..]));
    assert_eq!(all[1].1, ["raise the MTU of eth2 to 9000", "set eth2 up"]);
    world.shows("eth1", &[",UP"]);
    world.shows("eth2", &[",UP", "mtu 9000"]);
    assert!(!world.node.ip("-o link show eth3").contains(",UP"), "nobody asked for eth3");
}

#[test]
fn what_cannot_be_asserted_is_told_and_keeps_nothing_else_from_being() {
    let world = World::new();
    world.node.ip("link set eth1 down");
    let runtime = Runtime::new(json!({}));
    let places = runtime.places();
    assert!(assert_all(&world, &places).is_empty(), "there is no folder yet");
    fs::create_dir_all(&places.records).unwrap();
    let files = [
        ("a.json", "{"),
        ("b.json", "{\"format\": 2, \"what\": \"ever\"}"),
        ("c.json", "{\"format\": 1, \"asked\": {\"interfaces\": [\"eth9\"]}}"),
        (
            "d.json",
            "{\"format\": 1, \"asked\": {\"interfaces\": [\"eth0\", \"eth2\"], \"bond\": {\"name\": \"x\", \"mode\": \"1\", \"options\": \"\"}}}",
        ),
        ("e.json", "{\"format\": 1, \"asked\": {\"interfaces\": [\"eth1\"]}}"),
        ("f.json.9.tmp", "{"),
    ];
    for (name, text) in files {
        fs::write(places.records.join(name), text).unwrap();
    }
    let told: Vec<_> = assert_all(&world, &places)
        .into_iter()
        .map(|it| (it.device, it.result.map_err(|why| why.to_string())))
        .collect();
    for ((device, result), (name, words)) in told.iter().zip([
        ("a", &["a.json", "no record"][..]),
        ("b", &["b.json", "format is 2", "it is kept"]),
        ("c", &["no interface eth9"]),
        ("d", &["eth0", "default route"]),
        ("e", &[]),
    ]) {
        assert_eq!(device, name);
        match result {
            Ok(done) => assert_eq!((words.len(), done.as_slice()), (0, &["set eth1 up".to_owned()][..])),
            Err(why) => assert!(!words.is_empty() && words.iter().all(|word| why.contains(word)), "{why}"),
        }
    }
    assert_eq!(told.len(), 5);
    for (name, text) in files {
        assert_eq!(fs::read_to_string(places.records.join(name)).unwrap(), text);
    }
    // A folder that is none.
    let wrong = Places { records: places.records.join("a.json"), ..places };
    assert!(matches!(assert_all(&world, &wrong).as_slice(), [Outcome { result: Err(_), .. }]));
}
