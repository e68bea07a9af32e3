//! `SpiderMultusConfig`: one `NetworkAttachmentDefinition` in a form that can be checked.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::coordinator::SpiderCoordinatorSpec;
use crate::optional_spec::optional_spec;
use crate::rules;

/// The CNI configuration behind one `NetworkAttachmentDefinition`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "spiderpool.spidernet.io",
    version = "v2beta1",
    kind = "SpiderMultusConfig",
    plural = "spidermultusconfigs",
    shortname = "smc",
    category = "spiderpool",
    namespaced,
    status = "SpiderMultusConfigStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "SpiderMultusConfig describes one NetworkAttachmentDefinition.",
    printcolumn = r#"{"name": "TYPE", "type": "string", "jsonPath": ".spec.cniType"}"#,
    printcolumn = r#"{"name": "READY", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "REASON", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "MESSAGE", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].message", "priority": 10}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = rules::networks_spec()))]
pub struct SpiderMultusConfigSpec {
    /// The kind of the main CNI plugin; exactly the block of that kind is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "custom"))]
    pub cni_type: Option<CniType>,
    /// For `macvlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macvlan: Option<MacvlanConfig>,
    /// For `ipvlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipvlan: Option<IpvlanConfig>,
    /// For `vlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanConfig>,
    /// For `sriov`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sriov: Option<SriovConfig>,
    /// For `ib-sriov`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ibsriov: Option<IbSriovConfig>,
    /// For `ipoib`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipoib: Option<IpoibConfig>,
    /// For `ovs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ovs: Option<OvsConfig>,
    /// For `custom`: the whole CNI configuration as JSON, or nothing.
    #[serde(default, rename = "customCNI", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::json_object")]
    pub custom_cni: Option<String>,
    /// Whether the coordinator plugin is in the chain; never for `custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub enable_coordinator: Option<bool>,
    /// Whether the main plugin has no IPAM.
    #[serde(default, rename = "disableIPAM", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub disable_ipam: Option<bool>,
    /// The coordinator's settings that differ from the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<SpiderCoordinatorSpec>,
    /// Further plugins of the chain, each as JSON.
    #[serde(default, rename = "chainCNIJsonData", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::json_objects")]
    pub chain_cni_json_data: Vec<String>,
}

optional_spec!(SpiderMultusConfigSpec);

/// The condition that says whether the `NetworkAttachmentDefinition` is as the object wants it.
pub const READY: &str = "Ready";

/// What became of the object. Upstream has no status here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiderMultusConfigStatus {
    /// The `NetworkAttachmentDefinition` that belongs to it: `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_attachment_definition: Option<String>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the object that this describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The kind of the main CNI plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a description at a variant would end up as oneOf in the schema")]
pub enum CniType {
    Macvlan,
    Ipvlan,
    Vlan,
    Sriov,
    Ovs,
    #[serde(rename = "ib-sriov")]
    IbSriov,
    Ipoib,
    Custom,
}

/// The default pools of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefaultPools {
    /// IPv4 pools, in the order in which they are tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv4: Vec<String>,
    /// IPv6 pools, in the order in which they are tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6: Vec<String>,
    /// Whether only pools of the subnet of the VF's parent count; for `sriov` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub match_master_subnet: Option<bool>,
}

/// A bond made of several masters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bond {
    /// The name of the bond interface.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The kernel's bonding mode.
    #[schemars(range(min = 0, max = 6))]
    pub mode: i32,
    /// Further options of the bond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
}

/// Declares a block for a plugin that makes interfaces on a master.
macro_rules! master_config {
    ($(#[$doc:meta])* $name:ident, $rules:path $(, $(#[$extra_doc:meta])* $extra:ident: $type:ty)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        #[schemars(extend("x-kubernetes-validations" = $rules()))]
        pub struct $name {
            /// The node's interfaces below; two or more need a bond.
            #[schemars(schema_with = "rules::masters")]
            pub master: Vec<String>,
            /// The MTU; 0 takes the master's.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 0), extend("default" = 0))]
            pub mtu: Option<i32>,
            /// The VLAN; 0 is none.
            #[serde(default, rename = "vlanID", skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 0, max = 4094))]
            pub vlan_id: Option<i32>,
            /// The bond over several masters.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub bond: Option<Bond>,
            /// The resource of an RDMA device plugin.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub rdma_resource_name: Option<String>,
            /// The default pools.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub ippools: Option<DefaultPools>,
            $(
                $(#[$extra_doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $extra: Option<$type>,
            )?
        }
    };
}

master_config! {
    /// The block of `macvlan`.
    MacvlanConfig, rules::masters_config
}
master_config! {
    /// The block of `ipvlan`.
    IpvlanConfig, rules::masters_config
}
master_config! {
    /// The block of `vlan`.
    VlanConfig, rules::vlan_config,
    /// Whether `vlanID` is given here or comes with the address.
    #[schemars(extend("default" = "manual"))]
    vlan_mode: VlanMode
}

/// Where the VLAN of a `vlan` network comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a description at a variant would end up as oneOf in the schema")]
pub enum VlanMode {
    Manual,
    Auto,
}

/// The block of `sriov`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::sriov()))]
pub struct SriovConfig {
    /// The resource of the SR-IOV device plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub resource_name: Option<String>,
    /// The VLAN; 0 is none.
    #[serde(default, rename = "vlanID", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4094))]
    pub vlan_id: Option<i32>,
    /// The MTU; 0 takes the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 0))]
    pub mtu: Option<i32>,
    /// The guaranteed rate in Mbit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_tx_rate_mbps: Option<i64>,
    /// The highest rate in Mbit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_tx_rate_mbps: Option<i64>,
    /// Whether the RDMA device moves into the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub rdma_isolation: Option<bool>,
    /// The default pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ippools: Option<DefaultPools>,
}

/// The block of `ib-sriov`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::ib_sriov()))]
pub struct IbSriovConfig {
    /// The resource of the SR-IOV device plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub resource_name: Option<String>,
    /// The InfiniBand partition key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkey: Option<String>,
    /// The state of the VF's link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "enable"))]
    pub link_state: Option<LinkState>,
    /// Whether the RDMA device moves into the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub rdma_isolation: Option<bool>,
    /// Whether ib-kubernetes manages the GUIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub enable_ib_kubernetes: Option<bool>,
    /// The default pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ippools: Option<DefaultPools>,
}

/// The state of a VF's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a description at a variant would end up as oneOf in the schema")]
pub enum LinkState {
    Auto,
    Enable,
    Disable,
}

/// The block of `ipoib`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::ipoib()))]
pub struct IpoibConfig {
    /// The node's InfiniBand interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub master: Option<String>,
    /// The default pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ippools: Option<DefaultPools>,
}

/// The block of `ovs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::ovs()))]
pub struct OvsConfig {
    /// The bridge.
    #[schemars(length(max = 253))]
    pub bridge: String,
    /// The VLAN of an access port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<i32>,
    /// The VLANs of a trunk port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::trunks")]
    pub trunk: Vec<OvsTrunk>,
    /// The PCI address of a VF.
    #[serde(default, rename = "deviceID", skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The default pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ippools: Option<DefaultPools>,
}

/// One VLAN or a range of VLANs of a trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OvsTrunk {
    /// The first VLAN.
    #[serde(default, rename = "minID", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4094))]
    pub min_id: Option<i64>,
    /// The last VLAN.
    #[serde(default, rename = "maxID", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4094))]
    pub max_id: Option<i64>,
    /// One VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4094))]
    pub id: Option<i64>,
}
