use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::{SystemTime, UNIX_EPOCH};

use wire::{DelRequest, QueuedDel};

use crate::agent::{ScriptedAgent, http};
use crate::call::Call;

fn kept(call: &Call) -> QueuedDel {
    let queue = call.queue();
    assert_eq!(queue.len(), 1, "{queue:?}");
    assert!(queue[0].to_str().unwrap().ends_with("/sandbox-1_pod.json"), "{queue:?}");
    serde_json::from_slice(&fs::read(&queue[0]).unwrap()).unwrap()
}

#[test]
fn a_del_that_the_agent_cannot_hear_is_kept_and_succeeds() {
    let call = Call::new();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let told = call.run("DEL");
    assert!(told.succeeded && told.stdout.is_null(), "{told:?}");
    let QueuedDel { request, queued_at } = kept(&call);
    let wanted = DelRequest {
        container_id: "sandbox-1".to_owned(),
        if_name: "pod".to_owned(),
        net_namespace: "/proc/self/ns/net".to_owned(),
        pod_namespace: "default".to_owned(),
        pod_name: "web-0".to_owned(),
        pod_uid: "u-1".to_owned(),
    };
    assert_eq!(request, wanted);
    assert!((before..before + 60).contains(&queued_at));
    // Nobody else's business.
    assert_eq!(fs::metadata(&call.queue()[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(call.log().contains("kept the DEL"), "{}", call.log());
}

#[test]
fn a_del_that_the_agent_does_not_carry_out_is_kept() {
    for answer in [
        http(500, "\"the API server does not answer\""),
        String::new(),
        http(404, ""),
        "nonsense\r\n".to_owned(),
    ] {
        let call = Call::new();
        let _agent = ScriptedAgent::saying(call.path(), answer);
        assert!(call.run("DEL").succeeded);
        kept(&call);
    }
    let call = Call::new();
    drop(UnixListener::bind(call.path().join("agent.sock")).unwrap());
    assert!(call.run("DEL").succeeded);
    kept(&call);
}

#[test]
fn a_del_that_is_repeated_is_kept_once() {
    let call = Call::new();
    for _ in 0..3 {
        assert!(call.run("DEL").succeeded);
    }
    kept(&call);
}

#[test]
fn dels_of_other_interfaces_are_kept_beside_it() {
    let call = Call::new();
    assert!(call.run("DEL").succeeded);
    let call = call.with("CNI_IFNAME", "net1");
    assert!(call.run("DEL").succeeded);
    assert_eq!(call.queue().len(), 2);
}

#[test]
fn a_del_that_cannot_even_be_kept_fails_so_that_the_runtime_repeats_it() {
    let call = Call::new();
    fs::write(call.path().join("queue"), "in the way").unwrap();
    let told = call.run("DEL");
    assert_eq!(told.code(), 100);
    assert!(
        told.message().contains("does not exist") && told.message().contains("cannot be kept"),
        "{told:?}"
    );
}
