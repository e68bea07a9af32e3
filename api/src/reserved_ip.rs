//! `SpiderReservedIP`: addresses that no pod may get, from whatever pool.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optional_spec::optional_spec;
use crate::rules;

/// What is kept from pods.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "spiderpool.spidernet.io",
    version = "v2beta1",
    kind = "SpiderReservedIP",
    plural = "spiderreservedips",
    shortname = "sr",
    category = "spiderpool",
    derive = "PartialEq",
    derive = "Default",
    doc = "SpiderReservedIP is a set of addresses that no pod may get.",
    printcolumn = r#"{"name": "VERSION", "type": "string", "description": "ipVersion", "jsonPath": ".spec.ipVersion"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = rules::reserved_spec()))]
pub struct SpiderReservedIPSpec {
    /// 4 or 6; when missing, the family of the first item. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::ip_version")]
    pub ip_version: Option<i64>,
    /// The addresses: one address or one `first-last` an item, all of one family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::ranges")]
    pub ips: Vec<String>,
}

optional_spec!(SpiderReservedIPSpec);
