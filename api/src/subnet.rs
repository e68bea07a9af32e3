//! `SpiderSubnet`: the addresses from which pools of one CIDR are cut.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optional_spec::optional_spec;
use crate::route::Route;
use crate::rules;

/// What a subnet offers to pools.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "spiderpool.spidernet.io",
    version = "v2beta1",
    kind = "SpiderSubnet",
    plural = "spidersubnets",
    shortname = "ss",
    category = "spiderpool",
    status = "SpiderSubnetStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "SpiderSubnet is a set of addresses from which pools of the same subnet are cut.",
    printcolumn = r#"{"name": "VERSION", "type": "string", "description": "ipVersion", "jsonPath": ".spec.ipVersion"}"#,
    printcolumn = r#"{"name": "SUBNET", "type": "string", "description": "subnet", "jsonPath": ".spec.subnet"}"#,
    printcolumn = r#"{"name": "ALLOCATED-IP-COUNT", "type": "integer", "description": "allocatedIPCount", "jsonPath": ".status.allocatedIPCount"}"#,
    printcolumn = r#"{"name": "TOTAL-IP-COUNT", "type": "integer", "description": "totalIPCount", "jsonPath": ".status.totalIPCount"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = rules::address_spec()))]
pub struct SpiderSubnetSpec {
    /// 4 or 6; when missing, the family of `subnet`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::ip_version")]
    pub ip_version: Option<i64>,
    /// The subnet in CIDR form, without host bits. Immutable.
    #[schemars(schema_with = "rules::subnet")]
    pub subnet: String,
    /// The addresses: one address or one `first-last` an item, all inside `subnet`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::ranges")]
    pub ips: Vec<String>,
    /// What of `ips` no pool may have.
    #[serde(default, rename = "excludeIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::ranges")]
    pub exclude_ips: Vec<String>,
    /// The gateway that pools without one inherit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::gateway")]
    pub gateway: Option<String>,
    /// The routes that pools without any inherit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::routes")]
    pub routes: Vec<Route>,
}

optional_spec!(SpiderSubnetSpec);

/// Which pools hold what of the subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiderSubnetStatus {
    /// A JSON document in a string: pool name to its ranges.
    #[serde(default, rename = "controlledIPPools", skip_serializing_if = "Option::is_none")]
    pub controlled_ip_pools: Option<String>,
    /// How many addresses the subnet offers in all, clamped like a pool's.
    #[serde(default, rename = "totalIPCount", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub total_ip_count: Option<i64>,
    /// How many of them pools hold.
    #[serde(default, rename = "allocatedIPCount", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub allocated_ip_count: Option<i64>,
}
