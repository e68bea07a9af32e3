use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::{ScriptedAgent, both_families, http};
use crate::call::Call;
use crate::pair::Pair;

/// The agent's answer with a wish for every address.
fn wishing(key: &str) -> String {
    let mut reply = both_families();
    reply["ips"].as_array_mut().unwrap().iter_mut().for_each(|ip| ip[key] = Value::Bool(true));
    http(200, &reply.to_string())
}

#[test]
fn an_address_that_a_neighbour_has_is_given_back_as_a_conflict() {
    for address in ["10.9.0.5/24", "fd00:9::5/64 nodad"] {
        let pair = Pair::new();
        pair.peer.ip(&format!(
            "address add {} dev peer{}",
            address.split(' ').next().unwrap(),
            if address.contains(' ') { " nodad" } else { "" }
        ));
        let call = Call::new().with("CNI_NETNS", pair.pod.path());
        let agent = ScriptedAgent::saying(call.path(), wishing("enableIPConflictDetection"));
        let told = call.run("ADD");
        assert_eq!(told.code(), 104, "{told:?}");
        assert!(
            told.message().contains(address.split('/').next().unwrap())
                && told.message().contains(&pair.peer.mac()),
            "{told:?}"
        );
        assert_eq!(agent.asked().what, "POST /v1/ipam/ip");
        let release = agent.asked();
        assert_eq!(
            (release.what.as_str(), &release.body["isReleaseConflictIPs"], &release.body["podUID"]),
            ("DELETE /v1/ipam/ips", &json!(true), &json!("u-1"))
        );
        agent.nothing_more();
    }
}

#[test]
fn an_agent_that_forbids_the_release_is_quoted() {
    let pair = Pair::new();
    pair.peer.ip("address add 10.9.0.5/24 dev peer");
    let call = Call::new().with("CNI_NETNS", pair.pod.path());
    let add = wishing("enableIPConflictDetection");
    let _agent = ScriptedAgent::new(call.path(), move |asked, mut stream| {
        let answer = if asked.what.starts_with("POST") {
            add.clone()
        } else {
            http(521, "\"forbidden by configuration\"")
        };
        std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
    });
    let told = call.run("ADD");
    assert!(
        told.code() == 104 && told.stdout["details"].as_str().unwrap().contains("forbidden by configuration"),
        "{told:?}"
    );
}

#[test]
fn a_gateway_that_is_silent_fails_the_add_but_puts_no_blame_on_the_address() {
    let pair = Pair::new();
    pair.peer.ip("address add 10.9.0.1/24 dev peer");
    let call = Call::new().with("CNI_NETNS", pair.pod.path());
    let agent = ScriptedAgent::saying(call.path(), wishing("enableGatewayDetection"));
    let told = call.run("ADD");
    assert!(told.code() == 105 && told.message().contains("fd00:9::1"), "{told:?}");
    agent.asked();
    assert_eq!(agent.asked().body["isReleaseConflictIPs"], false);
}

#[test]
fn free_addresses_with_a_gateway_that_answers_are_given_and_announced() {
    let pair = Pair::new();
    pair.pod.ip("link set pod down");
    pair.peer.ip("address add 10.9.0.1/24 dev peer");
    pair.peer.ip("address add fd00:9::1/64 dev peer nodad");
    pair.peer.ip("neighbour replace 10.9.0.5 dev peer lladdr 02:00:00:00:00:99 nud stale");
    let call = Call::new().with("CNI_NETNS", pair.pod.path());
    let mut reply = both_families();
    for ip in reply["ips"].as_array_mut().unwrap() {
        ip["enableIPConflictDetection"] = true.into();
        ip["enableGatewayDetection"] = true.into();
    }
    let agent = ScriptedAgent::saying(call.path(), http(200, &reply.to_string()));
    // The kernel believes nothing within a second of an entry's last change.
    thread::sleep(Duration::from_millis(1100));
    let begin = Instant::now();
    let told = call.run("ADD");
    assert!(told.succeeded, "{told:?}");
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(2)).contains(&begin.elapsed()),
        "{:?}",
        begin.elapsed()
    );
    agent.asked();
    agent.nothing_more();
    let neighbours = || pair.peer.ip("neighbour show 10.9.0.5 dev peer");
    let deadline = Instant::now() + Duration::from_secs(5);
    while !neighbours().contains(&pair.pod.mac()) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(neighbours().contains(&pair.pod.mac()), "{}", neighbours());
}

#[test]
fn without_a_wish_the_link_is_left_as_it_is() {
    let pair = Pair::new();
    pair.pod.ip("link set pod down");
    let call = Call::new().with("CNI_NETNS", pair.pod.path());
    let _agent = ScriptedAgent::saying(call.path(), http(200, &both_families().to_string()));
    assert!(call.run("ADD").succeeded);
    assert!(pair.pod.ip("link show dev pod").contains("state DOWN"));
}

#[test]
fn an_interface_that_is_not_there_yet_cannot_be_asked_and_costs_nothing() {
    let pair = Pair::new();
    pair.pod.ip("link delete pod");
    let call = Call::new().with("CNI_NETNS", pair.pod.path());
    let _agent = ScriptedAgent::saying(call.path(), wishing("enableIPConflictDetection"));
    assert!(call.run("ADD").succeeded);
    assert!(call.log().contains("not there yet"), "{}", call.log());
}

#[test]
fn a_check_fails_when_an_address_is_gone_from_the_interface() {
    let pair = Pair::new();
    pair.pod.ip("address add 10.9.0.5/24 dev pod");
    pair.pod.ip("address add fd00:9::5/64 dev pod nodad");
    let made = json!({
        "cniVersion": "0.4.0",
        "interfaces": [{ "name": "pod", "sandbox": "x" }, { "name": "other" }],
        "ips": [
            { "version": "4", "address": "10.9.0.5/24", "interface": 0 },
            { "version": "6", "address": "fd00:9::5/64" },
            { "version": "4", "address": "10.8.0.5/24", "interface": 1 },
        ],
    });
    for answer in [http(200, ""), http(404, "")] {
        let call = Call::new()
            .set("cniVersion", "0.4.0")
            .set("prevResult", made.clone())
            .with("CNI_NETNS", pair.pod.path());
        let agent = ScriptedAgent::saying(call.path(), answer);
        let told = call.run("CHECK");
        assert!(told.succeeded && told.stdout.is_null(), "{told:?}");
        let asked = agent.asked();
        assert_eq!(
            (asked.what.as_str(), &asked.body["addresses"]),
            ("POST /v1/ipam/check", &json!(["10.9.0.5", "fd00:9::5"]))
        );
    }
    pair.pod.ip("address delete fd00:9::5/64 dev pod");
    let call = Call::new().set("prevResult", made.clone()).with("CNI_NETNS", pair.pod.path());
    let _agent = ScriptedAgent::saying(call.path(), http(200, ""));
    let told = call.run("CHECK");
    assert!(told.code() == 103 && told.message().contains("fd00:9::5"), "{told:?}");
    let call = call.with("CNI_IFNAME", "gone0").set("prevResult", json!({ "ips": [] }));
    let told = call.run("CHECK");
    assert!(told.code() == 103 && told.message().contains("gone0"), "{told:?}");
    let call = Call::new().set("prevResult", made).with("CNI_NETNS", pair.pod.path());
    let _agent = ScriptedAgent::saying(call.path(), http(409, "\"the address belongs to another pod\""));
    let told = call.run("CHECK");
    assert!(told.code() == 103 && told.message().contains("another pod"), "{told:?}");
}
