//! `SpiderEndpoint`: what one pod was given.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::route::Route;
use crate::rules;

/// Stands where other kinds have a spec: an endpoint has none.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "spiderpool.spidernet.io",
    version = "v2beta1",
    kind = "SpiderEndpoint",
    plural = "spiderendpoints",
    shortname = "se",
    category = "spiderpool",
    namespaced,
    no_spec,
    status = "SpiderEndpointStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "SpiderEndpoint records the addresses of one pod; it has the pod's name.",
    printcolumn = r#"{"name": "INTERFACE", "type": "string", "description": "interface", "jsonPath": ".status.current.ips[0].interface"}"#,
    printcolumn = r#"{"name": "IPV4POOL", "type": "string", "description": "ipv4Pool", "jsonPath": ".status.current.ips[0].ipv4Pool"}"#,
    printcolumn = r#"{"name": "IPV4", "type": "string", "description": "ipv4", "jsonPath": ".status.current.ips[0].ipv4"}"#,
    printcolumn = r#"{"name": "IPV6POOL", "type": "string", "description": "ipv6Pool", "jsonPath": ".status.current.ips[0].ipv6Pool"}"#,
    printcolumn = r#"{"name": "IPV6", "type": "string", "description": "ipv6", "jsonPath": ".status.current.ips[0].ipv6"}"#,
    printcolumn = r#"{"name": "NODE", "type": "string", "description": "node", "jsonPath": ".status.current.node"}"#
)]
pub struct SpiderEndpointSpec {}

/// What the pod holds and to whom it belongs. Written with the object: there is no status subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiderEndpointStatus {
    /// The allocation of the pod that has the name now.
    pub current: EndpointAllocation,
    /// The kind of the pod's top controller; `Pod` for a bare pod.
    pub owner_controller_type: String,
    /// The name of the pod's top controller.
    pub owner_controller_name: String,
}

/// The allocation of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointAllocation {
    /// The pod's UID.
    pub uid: String,
    /// The pod's node.
    pub node: String,
    /// One element a NIC.
    #[schemars(extend("maxItems" = 256))]
    pub ips: Vec<EndpointIp>,
}

/// What one NIC of a pod was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointIp {
    /// The NIC's name in the pod; empty until the NIC's turn comes when the pod did not name its NICs.
    pub interface: String,
    /// The IPv4 address in CIDR form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::ipv4_cidr")]
    pub ipv4: Option<String>,
    /// The IPv6 address in CIDR form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::ipv6_cidr")]
    pub ipv6: Option<String>,
    /// The pool of the IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_pool: Option<String>,
    /// The pool of the IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_pool: Option<String>,
    /// The VLAN; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4094), extend("default" = 0))]
    pub vlan: Option<i64>,
    /// The IPv4 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_gateway: Option<String>,
    /// The IPv6 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<String>,
    /// Whether the NIC brings no default route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_gateway: Option<bool>,
    /// Further routes through the NIC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The MAC address that an infrastructure provider chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}
