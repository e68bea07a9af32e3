//! Objects that a release without rules let in: our CRDs come over them, and they must not be stuck.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::server::cluster;

/// The pool's definition in a group of its own, so that other tests keep theirs.
fn definition(group: &str) -> CustomResourceDefinition {
    let mut crd = api::crds().into_iter().find(|crd| crd.spec.names.kind == "SpiderIPPool").unwrap();
    group.clone_into(&mut crd.spec.group);
    crd.spec.names.short_names = None;
    crd.spec.names.categories = None;
    crd.metadata.name = Some(format!("{}.{group}", crd.spec.names.plural));
    crd
}

/// Takes away what upstream's schema does not have: rules, bounds and list types.
fn without_rules(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| {
                !["maxItems", "maxLength"].contains(&key.as_str())
                    && (!key.starts_with("x-kubernetes-") || key == "x-kubernetes-map-type")
            });
            fields.values_mut().for_each(without_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(without_rules),
        _ => {}
    }
}

#[test]
fn a_bad_pool_of_an_older_release_still_takes_status_and_loses_its_finalizer() {
    let cluster = cluster();
    let group = format!("{}.example.org", testbed::unique("upgrade"));
    let ours = serde_json::to_value(definition(&group)).unwrap();
    let mut upstreams = ours.clone();
    without_rules(&mut upstreams);
    let crd = format!("crd/spiderippools.{group}");
    let pool = format!("spiderippools.{group}/bad");

    cluster.kubectl_with(&["create", "-f", "-"], &upstreams.to_string()).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Established", &crd, "--timeout=20s"]).unwrap();
    let bad = json!({
        "apiVersion": format!("{group}/v2beta1"),
        "kind": "SpiderIPPool",
        "metadata": {"name": "bad", "finalizers": [api::labels::FINALIZER]},
        "spec": {
            "ipVersion": 6, "subnet": "10.0.0.5/24", "gateway": "10.0.0.1", "podAffinity": {},
            "ips": ["10.0.0.1", "10.0.0.1", "10.0.0.9-10.0.0.2", "10.9.9.9", "word"],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "0.0.0.0/0", "gw": "10.0.0.1"}],
        },
    });
    let created = retry(|| cluster.kubectl_with(&["create", "-f", "-"], &bad.to_string()));
    assert!(created.contains("created"), "{created}");

    cluster.kubectl_with(&["replace", "-f", "-"], &ours.to_string()).unwrap();
    // The new schema is in force when it refuses a second pool like the first.
    let mut second = bad.clone();
    second["metadata"] = json!({"name": "second"});
    let refusal = retry(|| {
        match cluster.kubectl_with(&["create", "--dry-run=server", "-f", "-"], &second.to_string()) {
            Ok(accepted) => Err(accepted),
            Err(refused) => Ok(refused.to_string()),
        }
    });
    assert!(refusal.contains("gateway") && refusal.contains("Duplicate value"), "{refusal}");

    let status = r#"{"status":{"allocatedIPCount":1,"allocatedIPs":"{}"}}"#;
    cluster.kubectl(&["patch", &pool, "--subresource=status", "--type=merge", "-p", status]).unwrap();
    cluster.kubectl(&["label", &pool, "a=b"]).unwrap();
    cluster.kubectl(&["delete", &pool, "--wait=false"]).unwrap();
    cluster.kubectl(&["patch", &pool, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).unwrap();
    cluster.kubectl(&["delete", &crd, "--timeout=20s"]).unwrap();
}

/// Repeats for a while: a definition is in force a moment after it was written.
fn retry<E: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<String, E>) -> String {
    for _ in 0..50 {
        if let Ok(text) = attempt() {
            return text;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    attempt().unwrap()
}
