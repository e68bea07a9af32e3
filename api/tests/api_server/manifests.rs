//! Manifests that users have: accepted as written, and read back equal.

use serde_json::{Value, json};

use crate::server::{Intent, cluster, with_server};

const MANIFESTS: [&str; 4] = [
    include_str!("../manifests/alibaba-cloud.yaml"),
    include_str!("../manifests/cross-zone-pools.yaml"),
    include_str!("../manifests/operator-pool.yaml"),
    include_str!("../manifests/submariner.yaml"),
];

/// What upstream's schemas fill in, and therefore ours: the only difference that a manifest may come back with.
fn defaulted(kind: &str, mut spec: Value) -> Value {
    let coordinator = [
        ("mode", json!("auto")),
        ("hostRuleTable", json!(500)),
        ("podRPFilter", json!(0)),
        ("tunePodRoutes", json!(true)),
        ("txQueueLen", json!(0)),
    ];
    match kind {
        "SpiderIPPool" => {
            fill(&mut spec, &[("default", json!(false)), ("disable", json!(false))]);
        }
        "SpiderMultusConfig" => {
            fill(&mut spec, &[("enableCoordinator", json!(true)), ("disableIPAM", json!(false))]);
            if let Some(part) = spec.get_mut("coordinator") {
                fill(part, &coordinator);
            }
            for block in ["ipvlan", "macvlan"] {
                if let Some(part) = spec.get_mut(block) {
                    fill(part, &[("mtu", json!(0))]);
                    if let Some(pools) = part.get_mut("ippools") {
                        fill(pools, &[("matchMasterSubnet", json!(false))]);
                    }
                }
            }
        }
        other => panic!("no manifest of kind {other} was expected"),
    }
    spec
}

fn fill(part: &mut Value, defaults: &[(&str, Value)]) {
    for (key, value) in defaults {
        if part.get(key).is_none() {
            part[*key] = value.clone();
        }
    }
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

#[test]
fn every_manifest_is_accepted_as_written_and_read_back_equal() {
    with_server(async |server| {
        let mut seen = 0;
        for mut manifest in MANIFESTS.iter().flat_map(|text| documents(text)) {
            // A name of its own: other tests may use the same manifest.
            manifest["metadata"]["name"] =
                testbed::unique(manifest["metadata"]["name"].as_str().unwrap()).into();
            server.create(Intent::Write, &manifest).await.unwrap();
            let read = server.get(&manifest).await;
            server.delete(&manifest).await;
            let kind = manifest["kind"].as_str().unwrap();
            assert_eq!(
                read["spec"],
                defaulted(kind, manifest["spec"].clone()),
                "{}",
                manifest["metadata"]["name"]
            );
            assert_eq!(read.get("status"), None);
            seen += 1;
        }
        assert_eq!(seen, 11);
    });
}

#[test]
fn a_manifest_reads_into_the_types_and_back_without_loss() {
    for manifest in MANIFESTS.iter().flat_map(|text| documents(text)) {
        let spec = manifest["spec"].clone();
        let again = match manifest["kind"].as_str().unwrap() {
            "SpiderIPPool" => {
                serde_json::to_value(serde_json::from_value::<api::SpiderIPPool>(manifest).unwrap().spec)
            }
            _ => serde_json::to_value(
                serde_json::from_value::<api::SpiderMultusConfig>(manifest).unwrap().spec,
            ),
        };
        assert_eq!(again.unwrap(), spec);
    }
}

/// The one published manifest that is wrong: upstream's webhook refuses it for the same reason.
#[test]
fn the_published_pool_with_a_gateway_outside_its_subnet_is_refused() {
    with_server(async |server| {
        let pool = documents(include_str!("../manifests/submariner-pool.yaml")).remove(0);
        let message = server.create(Intent::Ask, &pool).await.unwrap_err();
        assert!(
            message.contains("spec.gateway") && message.contains("gateway is outside subnet"),
            "{message}"
        );
    });
}

#[test]
fn applying_a_manifest_twice_changes_nothing() {
    let cluster = cluster();
    let name = testbed::unique("twice");
    let manifest = include_str!("../manifests/operator-pool.yaml").replace("custom-ipv4-ippool", &name);
    cluster.kubectl_with(&["apply", "-f", "-"], &manifest).unwrap();
    let second = cluster.kubectl_with(&["apply", "-f", "-"], &manifest).unwrap();
    cluster.kubectl(&["delete", "sp", &name, "--wait=false"]).unwrap();
    assert!(second.trim().ends_with("unchanged"), "{second}");
}

#[test]
fn a_terminating_pool_can_lose_its_finalizer() {
    let cluster = cluster();
    let name = testbed::unique("terminating");
    let manifest = include_str!("../manifests/operator-pool.yaml").replace(
        "  name: custom-ipv4-ippool",
        &format!("  name: {name}\n  finalizers: [{}]", api::labels::FINALIZER),
    );
    cluster.kubectl_with(&["create", "-f", "-"], &manifest).unwrap();
    cluster.kubectl(&["delete", "sp", &name, "--wait=false"]).unwrap();
    cluster
        .kubectl(&["patch", "sp", &name, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#])
        .unwrap();
    cluster.kubectl(&["wait", "--for=delete", "sp", &name, "--timeout=10s"]).unwrap();
}
