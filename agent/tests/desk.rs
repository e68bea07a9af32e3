//! Desks against a real API server: one address for one pod, durable answers, and nothing left behind.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says what it missed and ends"
)]
#![expect(clippy::similar_names, reason = "what is lost, and how much of it, are named alike")]

#[path = "desk/proxy.rs"]
mod proxy;
#[path = "desk/stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::time::Duration;

use agent::desk::{DeskError, Filter, TakeError};
use agent::pools::{Pools, Rules};
use model::ledger::{Claim, Refusal, Release};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use proxy::Proxy;
use stage::{NO_REST, Office, SOON, Stage, Witness, claim, config, release, soon};

async fn three() -> [Office; 3] {
    [Office::open("n1", NO_REST).await, Office::open("n2", NO_REST).await, Office::open("n3", NO_REST).await]
}

/// One pod after the other gets an address, has it for a moment, and goes.
async fn churn(pools: Pools, pool: String, client: String, rounds: usize, witness: Witness) {
    for round in 0..rounds {
        let uid = format!("{client}-{round}");
        let held = pools.take(&pool, claim(&uid), soon()).await.expect("an address");
        let address = held.keep().address;
        witness.holds(address, &uid);
        sleep(Duration::from_millis(fastrand::u64(0..5))).await;
        witness.leaves(address, &uid);
        let freed = pools.free(&pool, release(&uid), soon()).await.expect("a release");
        assert_eq!(freed, [address]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_clients_of_three_agents_each_get_every_address_once() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.60"]).await;
    let offices = three().await;
    let mut clients = JoinSet::new();
    for client in 0..30 {
        let (pools, pool) = (offices[client % 3].pools.clone(), stage.name.clone());
        clients.spawn(async move {
            let mut addresses = Vec::new();
            for round in 0..2 {
                let held = pools.take(&pool, claim(&format!("{client}-{round}")), soon()).await;
                addresses.push(held.expect("an address").keep().address);
            }
            addresses
        });
    }
    let all: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    let once: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!((all.len(), once.len()), (60, 60));
    assert_eq!(stage.records().await.into_keys().collect::<BTreeSet<_>>(), once);
    let refused = offices[0].pools.take(&stage.name, claim("late"), soon()).await.expect_err("none is left");
    let none = Refusal::Exhausted { resting_until: None, offered: 60, held: 60 };
    assert_eq!(refused, TakeError::Exhausted { pool: stage.name.clone(), refusal: none });
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_held_twice_or_left_in_a_storm_of_conflicts() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.20"]).await;
    let offices = three().await;
    let witness = Witness::default();
    let mut clients = JoinSet::new();
    for client in 0..15 {
        let pools = offices[client % 3].pools.clone();
        clients.spawn(churn(pools, stage.name.clone(), format!("c{client}"), 10, witness.clone()));
    }
    let meddle = async {
        for round in 0.. {
            stage.patch(json!({"metadata": {"annotations": {"meddler": format!("{round}")}}})).await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = clients.join_all() => {}
        () = meddle => {}
    }
    assert!(stage.records().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_held_twice_or_left_when_replies_are_lost() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.20"]).await;
    let server = config().await;
    let proxy = Proxy::start(&server.cluster_url).await;
    let mut config = server.clone();
    config.cluster_url = proxy.url();
    let (one, two) =
        (Office::at(config.clone(), "n1", NO_REST).await, Office::at(config, "n2", NO_REST).await);
    proxy.lose(10);
    let witness = Witness::default();
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let pools = if client % 2 == 0 { &one.pools } else { &two.pools };
        clients.spawn(churn(pools.clone(), stage.name.clone(), format!("c{client}"), 12, witness.clone()));
    }
    clients.join_all().await;
    assert!(proxy.lost() > 0, "a test that loses nothing shows nothing");
    assert!(stage.records().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_cancelled_at_any_time_leaves_nothing() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.200"]).await;
    let office = Office::open("n1", NO_REST).await;
    // How long a claim takes is the machine's matter: until some are in time and some are not, the clients are more patient.
    let mut in_time = Vec::new();
    for most in [60, 240, 960, 3840, 15_360].map(Duration::from_millis) {
        let mut clients = JoinSet::new();
        for client in 0..150_u64 {
            let (pools, pool) = (office.pools.clone(), stage.name.clone());
            clients.spawn(async move {
                sleep(Duration::from_millis(client % 10)).await;
                let patience = most.mul_f64(fastrand::f64());
                // An answer in time is dropped as well: nobody keeps it.
                timeout(patience, pools.take(&pool, claim(&format!("c{client}")), soon())).await.is_ok()
            });
        }
        in_time.push(clients.join_all().await.into_iter().filter(|in_time| *in_time).count());
        stage.is_empty_soon().await;
        if in_time.last().is_some_and(|count| (1..150).contains(count)) {
            return;
        }
    }
    panic!("{in_time:?} of 150 were in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_of_two_requests_for_a_nic_gives_up_the_other_keeps() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.9"]).await;
    let office = Office::open("n1", NO_REST).await;
    let first = office.pools.take(&stage.name, claim("a"), soon()).await.expect("an address");
    let again = office.pools.take(&stage.name, claim("a"), soon()).await.expect("the same");
    assert_eq!(first.taken(), again.taken());
    drop(first);
    let other = office.pools.take(&stage.name, claim("b"), soon()).await.expect("another");
    assert_ne!(again.taken().address, other.taken().address);
    let kept = again.keep();
    assert_eq!(kept.address, "10.0.1.1".parse::<std::net::IpAddr>().unwrap());
    drop(other);
    // A later request of the pod that keeps it gives up nothing.
    drop(office.pools.take(&stage.name, claim("a"), soon()).await.expect("the same"));
    office.close().await;
    let records = stage.records().await;
    assert_eq!(records.keys().collect::<Vec<_>>(), [&kept.address]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_waits_for_the_first_address_to_have_rested_if_it_may() {
    let rest = Duration::from_secs(2);
    let stage = Stage::open(&["10.0.1.1"]).await;
    let office = Office::open("n1", Rules { rest, cap: 5000 }).await;
    let taken = office.pools.take(&stage.name, claim("a"), soon()).await.expect("an address").keep();
    assert_eq!(taken.subnet.to_string(), "10.0.0.0/16");
    assert_eq!(taken.gateway, "10.0.255.254".parse().ok());
    office.pools.free(&stage.name, release("a"), soon()).await.expect("a release");
    let freed = Instant::now();
    let hasty = office.pools.take(&stage.name, claim("b"), Instant::now() + rest / 4).await;
    let error = hasty.expect_err("it rests").to_string();
    assert!(error.contains("none of its 1 addresses is free: pods hold 0, the others rest"), "{error}");
    assert!(freed.elapsed() < rest, "it does not wait in vain");
    let patient = office.pools.take(&stage.name, claim("b"), soon()).await.expect("the same address");
    assert!(freed.elapsed() + Duration::from_millis(200) >= rest, "after {:?}", freed.elapsed());
    assert_eq!(patient.keep().address, taken.address);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_just_excluded_or_reserved_is_not_given_out() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.4"]).await;
    let office = Office::open("n1", NO_REST).await;
    let first = office.pools.take(&stage.name, claim("a"), soon()).await.expect("an address").keep();
    stage.patch(json!({"spec": {"excludeIPs": ["10.0.1.2"]}})).await;
    let second = office.pools.take(&stage.name, claim("b"), soon()).await.expect("an address").keep();
    assert_eq!(
        (first.address.to_string(), second.address.to_string()),
        ("10.0.1.1".into(), "10.0.1.3".into())
    );
    let reserved = json!({
        "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderReservedIP",
        "metadata": {"name": testbed::unique("desk")}, "spec": {"ips": ["10.0.1.4"]},
    });
    testbed::shared().kubectl_with(&["apply", "-f", "-"], &reserved.to_string()).expect("a reservation");
    sleep(Duration::from_secs(1)).await;
    let third = office.pools.take(&stage.name, claim("c"), soon()).await;
    assert!(matches!(third, Err(TakeError::Exhausted { .. })), "{third:?}");
    let name = reserved["metadata"]["name"].as_str().unwrap();
    testbed::shared().kubectl(&["delete", "spiderreservedip", name]).expect("its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_cloud_denied_while_a_pod_held_it_is_not_given_out_again() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.2"]).await;
    let office = Office::open("n1", NO_REST).await;
    let first = office.pools.take(&stage.name, claim("a"), soon()).await.expect("an address").keep();
    assert_eq!(first.address.to_string(), "10.0.1.1");
    stage.patch(json!({"metadata": {"annotations": {api::labels::DENIED: "10.0.1.1"}}})).await;
    let again = office.pools.take(&stage.name, claim("a"), soon()).await.expect("the same sandbox").keep();
    assert_eq!(again.address, first.address);
    // No controller is there to exclude it.
    office.pools.free(&stage.name, Release::Pod { uid: "a".into() }, soon()).await.expect("a release");
    let second = office.pools.take(&stage.name, claim("b"), soon()).await.expect("an address").keep();
    assert_eq!(second.address.to_string(), "10.0.1.2");
    let third = office.pools.take(&stage.name, claim("c"), soon()).await;
    assert!(matches!(third, Err(TakeError::Exhausted { .. })), "{third:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_gives_nothing_out_and_stays_as_it_is() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.4"]).await;
    stage.patch_status(json!({"status": {"allocatedIPs": "{broken"}})).await;
    let office = Office::open("n1", NO_REST).await;
    let error = office.pools.take(&stage.name, claim("a"), soon()).await.expect_err("unreadable").to_string();
    assert!(error.contains(&stage.name) && error.contains("status.allocatedIPs"), "{error}");
    assert!(office.pools.free(&stage.name, release("a"), soon()).await.is_err());
    let status = stage.api.get(&stage.name).await.expect("the pool").status.expect("its status");
    assert_eq!(status.allocated_ips.as_deref(), Some("{broken"));
    // Whoever lists the pools of the cluster after us would have to complain about it.
    stage.api.delete(&stage.name, &kube::api::DeleteParams::default()).await.expect("its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_gone_gives_nothing_out_and_holds_nothing() {
    let office = Office::open("n1", NO_REST).await;
    let pool = testbed::unique("never");
    let error = office.pools.take(&pool, claim("a"), soon()).await.expect_err("there is none");
    assert_eq!(error, TakeError::Desk(DeskError::Gone { pool: pool.clone() }));
    assert_eq!(office.pools.free(&pool, release("a"), soon()).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_pool_gives_nothing_out_and_takes_back() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.4"]).await;
    let office = Office::open("n1", NO_REST).await;
    let taken = office.pools.take(&stage.name, claim("a"), soon()).await.expect("an address").keep();
    stage.patch(json!({"spec": {"disable": true}})).await;
    let error = office.pools.take(&stage.name, claim("b"), soon()).await.expect_err("disabled");
    assert!(matches!(error, TakeError::Closed { .. }), "{error}");
    let freed = office.pools.free(&stage.name, Release::Pod { uid: "a".into() }, soon()).await;
    assert_eq!(freed, Ok(vec![taken.address]));
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_wait_for_an_api_server_that_is_away_and_say_so_when_their_time_is_up() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.9"]).await;
    let mut config = config().await;
    let proxy = Proxy::start(&config.cluster_url).await;
    config.cluster_url = proxy.url();
    let office = Office::at(config, "n1", NO_REST).await;
    drop(office.pools.take(&stage.name, claim("warm"), soon()).await.expect("an address").keep());
    proxy.cut();
    let late = office.pools.take(&stage.name, claim("a"), Instant::now() + Duration::from_secs(1)).await;
    let error = late.expect_err("nobody is there").to_string();
    assert!(error.contains("after 1.0 s") && error.contains("did not answer"), "{error}");
    let waiting = office.pools.take(&stage.name, claim("b"), soon());
    let resume = async {
        sleep(Duration::from_secs(2)).await;
        proxy.resume();
    };
    let (held, ()) = tokio::join!(waiting, resume);
    let kept = held.expect("an address after the outage").keep();
    office.pools.free(&stage.name, release("warm"), soon()).await.expect("a release");
    let records = stage.records().await;
    assert_eq!(records.keys().collect::<Vec<_>>(), [&kept.address], "the late one left nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_everybody_is_answered_and_releases_are_written() {
    let rules = Rules { rest: SOON * 2, cap: 5000 };
    let stage = Stage::open(&["10.0.1.1-10.0.1.2"]).await;
    let office = Office::open("n1", rules).await;
    let held = office.pools.take(&stage.name, claim("a"), soon()).await.expect("an address");
    drop(office.pools.take(&stage.name, claim("b"), soon()).await.expect("an address"));
    stage.patch_status(json!({})).await;
    let pools = office.pools.clone();
    let pool = stage.name.clone();
    // Only a resting address is left: it waits.
    let waiting =
        tokio::spawn(async move { pools.take(&pool, claim("c"), soon() + SOON * 4).await.map(drop) });
    sleep(Duration::from_millis(300)).await;
    drop(held);
    office.close().await;
    let answer = waiting.await.expect("no panic");
    assert_eq!(answer, Err(TakeError::Desk(DeskError::Stopping { pool: stage.name.clone() })));
    assert!(stage.records().await.is_empty());
    let after = office.pools.take(&stage.name, claim("d"), soon()).await.map(drop);
    assert_eq!(after, Err(TakeError::Desk(DeskError::Stopping { pool: stage.name.clone() })));
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_made_for_other_nodes_are_not_even_seen() {
    let node = testbed::unique("node");
    let made = |name: String, node: &str| {
        json!({
            "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool",
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/managed-by": "spiderpool-controller", "cloud.spidernet.io/node": node,
            }},
            "spec": {"subnet": "10.0.0.0/16", "ips": ["10.0.1.1"], "nodeName": [node]},
        })
    };
    let (ours, theirs) = (testbed::unique("ours"), testbed::unique("theirs"));
    let other = testbed::unique("node");
    for pool in [made(ours.clone(), &node), made(theirs.clone(), &other)] {
        testbed::shared().kubectl_with(&["apply", "-f", "-"], &pool.to_string()).expect("a pool");
    }
    let written =
        Stage::with(json!({"subnet": "10.0.0.0/16", "ips": ["10.0.1.1"], "nodeName": [other]})).await;
    let office = Office::open(&node, NO_REST).await;
    let names: Vec<String> = office.pools.candidates().iter().map(|one| one.name.clone()).collect();
    assert!(names.contains(&ours) && !names.contains(&theirs) && !names.contains(&written.name), "{names:?}");
    // Bound to one node: the record need not name it.
    let mut named = claim("a");
    named.holder.node.clone_from(&node);
    drop(office.pools.take(&ours, named, soon()).await.expect("an address").keep());
    let records = office.pools.records_of(&ours, Filter::Node(node.clone()), soon()).await.expect("records");
    assert_eq!((records.len(), records[0].holder.node.as_str()), (1, ""));
    // On demand all the same: a fixed address may be there.
    let foreign = office.pools.fetch(&theirs, soon()).await.expect("a pool");
    assert_eq!(foreign.nodes, [other]);
    assert_eq!(office.pools.free(&theirs, release("x"), soon()).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_address_is_found_by_name_and_passes_to_the_next_pod() {
    let stage = Stage::open(&["10.0.1.1-10.0.1.9"]).await;
    let (one, two) = (Office::open("n1", NO_REST).await, Office::open("n2", NO_REST).await);
    let named = |uid: &str| {
        let mut claim = claim(uid);
        claim.holder.pod.name = "web-0".into();
        claim
    };
    drop(one.pools.take(&stage.name, claim("other"), soon()).await.expect("an address").keep());
    drop(two.pools.records_of(&stage.name, Filter::All, soon()).await.expect("records"));
    let first = one.pools.take(&stage.name, named("u1"), soon()).await.expect("an address").keep();
    sleep(Duration::from_secs(1)).await;
    let pod = named("u1").holder.pod;
    let found = two.pools.records_of(&stage.name, Filter::Pod(pod), soon()).await.expect("records");
    assert_eq!(found.iter().map(|record| record.address).collect::<Vec<_>>(), [first.address]);
    let next = Claim { prefer: Some(first.address), ..named("u2") };
    assert_eq!(
        two.pools.take(&stage.name, next, soon()).await.expect("the same").keep().address,
        first.address
    );
    assert_eq!(
        one.pools.free(&stage.name, release("u1"), soon()).await,
        Ok(Vec::new()),
        "it is another's now"
    );
}
