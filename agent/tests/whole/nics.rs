//! Pods with several NICs, one of which gets nothing.

use serde_json::json;

use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_of_one_nic_drains_no_other() {
    let stage = Stage::open().await;
    let (wide, narrow) = (
        stage.pool("wide", 4, 1, (1, 4), json!({})).await,
        stage.pool("narrow", 4, 2, (1, 1), json!({})).await,
    );
    let agent = stage.agent("a").await;
    let items = json!([{"interface": "eth0", "ipv4": [wide]}, {"interface": "net1", "ipv4": [narrow]}]);
    let annotations = json!({"ipam.spidernet.io/ippools": items.to_string()});
    let first = stage.annotated("first", "a", annotations.clone()).await;
    agent.address(&first, "c0", "eth0").await;
    assert_eq!(agent.address(&first, "c0", "net1").await, stage.v4(2, 1));
    let second = stage.annotated("second", "a", annotations).await;
    // More sandboxes than the wide pool has addresses: kubelet tries again and again, and takes each sandbox down that did
    // not come up whole.
    for sandbox in 1..=8 {
        let container = format!("c{sandbox}");
        assert_eq!(agent.address(&second, &container, "eth0").await, stage.v4(1, 2), "{container}");
        let sentence = agent.refused(&second, &container, "net1").await;
        assert!(sentence.contains(&narrow), "{sentence}");
        assert_eq!(stage.records(&wide).await.len(), 2, "{container}");
        agent.del(&second, &container, "net1").await;
        agent.del(&second, &container, "eth0").await;
    }
    assert_eq!(stage.records(&narrow).await.len(), 1);
    stage.remove(&first).await;
    agent.del(&first, "c0", "net1").await;
    agent.del(&first, "c0", "eth0").await;
    assert_eq!(agent.address(&second, "c9", "eth0").await, stage.v4(1, 2));
    assert_eq!(agent.address(&second, "c9", "net1").await, stage.v4(2, 1), "when it is free again");
}
