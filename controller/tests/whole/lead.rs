//! Several controllers, one leader.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::stage::{Controller, Stage, eventually};

async fn holder(stage: &Stage) -> Option<String> {
    let api: Api<Lease> = Api::namespaced(stage.client.clone(), &stage.name);
    let lease = api.get_opt(controller::lease::NAME).await.unwrap()?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_controllers_one_leads_and_the_other_follows_at_once() {
    let stage = Stage::two_nodes().await;
    let mut first = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let leader = holder(&stage).await.unwrap();
    let second = stage.controller();
    eventually("the standby is ready", async || second.get("/readyz").await.contains("200 OK").then_some(()))
        .await;
    assert_eq!(holder(&stage).await.unwrap(), leader);
    assert!(second.counter("spiderpool_cloud_leader").await < 0.5);

    first.signal("TERM");
    assert_eq!(first.ended().await, 0, "a graceful end");
    eventually("the other leads", async || holder(&stage).await.filter(|holder| *holder != leader)).await;
    let fresh = stage.v4(1, 88);
    stage.sim.edit(|cloud| cloud.assign(&stage.nic_id("b", 1), &[fresh])).unwrap();
    eventually("and follows the cloud", async || {
        stage.says("b", 1).await.0.contains(&fresh.to_string()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_whose_lease_is_stolen_writes_no_more() {
    let stage = Stage::two_nodes().await;
    let controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let api: Api<Lease> = Api::namespaced(stage.client.clone(), &stage.name);
    let steal = json!({"spec": {
        "holderIdentity": "thief",
        "leaseDurationSeconds": 3600,
        "renewTime": "2100-01-01T00:00:00.000000Z",
    }});
    api.patch(controller::lease::NAME, &PatchParams::default(), &Patch::Merge(&steal)).await.unwrap();
    eventually("it stops leading", async || {
        (controller.counter("spiderpool_cloud_leader").await < 0.5).then_some(())
    })
    .await;
    let writes = controller.counter("spiderpool_cloud_writes_total").await;
    stage.sim.reset_calls();
    stage.sim.edit(|cloud| cloud.assign(&stage.nic_id("b", 1), &[stage.v4(1, 88)])).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!((controller.counter("spiderpool_cloud_writes_total").await - writes).abs() < 0.5);
    assert_eq!(stage.sim.calls().total(), 0, "a standby costs the cloud nothing");
    assert!(!stage.says("b", 1).await.0.contains(&stage.v4(1, 88).to_string()));
}

/// Twenty nodes, which are eighty pools, and their controller: frozen as soon as there is a pool; and how many there are.
async fn stopped_while_it_writes(letters: &[String]) -> (Stage, Controller, usize) {
    let stage = Stage::empty().await;
    for (place, letter) in letters.iter().enumerate() {
        stage.instance(letter, u8::try_from(place).unwrap());
        stage.node(letter, Some(letter)).await;
    }
    let controller = stage.play().await;
    eventually("it is in the middle of its writes", async || {
        (!stage.pools().await.is_empty()).then(|| controller.signal("STOP"))
    })
    .await;
    let written = stage.pools().await.len();
    (stage, controller, written)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_loses_its_lease_in_mid_write_stops_there() {
    let letters: Vec<String> = (b'a'..b'u').map(|letter| char::from(letter).to_string()).collect();
    let mut tries = 0;
    let (stage, first) = loop {
        let (stage, first, written) = stopped_while_it_writes(&letters).await;
        if written < 80 {
            break (stage, first);
        }
        // A busy machine lets it write all before anybody looks.
        tries += 1;
        assert!(tries < 5, "stopped too late to be in the middle");
    };

    let second = stage.controller();
    let all: Vec<&str> = letters.iter().map(String::as_str).collect();
    stage.synced(&all).await;
    assert_eq!(stage.pools().await.len(), 80);
    let versions = async || {
        let pools = stage.pools().await.into_values();
        pools.map(|pool| kube::ResourceExt::resource_version(&pool)).collect::<Vec<_>>()
    };
    let before = versions().await;
    first.signal("CONT");
    // Replies of writes from before may still be read; nothing is written any more.
    first.says("interrupted").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(versions().await, before, "the old leader wrote");
    drop(second);
}
