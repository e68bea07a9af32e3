//! `SpiderCoordinator`: how the coordinator plugin ties a pod's NICs to its node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optional_spec::optional_spec;
use crate::route::Route;
use crate::rules;

/// How a pod reaches its node, the services and the other NICs' networks. Also a part of `SpiderMultusConfig`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "spiderpool.spidernet.io",
    version = "v2beta1",
    kind = "SpiderCoordinator",
    plural = "spidercoordinators",
    shortname = "scc",
    category = "spiderpool",
    status = "SpiderCoordinatorStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "SpiderCoordinator holds the cluster's defaults of the coordinator plugin."
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(rename_all = "camelCase")]
pub struct SpiderCoordinatorSpec {
    /// Whether the pod's first NIC is an underlay one, or one of the cluster's overlay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "auto"))]
    pub mode: Option<CoordinatorMode>,
    /// Where the cluster's pod CIDRs are read from. Required in a `SpiderCoordinator`.
    #[serde(default, rename = "podCIDRType", skip_serializing_if = "Option::is_none")]
    pub pod_cidr_type: Option<PodCidrType>,
    /// Destinations that pods reach through their node: addresses or CIDRs.
    #[serde(default, rename = "hijackCIDR", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::destinations")]
    pub hijack_cidr: Option<Vec<String>>,
    /// Routes of the pod's policy table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::policy_routes")]
    pub policy_routes: Vec<Route>,
    /// The first two bytes of the pods' MAC addresses, like `0a:1b`; empty leaves them alone.
    #[serde(default, rename = "podMACPrefix", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::mac_prefix")]
    pub pod_mac_prefix: Option<String>,
    /// Whether the routes of a pod with several NICs are tuned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub tune_pod_routes: Option<bool>,
    /// The NIC that carries the pod's default route; empty keeps it on eth0.
    #[serde(default, rename = "podDefaultRouteNIC", skip_serializing_if = "Option::is_none")]
    pub pod_default_route_nic: Option<String>,
    /// The number of the node's routing table for routes to pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 500))]
    pub host_rule_table: Option<i64>,
    /// `rp_filter` in the pod: 0, 1 or 2; a negative number leaves it alone.
    #[serde(default, rename = "podRPFilter", skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 2), extend("default" = 0))]
    pub pod_rp_filter: Option<i64>,
    /// The transmit queue of the pod's NIC; 0 leaves it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 0))]
    pub tx_queue_len: Option<i64>,
    /// The IPv4 address of the pod's end of the veth pair; empty is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::ipv4_or_empty")]
    pub veth_link_address: Option<String>,
    /// The MTU of the veth pair.
    #[serde(default, rename = "vethMTU", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub veth_mtu: Option<i64>,
    /// The CIDRs of the services, instead of those that the cluster shows. Upstream has no such field.
    #[serde(default, rename = "serviceCIDR", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::service_cidrs")]
    pub service_cidr: Option<Vec<String>>,
    /// The CIDRs of the overlay's pods, instead of those that the cluster shows. Upstream has no such field.
    #[serde(default, rename = "overlayPodCIDR", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::overlay_cidrs")]
    pub overlay_pod_cidr: Option<Vec<String>>,
}

optional_spec!(SpiderCoordinatorSpec);

/// How the coordinator ties a pod to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a description at a variant would end up as oneOf in the schema")]
pub enum CoordinatorMode {
    Auto,
    Underlay,
    Overlay,
    Disabled,
}

/// Where the cluster's pod CIDRs are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a description at a variant would end up as oneOf in the schema")]
pub enum PodCidrType {
    Auto,
    Cluster,
    Calico,
    Cilium,
    None,
}

/// The condition of a `SpiderCoordinator` that says whether the CIDRs of services are known, and where from.
pub const SERVICE_CIDR_KNOWN: &str = "ServiceCIDRKnown";
/// The condition of a `SpiderCoordinator` that says whether the CIDRs of the overlay's pods are known, and where from.
pub const OVERLAY_POD_CIDR_KNOWN: &str = "OverlayPodCIDRKnown";
/// What follows the node's name in the conditions by which nodes say that they cannot ask kube-proxy to masquerade.
const SERVICE_REPLIES: &str = "/ServiceReplies";

/// Returns the condition of a `SpiderCoordinator` by which a node says whether its pods get replies from services whose
/// endpoint is on another node. It is there only where that depends on how kube-proxy is set up.
#[must_use]
pub fn service_replies(node: &str) -> String {
    format!("{node}{SERVICE_REPLIES}")
}

/// Returns whose [`service_replies`] a condition is, if it is one.
#[must_use]
pub fn service_replies_of(kind: &str) -> Option<&str> {
    kind.strip_suffix(SERVICE_REPLIES)
}

/// What the controller found about the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiderCoordinatorStatus {
    /// `Synced` or `NotReady`.
    pub phase: String,
    /// Why it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The CIDRs of the overlay's pods.
    #[serde(default, rename = "overlayPodCIDR", skip_serializing_if = "Vec::is_empty")]
    pub overlay_pod_cidr: Vec<String>,
    /// The CIDRs of the services.
    #[serde(default, rename = "serviceCIDR", skip_serializing_if = "Vec::is_empty")]
    pub service_cidr: Vec<String>,
    /// `ServiceCIDRKnown` and `OverlayPodCIDRKnown`, and `<node>/ServiceReplies` of nodes whose kernel cannot ask kube-proxy to
    /// masquerade. Upstream has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
