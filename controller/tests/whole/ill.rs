//! What the controller does when something is wrong: says so clearly, takes nothing away, serves the others.

use api::{SpiderIPPool, labels};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::aliyun::{Budget, Fault, SECRET, When};

use crate::stage::{Stage, eventually};

/// Plays a fault that comes while all is well: nothing may change, and all must heal afterwards.
async fn fault(fault: Fault, said: &str) {
    let stage = Stage::two_nodes().await;
    let controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let before: Vec<_> = stage.pools().await.into_values().map(|pool| pool.spec).collect();
    stage.sim.edit(|cloud| {
        cloud.unassign(&stage.nic_id("a", 0), &[stage.v4(0, 12)]).unwrap();
        cloud.faults.add("DescribeNetworkInterfaces", When::Always, fault);
    });
    let line = controller.says("provider not read").await;
    assert!(line.contains(said), "{line}");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let after: Vec<_> = stage.pools().await.into_values().map(|pool| pool.spec).collect();
    assert_eq!(before, after, "nothing shrinks");
    stage.sim.edit(|cloud| cloud.faults.clear());
    eventually("it heals", async || {
        let (ips, excluded) = stage.says("a", 0).await;
        (ips.len() == 2 && excluded.is_empty()).then_some(())
    })
    .await;
    assert!(!controller.log().contains(SECRET), "the secret is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn html_instead_of_json_shrinks_nothing() {
    fault(Fault::HtmlOk, "JSON").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_gateway_shrinks_nothing() {
    fault(Fault::HtmlBadGateway, "502").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_json_shrinks_nothing() {
    fault(Fault::CutJson, "DescribeNetworkInterfaces").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_never_ends_shrinks_nothing() {
    fault(Fault::EndlessToken, "never end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_shrinks_nothing() {
    fault(Fault::code("Forbidden.RAM"), "Forbidden.RAM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_account_waits_and_shrinks_nothing() {
    let stage = Stage::two_nodes().await;
    let controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    stage.sim.edit(|cloud| cloud.throttle.set("DescribeNetworkInterfaces", Budget::PerMinute(0)));
    controller.says("provider not read").await;
    let before = stage.sim.calls().total();
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert!(
        stage.sim.calls().total() - before <= 2,
        "a throttled action is left alone until the next minute"
    );
    assert_eq!(stage.pools().await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_a_condition_on_every_node_and_a_line_without_the_secret() {
    let mut stage = Stage::two_nodes().await;
    let wrong = stage.wrong_secret();
    let controller = stage.play().await;
    let message = stage.until("a", "Discovered", "Unknown").await;
    eventually("the condition says why", async || {
        let (_, _, message) = stage.condition(&stage.node_name("a"), "Discovered").await?;
        message.contains("SignatureDoesNotMatch").then_some(())
    })
    .await;
    assert!(!message.contains(wrong));
    assert_eq!(stage.pools().await.len(), 0);
    assert!(!controller.log().contains(wrong), "the secret is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skewed_clock_is_named() {
    let stage = Stage::two_nodes().await;
    stage.sim.edit(|cloud| cloud.clock.advance(std::time::Duration::from_hours(1)));
    let controller = stage.play().await;
    let line = controller.says("provider not read").await;
    assert!(line.contains("clock"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_nodes_and_addresses_are_said_and_the_others_served() {
    let stage = Stage::two_nodes().await;
    let (twice, stray) = (stage.v4(0, 99), "203.0.113.9".parse().unwrap());
    stage.sim.edit(|cloud| {
        cloud.plant(&stage.nic_id("a", 0), &[twice, stray]).unwrap();
        cloud.plant(&stage.nic_id("b", 0), &[twice]).unwrap();
    });
    stage.instance("e", 4);
    let _controller = stage.play().await;
    stage.node("nobody", Some("nobody")).await;
    stage.node("bare", None).await;
    stage.node("twin1", Some("e")).await;
    stage.node("twin2", Some("e")).await;
    let reason = async |letter: &str, reason: &str| {
        eventually(&format!("{letter} is {reason}"), async || {
            let (_, now, _) = stage.condition(&stage.node_name(letter), "Discovered").await?;
            (now == reason).then_some(())
        })
        .await;
    };
    reason("nobody", "InstanceNotFound").await;
    reason("bare", "NoProviderID").await;
    reason("twin1", "InstanceContested").await;
    reason("twin2", "InstanceContested").await;
    let message = stage.until("a", "Synced", "False").await;
    assert!(message.contains(&twice.to_string()), "{message}");
    let (ips, _) = stage.says("a", 0).await;
    assert_eq!(ips, [format!("{}-{}", stage.v4(0, 11), stage.v4(0, 15))], "neither the twin nor the stray");
    assert_eq!(stage.pools().await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_wrote_is_never_modified() {
    let stage = Stage::two_nodes().await;
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    // One with addresses that ours wants.
    let mine: SpiderIPPool = serde_json::from_value(json!({
        "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool",
        "metadata": {"name": format!("{}-mine", stage.name), "labels": {labels::PROVIDER: stage.name}},
        "spec": {"subnet": format!("{}/20", stage.v4(0, 0)), "ips": [stage.v4(0, 12).to_string()]},
    }))
    .unwrap();
    api.create(&PostParams::default(), &mine).await.unwrap();
    // One with the name that ours wants.
    let name = model::pool_name(
        &stage.node_name("b"),
        "eth1",
        &stage.nic_id("b", 1).as_str().into(),
        format!("{}/24", stage.v4(1, 0)).parse().unwrap(),
    );
    let mut named = mine.clone();
    named.metadata.name = Some(name.clone());
    named.spec.subnet = "198.51.100.0/24".into();
    named.spec.ips = vec![];
    api.create(&PostParams::default(), &named).await.unwrap();
    let version = async |name: &str| api.get(name).await.unwrap().resource_version();
    let before = (version(&mine.name_any()).await, version(&name).await);

    let _controller = stage.play().await;
    let message = stage.until("a", "Synced", "False").await;
    assert!(message.contains(&mine.name_any()), "{message}");
    let message = stage.until("b", "Synced", "False").await;
    assert!(message.contains(&name) && message.contains("not ours"), "{message}");
    let (ips, _) = stage.says("a", 0).await;
    assert_eq!(ips, [stage.v4(0, 11).to_string(), format!("{}-{}", stage.v4(0, 13), stage.v4(0, 15))]);
    stage.listings(3).await;
    assert_eq!(before, (version(&mine.name_any()).await, version(&name).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_refuses_is_said_and_tried_again() {
    let mut stage = Stage::two_nodes().await;
    stage.namespace().await;
    let user = format!("{}-user", stage.name);
    let name = stage.name.clone();
    let grant = move |verbs: &str| {
        let rules = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {name}}}\nrules:\n\
             - {{apiGroups: [\"\"], resources: [nodes], verbs: [get, list, watch]}}\n\
             - {{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}}\n\
             - {{apiGroups: [spiderpool.spidernet.io], resources: [spidernodes, spidernodes/status, spidermultusconfigs], verbs: ['*']}}\n\
             - {{apiGroups: [spiderpool.spidernet.io], resources: [spiderippools, spiderippools/status], verbs: [{verbs}]}}\n\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {name}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}\n\
             subjects: [{{kind: User, name: {user}, apiGroup: rbac.authorization.k8s.io}}]\n"
        );
        testbed::shared().kubectl_with(&["apply", "-f", "-"], &rules).unwrap();
        testbed::shared().kubeconfig_for(&user, None).unwrap()
    };
    let kubeconfig = grant("get, list, watch");
    stage.as_user(&kubeconfig);
    let controller = stage.controller();
    let message = stage.until("a", "Synced", "False").await;
    assert!(message.contains("forbidden"), "{message}");
    assert_eq!(stage.pools().await.len(), 0);
    grant("get, list, watch, create, update, patch, delete");
    stage.synced(&["a", "b"]).await;
    assert_eq!(stage.pools().await.len(), 8);
    assert!(controller.get("/healthz").await.contains("200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_configuration_ends_the_start_with_its_place() {
    let stage = Stage::empty().await;
    for (text, said) in [
        ("resync: 60s\nprovidres: []\n", "cloud.yaml:2:1"),
        (
            "providers:\n  - {name: x, type: static, nodes: {a: [{interface: eth0, subnet: 192.0.2.0/24, ips: [192.0.2.9]}]}}\n  \
             - {name: x, type: static, nodes: {b: [{interface: eth0, subnet: 192.0.2.0/24, ips: [192.0.2.8]}]}}\n",
            "x",
        ),
    ] {
        std::fs::write(stage.config_path(), text).unwrap();
        let mut controller = stage.controller();
        assert_eq!(controller.ended().await, 2);
        assert!(controller.log().contains(said), "{}", controller.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_say_what_was_done_and_why() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let api: Api<k8s_openapi::api::events::v1::Event> = Api::all(stage.client.clone());
    let node = stage.node_name("a");
    eventually("an Event on the node", async || {
        let events = api.list(&ListParams::default()).await.unwrap();
        events.items.into_iter().find(|event| {
            event.regarding.as_ref().is_some_and(|on| on.name.as_deref() == Some(&node))
                && event.note.as_ref().is_some_and(|note| note.contains("created with"))
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_of_a_pool_is_said_in_an_event_on_it() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    let name = format!("{}-odd", stage.name);
    let odd: SpiderIPPool = serde_json::from_value(json!({
        "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool",
        "metadata": {"name": name, "labels": {labels::PROVIDER: stage.name}},
        "spec": {"subnet": "2001:db8:9::/64", "ips": [
            "2001:db8:9::9-2001:db8:9::1", "2001:db8:9::20-2001:db8:9::30", "2001:db8:9::25",
        ]},
    }))
    .unwrap();
    api.create(&PostParams::default(), &odd).await.unwrap();
    let note = note_on(&stage, &name).await;
    assert!(note.contains("2001:db8:9::9-2001:db8:9::1") && note.contains("overlap"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_two_pools_of_people_share_are_said_on_both() {
    let stage = Stage::two_nodes().await;
    let _controller = stage.play().await;
    stage.synced(&["a", "b"]).await;
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    let names = [format!("{}-one", stage.name), format!("{}-other", stage.name)];
    let shared = stage.v4(2, 9);
    for (name, ips) in names.iter().zip([vec![stage.v4(2, 8), shared], vec![shared, stage.v4(2, 10)]]) {
        let pool: SpiderIPPool = serde_json::from_value(json!({
            "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool",
            "metadata": {"name": name, "labels": {labels::PROVIDER: stage.name}},
            "spec": {"subnet": format!("{}/20", stage.v4(2, 0)), "ips": ips},
        }))
        .unwrap();
        api.create(&PostParams::default(), &pool).await.unwrap();
    }
    let [one, other] = &names;
    for (name, with) in [(one, other), (other, one)] {
        let note = note_on(&stage, name).await;
        assert!(note.starts_with(&format!("{shared} in SpiderIPPool {with} as well")), "{note}");
    }
}

/// Waits for an Event on an object, and returns its note.
async fn note_on(stage: &Stage, name: &str) -> String {
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::all(stage.client.clone());
    eventually(&format!("an Event on {name}"), async || {
        let all = events.list(&ListParams::default()).await.unwrap();
        let on = |event: &k8s_openapi::api::events::v1::Event| {
            event.regarding.as_ref().is_some_and(|on| on.name.as_deref() == Some(name))
        };
        all.items.into_iter().find(on).and_then(|event| event.note)
    })
    .await
}
