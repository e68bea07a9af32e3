//! What [`model::reclaim`] has to know of a record, out of Kubernetes objects.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use model::PodName;
use model::reclaim::{Binding, Endpoint, Fixed, Life, NodeSight, Pod};

use crate::{SpiderEndpointStatus, SpiderIPPool};

/// Annotation of a static pod: the UID under which kubelet runs it, and which the runtime therefore tells plugins.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// Reads a pod at a time.
///
/// Succeeded and Failed are Kubernetes' last phases: whatever the restart policy, nothing leaves them.
#[must_use]
pub fn pod(pod: &v1::Pod, now: Timestamp) -> Pod {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let life = match (&pod.metadata.deletion_timestamp, phase) {
        (Some(at), _) => Life::Terminating { overdue: Duration::try_from(now.duration_since(at.0)).ok() },
        (None, Some("Succeeded" | "Failed")) => Life::Finished,
        (None, _) => Life::Alive,
    };
    Pod {
        uids: pod.uid().into_iter().chain(pod.annotations().get(CONFIG_HASH).cloned()).collect(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        life,
    }
}

/// Reads whether a node's kubelet reports: the condition `Ready`.
#[must_use]
pub fn node(node: &v1::Node) -> NodeSight {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    match conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready") {
        Some(condition) if condition.status == "True" => NodeSight::Ready,
        Some(_) => NodeSight::NotReady,
        // A node that just joined: its kubelet has not spoken yet.
        None => NodeSight::Unknown,
    }
}

/// Returns whom a pool serves.
#[must_use]
pub fn binding(pool: &SpiderIPPool) -> Binding<'_> {
    match &pool.spec.node_name[..] {
        [node] => Binding::Node(node),
        _ => Binding::Shared,
    }
}

/// Returns the `StatefulSet` and ordinal that a pod's name may be of.
#[must_use]
pub fn ordinal(pod: &str) -> Option<(&str, i32)> {
    let (set, digits) = pod.rsplit_once('-')?;
    // Kubernetes writes ordinals without sign and without leading zeros.
    let number: i32 = digits.parse().ok().filter(|number: &i32| number.to_string() == digits)?;
    (!set.is_empty()).then_some((set, number))
}

/// Returns whether a `StatefulSet` wants the pod of an ordinal.
#[must_use]
pub fn stateful_set(set: &StatefulSet, ordinal: i32) -> Fixed {
    let Some(spec) = &set.spec else { return Fixed::Unknown };
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    let wanted = start..start.saturating_add(spec.replicas.unwrap_or(1));
    if set.metadata.deletion_timestamp.is_none() && wanted.contains(&ordinal) {
        Fixed::Valid
    } else {
        Fixed::Invalid
    }
}

/// Asks the API server whether a name outlives its pods: whether a `StatefulSet` wants it, or a machine of `KubeVirt` has
/// it.
///
/// # Errors
/// When it cannot be asked, or refuses: then it is [`Fixed::Unknown`].
pub async fn fixed(client: &Client, name: &PodName) -> Result<Fixed, kube::Error> {
    match fixed_by_set(client, name).await? {
        Fixed::Valid => Ok(Fixed::Valid),
        other => Ok(match fixed_by_machine(client, name).await? {
            Fixed::Valid => Fixed::Valid,
            _ => other,
        }),
    }
}

/// Asks whether a `StatefulSet` wants the pod of a name.
///
/// # Errors
/// As of [`fixed`].
pub async fn fixed_by_set(client: &Client, name: &PodName) -> Result<Fixed, kube::Error> {
    let Some((set, number)) = ordinal(&name.name) else { return Ok(Fixed::No) };
    let api: Api<StatefulSet> = Api::namespaced(client.clone(), &name.namespace);
    Ok(api.get_opt(set).await?.map_or(Fixed::No, |set| stateful_set(&set, number)))
}

/// Asks whether a machine of `KubeVirt`, running or not, has a name. An API server that knows no machines has none.
///
/// # Errors
/// As of [`fixed`].
pub async fn fixed_by_machine(client: &Client, name: &PodName) -> Result<Fixed, kube::Error> {
    for kind in ["VirtualMachineInstance", "VirtualMachine"] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kubevirt.io", "v1", kind));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &name.namespace, &resource);
        let machine = match api.get_metadata_opt(&name.name).await {
            // An API server that does not know the kind says no more than this code.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            asked => asked?,
        };
        if machine.is_some_and(|machine| machine.metadata.deletion_timestamp.is_none()) {
            return Ok(Fixed::Valid);
        }
    }
    Ok(Fixed::No)
}

/// Returns what an endpoint says of an address, now that this pod has its name.
#[must_use]
pub fn endpoint(status: &SpiderEndpointStatus, there: &Pod, address: IpAddr) -> Endpoint {
    let current = &status.current;
    if !there.uids.contains(&current.uid) {
        return Endpoint::Silent;
    }
    let texts = current.ips.iter().flat_map(|ip| [&ip.ipv4, &ip.ipv6]).flatten();
    let held: Vec<IpAddr> = texts
        .filter_map(|text| text.split('/').next()?.parse().ok())
        .filter(|held: &IpAddr| held.is_ipv4() == address.is_ipv4())
        .collect();
    if held.contains(&address) {
        Endpoint::Here
    } else if held.is_empty() {
        // Nothing of this family yet: its turn may come.
        Endpoint::Silent
    } else {
        Endpoint::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(metadata: &Value, phase: &str) -> Pod {
        let object = json!({"metadata": metadata, "spec": {"nodeName": "n1", "containers": []}, "status": {"phase": phase}});
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        pod(&serde_json::from_value(object).unwrap(), now)
    }

    #[test]
    fn a_pod_has_ended_when_its_phase_or_its_deletion_says_so() {
        for (phase, life) in [
            ("Pending", Life::Alive),
            ("Running", Life::Alive),
            ("Unknown", Life::Alive),
            ("Succeeded", Life::Finished),
            ("Failed", Life::Finished),
        ] {
            assert_eq!(read(&json!({"uid": "u"}), phase).life, life, "{phase}");
        }
        let deleted = |at: &str| read(&json!({"uid": "u", "deletionTimestamp": at}), "Running").life;
        let overdue = Some(Duration::from_secs(45));
        assert_eq!(deleted("2026-01-01T00:00:15Z"), Life::Terminating { overdue });
        assert_eq!(deleted("2026-01-01T00:01:30Z"), Life::Terminating { overdue: None });
    }

    #[test]
    fn a_static_pod_has_the_uid_of_its_file_too() {
        let pod = read(&json!({"uid": "u", "annotations": {CONFIG_HASH: "h"}}), "Running");
        assert_eq!((pod.uids, pod.node.as_str()), (vec!["u".into(), "h".into()], "n1"));
    }

    #[test]
    fn only_names_that_end_in_an_ordinal_may_be_of_a_set() {
        assert_eq!(ordinal("web-0"), Some(("web", 0)));
        assert_eq!(ordinal("my-web-12"), Some(("my-web", 12)));
        for name in ["web", "web-", "-0", "web-01", "web-+1", "web-7d9f-abcde", "web-99999999999"] {
            assert_eq!(ordinal(name), None, "{name}");
        }
    }

    #[test]
    fn a_set_wants_the_ordinals_from_its_start_on() {
        let set = |spec: &Value| serde_json::from_value::<StatefulSet>(json!({"spec": spec})).unwrap();
        let of = |more: &Value| {
            let mut spec = json!({"selector": {}, "serviceName": "", "template": {}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            set(&spec)
        };
        let three = of(&json!({"replicas": 3}));
        assert_eq!(
            [0, 2, 3].map(|at| stateful_set(&three, at)),
            [Fixed::Valid, Fixed::Valid, Fixed::Invalid]
        );
        let later = of(&json!({"replicas": 1, "ordinals": {"start": 5}}));
        assert_eq!(
            [0, 5, 6].map(|at| stateful_set(&later, at)),
            [Fixed::Invalid, Fixed::Valid, Fixed::Invalid]
        );
        assert_eq!(stateful_set(&of(&json!({})), 0), Fixed::Valid, "one is the default");
        assert_eq!(stateful_set(&of(&json!({"replicas": 0})), 0), Fixed::Invalid);
        let mut going = three;
        going.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        assert_eq!(stateful_set(&going, 0), Fixed::Invalid);
    }

    #[test]
    fn an_endpoint_speaks_only_of_the_pod_that_is_there() {
        let status = json!({
            "ownerControllerType": "StatefulSet", "ownerControllerName": "web",
            "current": {"uid": "u", "node": "n1", "ips": [{"interface": "eth0", "ipv4": "10.0.0.5/24"}]},
        });
        let status: SpiderEndpointStatus = serde_json::from_value(status).unwrap();
        let there = read(&json!({"uid": "u"}), "Running");
        let of = |there: &Pod, address: &str| endpoint(&status, there, address.parse().unwrap());
        assert_eq!(of(&there, "10.0.0.5"), Endpoint::Here);
        assert_eq!(of(&there, "10.0.0.6"), Endpoint::Elsewhere);
        assert_eq!(of(&there, "2001:db8::6"), Endpoint::Silent);
        assert_eq!(of(&read(&json!({"uid": "v"}), "Running"), "10.0.0.6"), Endpoint::Silent);
    }

    #[test]
    fn a_node_is_ready_when_its_kubelet_says_so() {
        let read = |conditions: &Value| {
            node(&serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap())
        };
        let with = |status: &str| read(&json!([{"type": "Ready", "status": status}]));
        assert_eq!(with("True"), NodeSight::Ready);
        assert_eq!((with("False"), with("Unknown")), (NodeSight::NotReady, NodeSight::NotReady));
        assert_eq!(read(&json!([])), NodeSight::Unknown);
    }
}
