//! A pool, as the choice looks at it: `SpiderIPPool` to [`Candidate`].

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use kube::ResourceExt;
use model::Family;
use model::select::{Application, Candidate, LabelSelector, NetworkRef, PodRule, Requirement};

use crate::{SpiderIPPool, SpiderIPPoolSpec, allocations};

/// The keys by which upstream marks a pool that was made for one application: they are about the controller at the top of
/// a pod's owners and not about the pod's labels.
const APP_API_GROUP: &str = "ipam.spidernet.io/app-api-group";
const APP_API_VERSION: &str = "ipam.spidernet.io/app-api-version";
const APP_KIND: &str = "ipam.spidernet.io/app-kind";
const APP_NAMESPACE: &str = "ipam.spidernet.io/app-namespace";
const APP_NAME: &str = "ipam.spidernet.io/app-name";

/// Reads what the choice needs of a pool.
///
/// What cannot be read makes the pool give nothing out ([`Candidate::problem`]); it never makes it serve more than was
/// meant. `free` leaves reserved addresses out of account: the pool does not know of them.
#[must_use]
pub fn candidate(pool: &SpiderIPPool) -> Candidate {
    let spec = &pool.spec;
    let addresses = pool.addresses();
    let offered = addresses.offered.count();
    let text = pool.status.as_ref().and_then(|status| status.allocated_ips.as_deref());
    let held = allocations(text);
    let subnet: Option<IpNet> = spec.subnet.parse().ok();
    let (mut candidate, mut problems) = rules(pool);
    problems.extend(subnet.is_none().then(|| format!("spec.subnet {:?} is no CIDR", spec.subnet)));
    problems.extend(
        addresses
            .unreadable_exclusions
            .iter()
            .map(|error| format!("spec.excludeIPs, or what the controller denies: {error}")),
    );
    match held {
        Ok(held) => {
            let held = held.keys().filter(|address| addresses.offered.contains(**address)).count();
            candidate.free = Some(offered.saturating_sub(held as u128));
        }
        Err(error) => problems.push(error.to_string()),
    }
    candidate.offered = offered;
    candidate.problem = (!problems.is_empty()).then(|| problems.join("; "));
    candidate
}

/// Reads whom a pool serves, without its addresses; and what of that cannot be read.
fn rules(pool: &SpiderIPPool) -> (Candidate, Vec<String>) {
    let SpiderIPPoolSpec {
        ip_version,
        subnet,
        ips: _,
        exclude_ips: _,
        gateway: _,
        routes: _,
        pod_affinity,
        namespace_affinity,
        namespace_name,
        node_affinity,
        node_name,
        multus_name,
        default,
        disable,
    } = &pool.spec;
    let mut problems = Vec::new();
    let mut read = |field: &str, given: &Option<v1::LabelSelector>| {
        given.as_ref().map(|given| {
            let (selector, errors) = selector(given);
            problems.extend(errors.into_iter().map(|error| format!("spec.{field}: {error}")));
            selector
        })
    };
    let pods = match (pod_affinity, application(pod_affinity.as_ref())) {
        (_, Some(application)) => PodRule::Application(application),
        (given @ Some(_), None) => read("podAffinity", given).map_or(PodRule::Any, PodRule::Labels),
        (None, None) => PodRule::Any,
    };
    let subnet: Option<IpNet> = subnet.parse().ok();
    let family = match (ip_version, subnet) {
        (Some(6), _) | (None, Some(IpNet::V6(_))) => Family::V6,
        _ => Family::V4,
    };
    let candidate = Candidate {
        name: pool.name_any(),
        family,
        subnet,
        terminating: pool.metadata.deletion_timestamp.is_some(),
        disabled: disable.unwrap_or_default(),
        default: default.unwrap_or_default(),
        nodes: node_name.clone(),
        node_labels: read("nodeAffinity", node_affinity),
        namespaces: namespace_name.clone(),
        namespace_labels: read("namespaceAffinity", namespace_affinity),
        pods,
        networks: multus_name.iter().map(|name| NetworkRef::from(name.as_str())).collect(),
        offered: 0,
        free: None,
        problem: None,
    };
    (candidate, problems)
}

/// Reads the application that an automatic pool was made for: all five keys are there, and nothing else decides.
fn application(given: Option<&v1::LabelSelector>) -> Option<Application> {
    let labels: &BTreeMap<String, String> = given?.match_labels.as_ref()?;
    let value = |key: &str| labels.get(key).cloned();
    Some(Application {
        group: value(APP_API_GROUP)?,
        version: value(APP_API_VERSION)?,
        kind: value(APP_KIND)?,
        namespace: value(APP_NAMESPACE)?,
        name: value(APP_NAME)?,
    })
}

/// Reads a label selector, and what in it cannot be read: an operator that Kubernetes does not know, or values where none
/// belong. What cannot be read selects nothing.
#[must_use]
pub fn selector(given: &v1::LabelSelector) -> (LabelSelector, Vec<String>) {
    let (mut requirements, mut errors) = (Vec::new(), Vec::new());
    for (key, value) in given.match_labels.iter().flatten() {
        requirements.push(Requirement::In(key.clone(), [value.clone()].into()));
    }
    for expression in given.match_expressions.iter().flatten() {
        let v1::LabelSelectorRequirement { key, operator, values } = expression;
        let (key, values) = (key.clone(), values.iter().flatten().cloned().collect());
        let requirement = match operator.as_str() {
            "In" => Requirement::In(key, values),
            "NotIn" => Requirement::NotIn(key, values),
            "Exists" => Requirement::Exists(key),
            "DoesNotExist" => Requirement::DoesNotExist(key),
            other => {
                errors.push(format!(
                    "operator {other:?} of key {key:?} is none of In, NotIn, Exists, DoesNotExist"
                ));
                Requirement::In(key, [].into())
            }
        };
        requirements.push(requirement);
    }
    (LabelSelector { requirements }, errors)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(spec: &Value) -> Candidate {
        let object = json!({"metadata": {"name": "p"}, "spec": spec});
        candidate(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_pool_without_rules_serves_everybody() {
        let pool =
            read(&json!({"subnet": "10.0.0.0/24", "ips": ["10.0.0.1-10.0.0.9"], "gateway": "10.0.0.9"}));
        let open = Candidate {
            subnet: Some("10.0.0.0/24".parse().unwrap()),
            offered: 8,
            free: Some(8),
            ..Candidate::open("p", Family::V4)
        };
        assert_eq!(pool, open);
        assert_eq!(read(&json!({"subnet": "2001:db8::/64"})).family, Family::V6);
    }

    #[test]
    fn what_a_pool_says_about_whom_it_serves_is_read_whole() {
        let pool = read(&json!({
            "subnet": "10.0.0.0/24", "default": true, "disable": true,
            "nodeName": ["n1"], "namespaceName": ["a", "b"], "multusName": ["kube-system/x", "y"],
            "nodeAffinity": {"matchLabels": {"zone": "z"}},
            "namespaceAffinity": {"matchExpressions": [{"key": "k", "operator": "Exists"}]},
            "podAffinity": {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "k", "operator": "NotIn", "values": ["v"]}]},
        }));
        assert!(pool.default && pool.disabled && !pool.terminating);
        assert_eq!(
            (pool.nodes, pool.namespaces),
            (vec!["n1".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(pool.networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["kube-system/x", "y"]);
        let texts = |selector: LabelSelector| {
            selector.requirements.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(texts(pool.node_labels.unwrap()), ["zone=z"]);
        assert_eq!(texts(pool.namespace_labels.unwrap()), ["k"]);
        let PodRule::Labels(pods) = pool.pods else { panic!("labels: {:?}", pool.pods) };
        assert_eq!(texts(pods), ["app=a", "k notin (v)"]);
    }

    #[test]
    fn a_pool_that_was_made_for_an_application_is_told_by_its_five_keys() {
        let mut labels = json!({
            "ipam.spidernet.io/app-api-group": "apps", "ipam.spidernet.io/app-api-version": "v1",
            "ipam.spidernet.io/app-kind": "Deployment", "ipam.spidernet.io/app-namespace": "default",
            "ipam.spidernet.io/app-name": "web",
        });
        let pool = read(&json!({"subnet": "10.0.0.0/24", "podAffinity": {"matchLabels": labels}}));
        let PodRule::Application(application) = pool.pods else { panic!("an application: {:?}", pool.pods) };
        assert_eq!(application.to_string(), "apps/v1 Deployment default/web");
        labels.as_object_mut().unwrap().remove("ipam.spidernet.io/app-kind");
        let pool = read(&json!({"subnet": "10.0.0.0/24", "podAffinity": {"matchLabels": labels}}));
        assert!(matches!(pool.pods, PodRule::Labels(_)));
    }

    #[test]
    fn what_cannot_be_read_makes_a_pool_give_nothing_out() {
        let subnet = json!("10.0.0.0/24");
        for (spec, part) in [
            (json!({"subnet": subnet, "excludeIPs": ["x"]}), "spec.excludeIPs"),
            (json!({"subnet": "10.0.0.0"}), "spec.subnet"),
            (
                json!({"subnet": subnet, "nodeAffinity": {"matchExpressions": [{"key": "k", "operator": "Like"}]}}),
                "spec.nodeAffinity",
            ),
        ] {
            let problem = read(&spec).problem.unwrap();
            assert!(problem.contains(part), "{problem}");
        }
        let object = json!({
            "metadata": {"name": "p"}, "spec": {"subnet": subnet, "ips": ["10.0.0.1"]}, "status": {"allocatedIPs": "{"}
        });
        let pool = candidate(&serde_json::from_value(object).unwrap());
        assert!(pool.problem.unwrap().contains("status.allocatedIPs"));
        assert_eq!(pool.free, None);
    }

    #[test]
    fn only_addresses_that_are_offered_count_as_held() {
        let held =
            r#"{"10.0.0.1": {"pod": "a/b", "podUid": "u"}, "10.0.0.200": {"pod": "a/c", "podUid": "v"}}"#;
        let object = json!({
            "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"subnet": "10.0.0.0/24", "ips": ["10.0.0.1-10.0.0.2"]}, "status": {"allocatedIPs": held}
        });
        let pool = candidate(&serde_json::from_value(object).unwrap());
        assert_eq!((pool.offered, pool.free, pool.terminating), (2, Some(1), true));
    }
}
