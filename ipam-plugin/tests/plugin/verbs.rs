use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::agent::{ScriptedAgent, both_families, http};
use crate::call::{Call, Told};

#[test]
fn an_add_gives_the_addresses_of_its_interface_in_each_versions_shape() {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let call = Call::new().set("cniVersion", version);
        let agent = ScriptedAgent::saying(call.path(), http(200, &both_families().to_string()));
        let told = call.run("ADD");
        let mut ips = json!([
            { "address": "10.9.0.5/24", "gateway": "10.9.0.1" },
            { "address": "fd00:9::5/64", "gateway": "fd00:9::1" },
        ]);
        if version < "1" {
            ips[0]["version"] = "4".into();
            ips[1]["version"] = "6".into();
        }
        let routes = json!([{ "dst": "0.0.0.0/0", "gw": "10.9.0.1" }, { "dst": "::/0", "gw": "fd00:9::1" }]);
        assert_eq!(told.stdout, json!({ "cniVersion": version, "ips": ips, "routes": routes }));
        assert!(told.succeeded);
        assert_eq!(agent.asked().what, "POST /v1/ipam/ip");
        agent.nothing_more();
    }
}

#[test]
fn an_add_says_all_that_upstreams_agent_needs() {
    let call = Call::new()
        .set_ipam("default_ipv4_ippool", json!(["a", "b*"]))
        .set_ipam("default_ipv6_ippool", json!(["c"]))
        .set_ipam("clean_gateway", true)
        .set_ipam("match_master_subnet", true)
        .set("args", json!({ "cni": { "ips": ["10.0.0.1"] } }));
    let agent = ScriptedAgent::saying(call.path(), http(200, &both_families().to_string()));
    assert!(call.run("ADD").succeeded);
    let wanted = json!({
        "containerID": "sandbox-1", "ifName": "pod", "netNamespace": "/proc/self/ns/net",
        "podNamespace": "default", "podName": "web-0", "podUID": "u-1",
        "defaultIPv4IPPool": ["a", "b*"], "defaultIPv6IPPool": ["c"], "cleanGateway": true, "matchMasterSubnet": true,
    });
    assert_eq!(agent.asked().body, wanted);
}

#[test]
fn a_del_asks_once_and_prints_nothing() {
    for call in [Call::new(), Call::new().without("CNI_NETNS"), Call::new().without("CNI_ARGS")] {
        let agent = ScriptedAgent::saying(call.path(), http(200, ""));
        let told = call.run("DEL");
        assert!(told.succeeded && told.stdout.is_null(), "{told:?}");
        let asked = agent.asked();
        assert_eq!(
            (asked.what.as_str(), &asked.body["containerID"], &asked.body["ifName"]),
            ("DELETE /v1/ipam/ip", &json!("sandbox-1"), &json!("pod"))
        );
        assert_eq!(call.queue(), Vec::<std::path::PathBuf>::new());
        agent.nothing_more();
    }
}

#[test]
fn a_status_tells_whether_the_agent_serves() {
    let call = Call::new();
    assert_eq!(call.run("STATUS").code(), 50);
    let agent = ScriptedAgent::saying(call.path(), http(200, ""));
    assert!(call.run("STATUS").succeeded);
    assert_eq!(agent.asked().what, "GET /v1/ipam/healthy");
    let call = Call::new();
    let _agent = ScriptedAgent::saying(call.path(), http(500, "\"no caches yet\""));
    let told = call.run("STATUS");
    assert!(told.code() == 50 && told.message().contains("no caches yet"), "{told:?}");
}

#[test]
fn a_gc_names_what_the_runtime_still_has() {
    let attachments =
        json!([{ "containerID": "a", "ifname": "eth0" }, { "containerID": "b", "ifname": "net1" }]);
    let call = Call::new().set("cni.dev/valid-attachments", attachments);
    let agent = ScriptedAgent::saying(call.path(), http(200, ""));
    assert!(call.run("GC").succeeded);
    let asked = agent.asked();
    assert_eq!(asked.what, "POST /v1/ipam/gc");
    let wanted = json!([{ "containerID": "a", "ifName": "eth0" }, { "containerID": "b", "ifName": "net1" }]);
    assert_eq!(asked.body["attachments"], wanted);
}

#[test]
fn a_gc_that_does_not_say_what_is_valid_frees_nothing() {
    for call in [
        Call::new(),
        Call::new().set("cni.dev/valid-attachments", "all"),
        Call::new().set("cni.dev/valid-attachments", json!([{ "containerID": "a" }])),
        Call::new().set("cni.dev/valid-attachments", json!([{ "containerID": "../a", "ifname": "eth0" }])),
    ] {
        let agent = ScriptedAgent::saying(call.path(), http(200, ""));
        assert!([4, 7].contains(&call.run("GC").code()));
        agent.nothing_more();
    }
}

#[test]
fn a_gc_at_upstreams_agent_does_nothing_and_succeeds() {
    let call = Call::new().set("cni.dev/valid-attachments", json!([]));
    let _agent = ScriptedAgent::saying(
        call.path(),
        http(404, "{\"code\":404,\"message\":\"path /v1/ipam/gc was not found\"}"),
    );
    assert!(call.run("GC").succeeded);
}

#[test]
fn versions_are_named_without_an_agent_and_whatever_comes_in() {
    let all = json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    for (stdin, version) in [
        ("{\"cniVersion\":\"0.4.0\"}", "0.4.0"),
        ("{\"cniVersion\":\"9.9.9\"}", "1.1.0"),
        ("", "1.1.0"),
        ("{", "1.1.0"),
    ] {
        let told = Call::new().run_with("VERSION", stdin.as_bytes());
        assert_eq!(told.stdout, json!({ "cniVersion": version, "supportedVersions": all }));
        assert!(told.succeeded);
    }
}

#[test]
fn a_plugin_that_is_ended_closes_its_connection() {
    let call = Call::new();
    // Never answers; tells when the plugin is gone.
    let (tell, gone) = std::sync::mpsc::channel();
    let _agent = ScriptedAgent::new(call.path(), move |_, mut stream| {
        let read = std::io::Read::read(&mut stream, &mut [0; 1]).unwrap();
        tell.send(read).unwrap();
    });
    let child = call.start("ADD", call.network.to_string().as_bytes());
    assert!(gone.recv_timeout(Duration::from_millis(300)).is_err(), "hung up before it was ended");
    let ended = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(ended.success());
    assert_eq!(gone.recv_timeout(Duration::from_secs(5)).unwrap(), 0);
    assert!(!child.wait_with_output().unwrap().status.success());
}

#[test]
fn forty_calls_at_once_do_not_mix() {
    let call = Call::new();
    let _agent = ScriptedAgent::new(call.path(), |asked, mut stream| {
        let pod = asked.body["podName"].as_str().unwrap();
        let number: u8 = pod.strip_prefix("web-").unwrap().parse().unwrap();
        let body =
            json!({ "ips": [{ "version": 4, "address": format!("10.9.0.{number}/24"), "nic": "pod" }] });
        std::io::Write::write_all(&mut stream, http(200, &body.to_string()).as_bytes()).unwrap();
    });
    let network = call.network.to_string();
    let socket_of = |number: u8| {
        let args = format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-{number};K8S_POD_UID=u");
        let own = Call::new().with("CNI_ARGS", args);
        let told = Told::of(&own.start("ADD", network.as_bytes()).wait_with_output().unwrap());
        assert_eq!(told.stdout["ips"][0]["address"], format!("10.9.0.{number}/24"));
    };
    thread::scope(|scope| (1..=40).for_each(|number| drop(scope.spawn(move || socket_of(number)))));
    let log = call.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pods: BTreeSet<_> =
        lines.iter().filter(|line| line["level"] == "info").map(|line| line["pod"].to_string()).collect();
    assert_eq!(pods.len(), 40);
}
