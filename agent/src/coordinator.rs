//! What the coordinator plugin asks for: the cluster's `SpiderCoordinator`, and what the pod's annotation says.

use std::time::Duration;

use api::annotations::DEFAULT_ROUTE_NIC;
use api::{CoordinatorMode, Route, SpiderCoordinator, SpiderCoordinatorSpec, SpiderCoordinatorStatus};
use kube::{Api, Client};
use model::PodName;
use tokio::time::timeout;
use wire::{CoordinatorConfig, CoordinatorRoute, NicSource};

use crate::pods::Pods;

/// The object that counts: by its name. Upstream takes whichever comes first.
pub(crate) const NAME: &str = "default";
/// The phase of an object that the controller has filled in.
pub(crate) const SYNCED: &str = "Synced";
/// The CRD's default of `hostRuleTable`.
pub(crate) const HOST_TABLE: i64 = 500;
/// How much of an annotation that makes no sense is said again.
const SHOWN: usize = 40;

/// How long the API server may take: the plugin waits with the pod's start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// There is no such object.
    #[error(
        "there is no SpiderCoordinator named {NAME:?}: create one, or say enableCoordinator: false in the SpiderMultusConfig"
    )]
    Missing,
    /// The controller has not filled in what it finds in the cluster.
    #[error("the SpiderCoordinator {NAME:?} is not ready: {0}")]
    NotReady(String),
    /// It could not be read.
    #[error("cannot read the SpiderCoordinator {NAME:?}: {0}")]
    Unread(String),
    /// The API server was asked for the pod and did not say.
    #[error("cannot read pod {pod} and its annotation {DEFAULT_ROUTE_NIC} from the API server: {why}")]
    PodUnread {
        /// The pod.
        pod: PodName,
        /// Why.
        why: String,
    },
    /// The pod's annotation makes no sense.
    #[error(
        "annotation {DEFAULT_ROUTE_NIC} of pod {pod} is {value:?}, which no interface can be named: name one of the pod's interfaces, such as \"eth0\" or \"net1\""
    )]
    Annotation {
        /// The pod.
        pod: PodName,
        /// The beginning of what it says.
        value: String,
    },
}

/// The pod that a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// Its name.
    pub name: PodName,
    /// Its UID; empty from upstream's plugin.
    pub uid: String,
}

/// Reads the configuration: of a pod, or what holds for all.
///
/// # Errors
/// See [`CoordinatorError`].
pub async fn config(
    client: &Client,
    pods: &Pods,
    whose: Option<&Whose>,
) -> Result<CoordinatorConfig, CoordinatorError> {
    let mut config = of_cluster(client).await?;
    let named = match whose {
        Some(whose) => named(pods, whose).await?,
        None => None,
    };
    if let Some(nic) = named {
        config.pod_default_route_nic = nic;
        config.pod_default_route_nic_source = Some(NicSource::Annotation);
    }
    Ok(config)
}

/// The interface that the pod's annotation names. A pod that is gone names none: its plugin has other work to do.
async fn named(pods: &Pods, Whose { name, uid }: &Whose) -> Result<Option<String>, CoordinatorError> {
    let is = |pod: &crate::pods::Pod| uid.is_empty() || pod.is(uid);
    let text = |pod: &crate::pods::Pod| pod.annotations.get(DEFAULT_ROUTE_NIC).cloned();
    let said = if let Some(pod) = pods.get(name).filter(|pod| is(pod)) {
        text(&pod)
    } else {
        let unread = |why: String| CoordinatorError::PodUnread { pod: name.clone(), why };
        let read = timeout(PATIENCE, pods.read(name)).await;
        let read = read.map_err(|_| unread(format!("no answer in {PATIENCE:?}")))?;
        let read = read.map_err(|error| unread(error.to_string()))?;
        read.filter(is).as_ref().and_then(text)
    };
    match said {
        Some(value) if !is_name(&value) => {
            let value = value.chars().take(SHOWN).collect();
            Err(CoordinatorError::Annotation { pod: name.clone(), value })
        }
        said => Ok(said),
    }
}

/// Whether the kernel takes it for the name of an interface.
fn is_name(text: &str) -> bool {
    let fits = (1..=15).contains(&text.len()) && !matches!(text, "." | "..");
    fits && !text.chars().any(|c| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control())
}

async fn of_cluster(client: &Client) -> Result<CoordinatorConfig, CoordinatorError> {
    let api: Api<SpiderCoordinator> = Api::all(client.clone());
    let read = timeout(PATIENCE, api.get_opt(NAME)).await;
    let read = read.map_err(|_| CoordinatorError::Unread(format!("no answer in {PATIENCE:?}")))?;
    let read = read.map_err(|error| CoordinatorError::Unread(error.to_string()))?;
    let object = read.ok_or(CoordinatorError::Missing)?;
    shape(object.spec, object.status)
}

fn shape(
    spec: SpiderCoordinatorSpec,
    status: Option<SpiderCoordinatorStatus>,
) -> Result<CoordinatorConfig, CoordinatorError> {
    // The conditions are for people; what they say is in the lists.
    let SpiderCoordinatorStatus { phase, reason, overlay_pod_cidr, service_cidr, conditions: _ } =
        status.unwrap_or_default();
    if phase != SYNCED {
        let why = match (phase.as_str(), reason) {
            (_, Some(reason)) if !reason.is_empty() => reason,
            ("", _) => "the controller has not looked at it yet".to_owned(),
            (phase, _) => format!("its phase is {phase}"),
        };
        return Err(CoordinatorError::NotReady(why));
    }
    let SpiderCoordinatorSpec {
        mode,
        pod_cidr_type: _,
        hijack_cidr,
        policy_routes,
        pod_mac_prefix,
        tune_pod_routes,
        pod_default_route_nic,
        host_rule_table,
        pod_rp_filter,
        tx_queue_len,
        veth_link_address,
        veth_mtu,
        // The controller copies them into the status.
        service_cidr: _,
        overlay_pod_cidr: _,
    } = spec;
    let mode = match mode.unwrap_or(CoordinatorMode::Auto) {
        CoordinatorMode::Auto => "auto",
        CoordinatorMode::Underlay => "underlay",
        CoordinatorMode::Overlay => "overlay",
        CoordinatorMode::Disabled => "disabled",
    };
    let route = |Route { dst, gw }| CoordinatorRoute { dst, gw };
    let nic = pod_default_route_nic.unwrap_or_default();
    Ok(CoordinatorConfig {
        mode: mode.to_owned(),
        overlay_pod_cidr,
        service_cidr,
        tune_pod_routes: tune_pod_routes.unwrap_or(true),
        hijack_cidr: hijack_cidr.unwrap_or_default(),
        policy_routes: policy_routes.into_iter().map(route).collect(),
        pod_mac_prefix: pod_mac_prefix.unwrap_or_default(),
        pod_default_route_nic_source: (!nic.is_empty()).then_some(NicSource::SpiderCoordinator),
        pod_default_route_nic: nic,
        // The defaults of the CRD, for an object that was stored before it had them.
        host_rule_table: host_rule_table.unwrap_or(HOST_TABLE),
        pod_rp_filter: pod_rp_filter.unwrap_or(0),
        tx_queue_len: tx_queue_len.unwrap_or(0),
        veth_link_address: veth_link_address.unwrap_or_default(),
        veth_mtu: veth_mtu.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_crd() {
        let synced = SpiderCoordinatorStatus { phase: "Synced".into(), ..SpiderCoordinatorStatus::default() };
        let config = shape(SpiderCoordinatorSpec::default(), Some(synced)).unwrap();
        assert_eq!(
            (config.mode.as_str(), config.host_rule_table, config.tune_pod_routes),
            ("auto", 500, true)
        );
    }

    #[test]
    fn only_what_the_kernel_takes_is_a_name_of_an_interface() {
        for name in ["eth0", "net1", "a", "fifteen-letters", "bond0.100", "ünï"] {
            assert!(is_name(name), "{name:?}");
        }
        for name in ["", ".", "..", "a/b", "eth0:1", "eth 0", "eth0\n", "\u{7}", "sixteen-letters-"] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn an_object_that_is_not_synced_is_of_no_use() {
        for status in [
            None,
            Some(SpiderCoordinatorStatus {
                phase: "NotReady".into(),
                reason: Some("no pod CIDR".into()),
                ..SpiderCoordinatorStatus::default()
            }),
        ] {
            let error = shape(SpiderCoordinatorSpec::default(), status).unwrap_err();
            assert!(matches!(error, CoordinatorError::NotReady(_)), "{error}");
        }
    }
}
