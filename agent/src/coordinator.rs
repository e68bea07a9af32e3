//! What the coordinator plugin asks for: the cluster's `SpiderCoordinator`.

use std::time::Duration;

use api::{CoordinatorMode, Route, SpiderCoordinator, SpiderCoordinatorSpec, SpiderCoordinatorStatus};
use kube::{Api, Client};
use tokio::time::timeout;
use wire::{CoordinatorConfig, CoordinatorRoute};

/// The object that counts: by its name. Upstream takes whichever comes first.
const NAME: &str = "default";

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
}

/// Reads the configuration.
///
/// # Errors
/// See [`CoordinatorError`].
pub async fn config(client: &Client) -> Result<CoordinatorConfig, CoordinatorError> {
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
    if phase != "Synced" {
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
    Ok(CoordinatorConfig {
        mode: mode.to_owned(),
        overlay_pod_cidr,
        service_cidr,
        tune_pod_routes: tune_pod_routes.unwrap_or(true),
        hijack_cidr: hijack_cidr.unwrap_or_default(),
        policy_routes: policy_routes.into_iter().map(route).collect(),
        pod_mac_prefix: pod_mac_prefix.unwrap_or_default(),
        pod_default_route_nic: pod_default_route_nic.unwrap_or_default(),
        // The defaults of the CRD, for an object that was stored before it had them.
        host_rule_table: host_rule_table.unwrap_or(500),
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
