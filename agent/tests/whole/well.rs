//! What must work when nothing is wrong.

use serde_json::json;

use crate::stage::{Stage, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_an_address_that_is_recorded_before_the_answer() {
    let stage = Stage::open().await;
    let pool = stage.node_pool("a4", "a", 4, 1, (10, 20)).await;
    let agent = stage.agent("a").await;
    let pod = stage.pod("web", "a", json!({})).await;
    let reply = agent.add(&pod, "c1", "eth0").await;
    let records = stage.records(&pool).await;
    assert_eq!(
        reply,
        json!({
            "ips": [{
                "version": 4, "address": format!("{}/24", stage.v4(1, 10)), "nic": "eth0", "ipPool": pool,
                "gateway": stage.v4(1, 254), "enableGatewayDetection": false, "enableIPConflictDetection": false,
            }],
            "routes": [{"ifName": "eth0", "dst": "0.0.0.0/0", "gw": stage.v4(1, 254)}],
        })
    );
    let record = &records[&stage.v4(1, 10)];
    assert_eq!((&record.pod, &record.pod_uid), (&format!("{}/web", stage.name), &pod.uid));
    assert_eq!((record.nic.as_str(), record.container.as_str(), record.node.as_str()), ("eth0", "c1", ""));

    let endpoint = stage.endpoint_says("web", |status| Some(status.clone())).await;
    assert_eq!((endpoint.current.uid.as_str(), &endpoint.current.node), (pod.uid.as_str(), &stage.node("a")));
    assert_eq!(endpoint.current.ips[0].ipv4, Some(format!("{}/24", stage.v4(1, 10))));
    assert_eq!(
        (endpoint.owner_controller_type.as_str(), endpoint.owner_controller_name.as_str()),
        ("Pod", "web")
    );

    stage.delete(&pod).await;
    eventually("the agent knows that the pod ends", async || {
        agent.del(&pod, "c1", "eth0").await;
        stage.records(&pool).await.is_empty().then_some(())
    })
    .await;
    stage.no_endpoint_soon("web").await;
}
