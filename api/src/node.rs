//! `SpiderNode`: what the sources show of one node's NICs, and whether its pools follow. New here; upstream has no such kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optional_spec::optional_spec;

/// The condition that a provider shows the node's instance.
pub const DISCOVERED: &str = "Discovered";
/// The condition that the node's pools are what the sources show.
pub const SYNCED: &str = "Synced";
/// The condition that the node has addresses for pods.
pub const SUFFICIENT_IPS: &str = "SufficientIPs";

/// Nothing yet: everything about a node is observed.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "spiderpool.spidernet.io",
    version = "v2beta1",
    kind = "SpiderNode",
    plural = "spidernodes",
    shortname = "sn",
    category = "spiderpool",
    status = "SpiderNodeStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "SpiderNode shows the NICs and addresses of the node of the same name.",
    printcolumn = r#"{"name": "PROVIDER", "type": "string", "jsonPath": ".status.provider"}"#,
    printcolumn = r#"{"name": "INSTANCE", "type": "string", "jsonPath": ".status.instance"}"#,
    printcolumn = r#"{"name": "NICS", "type": "integer", "jsonPath": ".status.nicCount"}"#,
    printcolumn = r#"{"name": "IPV4", "type": "integer", "jsonPath": ".status.ipv4Count"}"#,
    printcolumn = r#"{"name": "IPV6", "type": "integer", "jsonPath": ".status.ipv6Count"}"#,
    printcolumn = r#"{"name": "DISCOVERED", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Discovered\")].status"}"#,
    printcolumn = r#"{"name": "SYNCED", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Synced\")].status"}"#,
    printcolumn = r#"{"name": "SUFFICIENT", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"SufficientIPs\")].status"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "MESSAGE", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Synced\")].message", "priority": 10}"#
)]
#[serde(remote = "Self")]
pub struct SpiderNodeSpec {}

optional_spec!(SpiderNodeSpec);

/// What is known of the node's NICs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiderNodeStatus {
    /// The name of the provider that claims the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What each source last showed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub sources: Vec<NodeSource>,
    /// The merged NICs, by index and then identifier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub nics: Vec<NodeNic>,
    /// How many NICs there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic_count: Option<i64>,
    /// How many IPv4 addresses pods may get on this node.
    #[serde(default, rename = "ipv4Count", skip_serializing_if = "Option::is_none")]
    pub ipv4_count: Option<i64>,
    /// How many IPv6 addresses pods may get on this node, clamped to the largest number.
    #[serde(default, rename = "ipv6Count", skip_serializing_if = "Option::is_none")]
    pub ipv6_count: Option<i64>,
    /// `Discovered`, `Synced` and `SufficientIPs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the object that this describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What one source last showed of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSource {
    /// `API` or `Metadata`.
    pub name: String,
    /// When the source was last read, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// Whether that reading was complete.
    pub complete: bool,
    /// What was odd about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One NIC of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeNic {
    /// The cloud's identifier.
    pub id: String,
    /// The MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The position in the instance; 0 is the primary NIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// The name of the interface in the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The cloud's identifier of the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// `Pods`, or why the NIC is left alone.
    #[serde(rename = "use")]
    pub use_: String,
    /// The node's own addresses on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary: Vec<String>,
    /// The IPv4 ranges for pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv4: Vec<String>,
    /// The IPv6 ranges for pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6: Vec<String>,
    /// The CIDR of the IPv4 subnet.
    #[serde(default, rename = "ipv4Subnet", skip_serializing_if = "Option::is_none")]
    pub ipv4_subnet: Option<String>,
    /// The gateway of the IPv4 subnet.
    #[serde(default, rename = "ipv4Gateway", skip_serializing_if = "Option::is_none")]
    pub ipv4_gateway: Option<String>,
    /// The CIDR of the IPv6 subnet.
    #[serde(default, rename = "ipv6Subnet", skip_serializing_if = "Option::is_none")]
    pub ipv6_subnet: Option<String>,
    /// The gateway of the IPv6 subnet.
    #[serde(default, rename = "ipv6Gateway", skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<String>,
    /// The `NetworkAttachmentDefinition` that stands on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multus_name: Option<String>,
    /// The pools made of its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
}

/// Clamps a number of addresses to what the API can hold.
#[must_use]
pub fn clamped_count(count: u128) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
