//! How the service behaves: throttling, lag, and everything that goes wrong on purpose.

use std::time::Duration;

use testbed::aliyun::{Addresses, Budget, Delays, Fate, Fault, RetryAfter, STRAY, Simulator, Topology, When};

use super::client::{Ask, all_nics, http, listed, seed};

const LIST: &str = "DescribeNetworkInterfaces";
const NIC: &str = "eni-bp1worker1";

fn ips(texts: &[&str]) -> Vec<std::net::IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_budget_that_is_spent_in_one_minute_is_whole_in_the_next() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.clock.stop_at("2026-11-21T10:00:30Z".parse().unwrap());
        cloud.throttle.set(LIST, Budget::PerMinute(2));
    });
    let ask = || Ask::ecs(&sim, LIST, &[]);
    assert_eq!(ask().answer().await.status, 200);
    assert_eq!(ask().answer().await.status, 200);
    let answer = ask().answer().await;
    assert_eq!((answer.status, answer.code(), &answer.retry_after), (400, "Throttling.User", &None));
    assert_eq!(Ask::ecs(&sim, "DescribeInstances", &[]).answer().await.status, 200, "another action is free");
    sim.edit(|cloud| cloud.throttle.retry_after = RetryAfter::Header);
    assert_eq!(ask().answer().await.retry_after.as_deref(), Some("30000"));
    sim.edit(|cloud| cloud.clock.advance(Duration::from_secs(30)));
    assert_eq!(ask().answer().await.status, 200);
    assert_eq!(sim.calls().ended(LIST, Fate::Throttled), 2);
}

#[tokio::test]
async fn a_listing_lags_behind_a_change_for_as_long_as_set() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.clock.stop();
        cloud.delays = Delays { listing: Duration::from_secs(5), ..Delays::default() };
        cloud.assign(NIC, &ips(&["192.168.0.200"]))
    })
    .unwrap();
    let advance = |seconds| sim.edit(|cloud| cloud.clock.advance(Duration::from_secs(seconds)));
    advance(2);
    sim.edit(|cloud| cloud.unassign(NIC, &ips(&["192.168.0.161"]))).unwrap();
    let shown = async || {
        let list = listed(&sim, NIC).await;
        let has = |ip: &str| list.iter().any(|held| held == ip);
        (has("192.168.0.200"), has("192.168.0.161"))
    };
    assert_eq!(shown().await, (false, true), "neither change is seen");
    advance(3);
    assert_eq!(shown().await, (true, true), "the first one is");
    advance(2);
    assert_eq!(shown().await, (true, false), "both are");
}

#[tokio::test]
async fn a_move_is_seen_in_one_step() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.delays.listing = Duration::from_mins(1);
        cloud.clock.stop();
        cloud.move_ips("eni-bp1worker1", "eni-bp1master1", &ips(&["192.168.0.161"]))
    })
    .unwrap();
    assert_eq!((listed(&sim, "eni-bp1master1").await.len(), listed(&sim, NIC).await.len()), (5, 5));
    sim.edit(|cloud| cloud.clock.advance(Duration::from_mins(1)));
    assert_eq!((listed(&sim, "eni-bp1master1").await.len(), listed(&sim, NIC).await.len()), (6, 4));
}

#[tokio::test]
async fn scripted_refusals_carry_their_code_and_status() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.faults.add(LIST, When::Next(1), Fault::Throttled);
        cloud.faults.add(LIST, When::Next(1), Fault::Unavailable);
        cloud.faults.add(LIST, When::Next(1), Fault::code("Forbidden.RAM"));
    });
    let mut seen = Vec::new();
    for _ in 0..4 {
        let answer = Ask::ecs(&sim, LIST, &[]).answer().await;
        seen.push((answer.status, answer.code().to_owned(), answer.json.get("AccessDeniedDetail").is_some()));
    }
    let row = |status, code: &str, detail| (status, code.to_owned(), detail);
    assert_eq!(
        seen,
        [
            row(400, "Throttling.User", false),
            row(503, "ServiceUnavailable", false),
            row(403, "Forbidden.RAM", true),
            row(200, "", false)
        ]
    );
}

#[tokio::test]
async fn html_comes_in_place_of_json() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.faults.add("*", When::Next(1), Fault::HtmlBadGateway));
    let answer = Ask::ecs(&sim, LIST, &[]).answer().await;
    assert_eq!(answer.status, 502);
    assert!(answer.text.starts_with("<html>"));
    assert_eq!(sim.calls().ended(LIST, Fate::Spoilt), 1);
}

#[tokio::test]
async fn cut_json_is_a_whole_reply_that_does_not_parse_and_a_cut_body_breaks_the_connection() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.faults.add(LIST, When::Next(1), Fault::CutJson);
        cloud.faults.add(LIST, When::Next(1), Fault::CutBody);
    });
    let answer = Ask::ecs(&sim, LIST, &[]).answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.json.is_null() && answer.text.starts_with('{'));
    let error = Ask::ecs(&sim, LIST, &[]).send().await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "the head came, the body did not: {error:?}");
}

#[tokio::test]
async fn a_lost_reply_is_lost_after_the_change() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.faults.add("AssignPrivateIpAddresses", When::Next(1), Fault::ReplyLost));
    let query = [("NetworkInterfaceId", NIC), ("SecondaryPrivateIpAddressCount", "1")];
    let error = Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).send().await.unwrap_err();
    assert!(error.is_request(), "no head came: {error:?}");
    assert_eq!(listed(&sim, NIC).await.len(), 6);
}

#[tokio::test]
async fn a_hanging_call_ends_with_the_simulator() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.faults.add(LIST, When::Always, Fault::Hang));
    let ask = Ask::ecs(&sim, LIST, &[]);
    let call = tokio::spawn(async move { ask.send().await });
    while sim.calls().of(LIST) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!call.is_finished(), "it hangs");
    drop(sim);
    assert!(call.await.unwrap().is_err(), "the connection was closed");
}

#[tokio::test]
async fn an_empty_page_carries_the_token_of_the_page_that_should_have_come() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.faults.add(LIST, When::Nth(1), Fault::EmptyPage));
    let answer = Ask::ecs(&sim, LIST, &[("MaxResults", "500")]).answer().await;
    assert!(answer.list("/NetworkInterfaceSets/NetworkInterfaceSet").is_empty());
    assert_ne!(answer.json["NextToken"], "");
    sim.edit(|cloud| cloud.faults.add(LIST, When::Nth(1), Fault::EmptyPage));
    assert_eq!(all_nics(&sim, &[]).await.len(), 4, "a client that goes on loses nothing");
}

#[tokio::test]
async fn a_token_that_never_ends_is_another_one_each_time() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.faults.add(LIST, When::Always, Fault::EndlessToken));
    let mut tokens = std::collections::BTreeSet::new();
    let mut token = String::new();
    for _ in 0..5 {
        let query = [("MaxResults", "500"), ("NextToken", token.as_str())];
        let answer = Ask::ecs(&sim, LIST, &query).answer().await;
        token = answer.json["NextToken"].as_str().unwrap().to_owned();
        assert!(!token.is_empty() && tokens.insert(token.clone()));
    }
}

#[tokio::test]
async fn impossible_addresses_are_listed_on_command() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.faults.add(LIST, When::Nth(1), Fault::DuplicateAddress);
        cloud.faults.add(LIST, When::Nth(2), Fault::StrayAddress);
    });
    let count =
        |nics: &[serde_json::Value], ip: &str| nics.iter().filter(|nic| nic.to_string().contains(ip)).count();
    assert_eq!(count(&all_nics(&sim, &[]).await, "172.31.199.189"), 2);
    assert_eq!(count(&all_nics(&sim, &[]).await, STRAY), 1);
    sim.edit(|cloud| cloud.plant(NIC, &ips(&["10.99.0.1"]))).unwrap();
    assert_eq!(count(&all_nics(&sim, &[]).await, "10.99.0.1"), 1);
}

#[tokio::test]
async fn removing_an_instance_takes_its_nics_along() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.remove_instance("i-bp1worker"));
    let left = all_nics(&sim, &[("InstanceId", "i-bp1worker")]).await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(all_nics(&sim, &[("InstanceId", "i-bp1master")]).await.len(), 2);
}

#[tokio::test]
async fn a_large_topology_has_no_address_twice_and_none_outside_its_vswitch() {
    let sim = Simulator::start().await.unwrap();
    sim.edit(|cloud| {
        Topology::large(500, 4, 20).build(cloud).unwrap();
        let world = cloud.world();
        let mut seen = std::collections::BTreeSet::new();
        for nic in world.nics() {
            let vswitch = world.vswitch(&nic.vswitch).unwrap();
            for address in nic.addresses() {
                assert!(vswitch.may_hold(address), "{address} of {}", nic.id);
                assert!(seen.insert(address), "{address} twice");
            }
        }
        assert_eq!(seen.len(), 500 * 4 * (1 + 20 + 20));
    });
}

#[tokio::test]
async fn the_control_port_changes_the_cloud_and_says_what_was_wrong() {
    let addresses = Addresses { control: Some("127.0.0.1:0".parse().unwrap()), ..Addresses::default() };
    let sim = Simulator::start_on(addresses).await.unwrap();
    sim.edit(|cloud| Topology::seed().build(cloud)).unwrap();
    let base = sim.endpoints().control.clone().unwrap();
    let post = async |verb: &str, body: &str| {
        let reply = http().post(format!("{base}/control/{verb}")).body(body.to_owned()).send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    };
    let added =
        post("assign", r#"{"nic":"eni-bp1worker1","ips":["192.168.0.200","2001:db8:31:c0c0::200"]}"#).await;
    assert_eq!(added.0, 200, "{added:?}");
    assert_eq!(listed(&sim, NIC).await.len(), 6);
    let taken = post("assign", r#"{"nic":"eni-bp1worker1","ips":["192.168.0.200"]}"#).await;
    assert!(taken.0 == 403 && taken.1.contains("InvalidIp.IpAssigned"), "{taken:?}");
    assert_eq!(post("fly", "{}").await.0, 400);
    for (verb, body) in [
        ("addInstance", r#"{"id":"i-new","name":"third","type":"ecs.g7.xlarge","vswitch":"vsw-bp1seed0"}"#),
        ("attachPrimary", r#"{"instance":"i-new","nic":"eni-new0","vswitch":"vsw-bp1seed0"}"#),
        ("attachSecondary", r#"{"instance":"i-new","nic":"eni-new1","vswitch":"vsw-bp1seed1"}"#),
        ("move", r#"{"from":"eni-bp1worker1","to":"eni-new1","ips":["192.168.0.200"]}"#),
        ("detach", r#"{"nic":"eni-new1"}"#),
        ("removeInstance", r#"{"id":"i-bp1worker"}"#),
    ] {
        let done = post(verb, body).await;
        assert_eq!(done.0, 200, "{verb}: {done:?}");
    }
    let state = http().get(format!("{base}/control/state")).send().await.unwrap().text().await.unwrap();
    assert!(state.contains("i-new") && !state.contains("i-bp1worker"), "{state}");
}
