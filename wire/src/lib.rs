//! What the plugins and the agent say to each other: HTTP/1.1 with JSON over the agent's unix socket, in upstream's shape.
//!
//! Paths and field names are upstream's (`/v1`, version 1.2), so that its plugin can talk to our agent and ours to its.
//! Fields that upstream does not know are optional and skipped when empty.

use serde::{Deserialize, Deserializer, Serialize};

/// Where the agent listens unless told otherwise.
pub const SOCKET: &str = "/var/run/spidernet/spiderpool.sock";

/// `GET`: whether the agent serves.
pub const HEALTHY: &str = "/v1/ipam/healthy";
/// `POST` [`AddRequest`] → [`AddReply`]; `DELETE` [`DelRequest`] → nothing.
pub const IP: &str = "/v1/ipam/ip";
/// `DELETE` [`ReleaseRequest`] → nothing: every address of the pod.
pub const IPS: &str = "/v1/ipam/ips";
/// `POST` [`GcRequest`] → nothing. Ours: what the runtime still has, all else may go.
pub const GC: &str = "/v1/ipam/gc";
/// `POST` [`CheckRequest`] → nothing: whether the addresses are still the sandbox's. Ours.
pub const CHECK: &str = "/v1/ipam/check";
/// `GET` with `podNamespace` and `podName` → [`Endpoint`].
pub const ENDPOINT: &str = "/v1/workloadendpoint";
/// `GET` with `podNamespace`, `podName` and `podUID` → [`CoordinatorConfig`]. Upstream's plugin says the first two in a JSON body;
/// a request that names no pod asks for what holds for all.
pub const COORDINATOR: &str = "/v1/coordinator/config";

/// Asks for the addresses of one interface of one sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddRequest {
    /// The sandbox.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in the sandbox.
    pub if_name: String,
    /// The path of the sandbox's network namespace.
    pub net_namespace: String,
    /// The pod's namespace.
    pub pod_namespace: String,
    /// The pod's name.
    pub pod_name: String,
    /// The pod's UID.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// The CNI configuration's pools for IPv4.
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        rename = "defaultIPv4IPPool",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub default_ipv4_pools: Vec<String>,
    /// The CNI configuration's pools for IPv6.
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        rename = "defaultIPv6IPPool",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub default_ipv6_pools: Vec<String>,
    /// Whether the interface shall bring no default route.
    #[serde(default)]
    pub clean_gateway: bool,
    /// Whether only pools of the master's subnet will do (SR-IOV).
    #[serde(default)]
    pub match_master_subnet: bool,
}

/// What the interfaces of a sandbox were given. May tell of more interfaces than the one asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddReply {
    /// The addresses.
    #[serde(deserialize_with = "null_is_empty")]
    pub ips: Vec<Ip>,
    /// All routes, the default route among them: upstream's agent puts it here, once for each family, unless the interface is to
    /// bring none, and its plugin takes routes from nowhere else.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// One address of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ip {
    /// 4 or 6.
    pub version: u8,
    /// The address in CIDR form.
    pub address: String,
    /// The interface in the sandbox.
    pub nic: String,
    /// The pool's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ip_pool: String,
    /// The pool's gateway, for the plugin's probe; whether a default route leads through it, the routes of the reply say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// The VLAN; 0 is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub vlan: i64,
    /// The MAC address that an infrastructure provider chose.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Whether the plugin shall make sure that the gateway answers.
    #[serde(default)]
    pub enable_gateway_detection: bool,
    /// Whether the plugin shall make sure that nobody else answers for the address.
    #[serde(default, rename = "enableIPConflictDetection")]
    pub enable_ip_conflict_detection: bool,
}

/// One route of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The interface in the sandbox.
    pub if_name: String,
    /// Where to.
    pub dst: String,
    /// The next hop.
    pub gw: String,
}

/// Says that one interface of a sandbox is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DelRequest {
    /// The sandbox.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in the sandbox.
    pub if_name: String,
    /// The path of the sandbox's network namespace, while there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub net_namespace: String,
    /// The pod's namespace.
    pub pod_namespace: String,
    /// The pod's name.
    pub pod_name: String,
    /// The pod's UID; a runtime that knows none leaves it empty.
    #[serde(default, rename = "podUID")]
    pub pod_uid: String,
}

/// Where the plugin leaves the [`QueuedDel`]s that it could not tell the agent, unless the CNI configuration's `del_queue_dir`
/// says otherwise: one file each.
///
/// A file whose name ends in `.json` is whole, since it was renamed to that name after it was synced; any other is being
/// written, or was left by a crash. Its name says nothing that its content does not. The agent reads the folder when it starts
/// and every few seconds, carries each out as a `DELETE` of [`IP`], and then removes the file.
pub const DEL_QUEUE: &str = "/var/lib/spidernet/cni/del";

/// A [`DelRequest`] that waits for the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueuedDel {
    /// What the agent would have been asked.
    pub request: DelRequest,
    /// When the runtime asked, in seconds since 1970. An address given to the same sandbox and interface later is another one.
    pub queued_at: u64,
}

/// Gives back every address of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRequest {
    /// The sandbox.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The path of the sandbox's network namespace, while there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub net_namespace: String,
    /// The pod's namespace.
    pub pod_namespace: String,
    /// The pod's name.
    pub pod_name: String,
    /// The pod's UID.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// Whether the addresses were found to be in use by somebody else, and should not be given out again soon.
    #[serde(default, rename = "isReleaseConflictIPs")]
    pub conflict: bool,
}

/// The status with which the agent refuses [`ReleaseRequest`] because its configuration forbids that for stateless pods.
pub const RELEASE_FORBIDDEN_STATELESS: u16 = 521;
/// The status with which the agent refuses [`ReleaseRequest`] because a stateful pod keeps its addresses.
pub const RELEASE_FORBIDDEN_STATEFUL: u16 = 522;

/// The CNI verb GC: the attachments that the runtime still has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRequest {
    /// All of them; an address of this node that no attachment here holds may be freed.
    pub attachments: Vec<Attachment>,
}

/// One interface of one sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The sandbox.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in the sandbox.
    pub if_name: String,
}

/// The CNI verb CHECK: whether an interface still holds its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckRequest {
    /// The sandbox.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in the sandbox.
    pub if_name: String,
    /// The pod's namespace.
    pub pod_namespace: String,
    /// The pod's name.
    pub pod_name: String,
    /// The pod's UID.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// The addresses, without prefix length.
    pub addresses: Vec<String>,
}

/// What a pod holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The pod's namespace.
    pub pod_namespace: String,
    /// The pod's name.
    pub pod_name: String,
    /// The pod's UID.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// The pod's node.
    pub node: String,
    /// One element an interface.
    #[serde(deserialize_with = "null_is_empty")]
    pub interfaces: Vec<EndpointInterface>,
}

/// What one interface of a pod holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointInterface {
    /// The interface in the sandbox.
    pub interface: String,
    /// The IPv4 address in CIDR form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// The IPv6 address in CIDR form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    /// The MAC address that an infrastructure provider chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<i64>,
    /// The pool of the IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_pool: Option<String>,
    /// The pool of the IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_pool: Option<String>,
    /// The IPv4 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_gateway: Option<String>,
    /// The IPv6 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<String>,
    /// Further routes.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// What the coordinator plugin has to know of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorConfig {
    /// `auto`, `underlay`, `overlay` or `disabled`.
    pub mode: String,
    /// The blocks of the pods of the cluster's overlay network.
    #[serde(rename = "overlayPodCIDR", deserialize_with = "null_is_empty")]
    pub overlay_pod_cidr: Vec<String>,
    /// The blocks of the cluster's services.
    #[serde(rename = "serviceCIDR", deserialize_with = "null_is_empty")]
    pub service_cidr: Vec<String>,
    /// Whether the routes of a pod with several interfaces are tuned.
    #[serde(rename = "tunePodRoutes")]
    pub tune_pod_routes: bool,
    /// Blocks that a pod reaches through its node.
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        rename = "hijackCIDR",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub hijack_cidr: Vec<String>,
    /// Routes of the pod's policy table.
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        rename = "policyRoutes",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub policy_routes: Vec<CoordinatorRoute>,
    /// The first two bytes of the interfaces' MAC addresses.
    #[serde(default, rename = "podMACPrefix", skip_serializing_if = "String::is_empty")]
    pub pod_mac_prefix: String,
    /// The interface that has the default route.
    #[serde(default, rename = "podDefaultRouteNIC", skip_serializing_if = "String::is_empty")]
    pub pod_default_route_nic: String,
    /// Who says so. Ours: an agent that leaves it out is upstream's, whose answer may be either's.
    #[serde(default, rename = "podDefaultRouteNICSource", skip_serializing_if = "Option::is_none")]
    pub pod_default_route_nic_source: Option<NicSource>,
    /// The routing table on the node.
    #[serde(default, rename = "hostRuleTable")]
    pub host_rule_table: i64,
    /// `rp_filter` in the pod; negative: left alone.
    #[serde(default, rename = "podRPFilter")]
    pub pod_rp_filter: i64,
    /// Transmit queue length; 0: left alone.
    #[serde(default, rename = "txQueueLen")]
    pub tx_queue_len: i64,
    /// The IPv4 address of the pod's end of the veth pair.
    #[serde(default, rename = "vethLinkAddress", skip_serializing_if = "String::is_empty")]
    pub veth_link_address: String,
    /// The MTU of the veth pair; 0: the parent's.
    #[serde(default, rename = "vethMTU")]
    pub veth_mtu: i64,
}

/// Who names the interface that has the default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NicSource {
    /// The pod's annotation `ipam.spidernet.io/default-route-nic`.
    Annotation,
    /// The `SpiderCoordinator`.
    SpiderCoordinator,
    /// Somebody whom only a newer agent knows.
    #[serde(other)]
    Other,
}

/// A route of the pod's policy table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorRoute {
    /// Where to.
    pub dst: String,
    /// The next hop.
    pub gw: String,
}

/// Reads a list as upstream writes it: Go's empty list is `null`.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
