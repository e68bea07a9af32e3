//! `SpiderIPPool`: the addresses that pods may get, and who holds which.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, ResourceExt};
use model::{AddressSet, RangeError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optional_spec::optional_spec;
use crate::route::Route;
use crate::{rules, selector};

/// What a pool offers and to whom.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "spiderpool.spidernet.io",
    version = "v2beta1",
    kind = "SpiderIPPool",
    plural = "spiderippools",
    shortname = "sp",
    category = "spiderpool",
    status = "SpiderIPPoolStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "SpiderIPPool is a set of addresses of one subnet that pods may get.",
    printcolumn = r#"{"name": "VERSION", "type": "string", "description": "ipVersion", "jsonPath": ".spec.ipVersion"}"#,
    printcolumn = r#"{"name": "SUBNET", "type": "string", "description": "subnet", "jsonPath": ".spec.subnet"}"#,
    printcolumn = r#"{"name": "ALLOCATED-IP-COUNT", "type": "integer", "description": "allocatedIPCount", "jsonPath": ".status.allocatedIPCount"}"#,
    printcolumn = r#"{"name": "TOTAL-IP-COUNT", "type": "integer", "description": "totalIPCount", "jsonPath": ".status.totalIPCount"}"#,
    printcolumn = r#"{"name": "DEFAULT", "type": "boolean", "description": "default", "jsonPath": ".spec.default"}"#,
    printcolumn = r#"{"name": "DISABLE", "type": "boolean", "description": "disable", "jsonPath": ".spec.disable", "priority": 10}"#,
    printcolumn = r#"{"name": "NodeName", "type": "string", "description": "nodeName", "jsonPath": ".spec.nodeName", "priority": 10}"#,
    printcolumn = r#"{"name": "MultusName", "type": "string", "description": "multusName", "jsonPath": ".spec.multusName", "priority": 10}"#,
    printcolumn = r#"{"name": "APP-NAMESPACE", "type": "string", "description": "AppNamespace", "jsonPath": ".spec.podAffinity.matchLabels['ipam\\.spidernet\\.io/app\\-namespace']", "priority": 10}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = rules::address_spec()))]
pub struct SpiderIPPoolSpec {
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
    /// What of `ips` is not given to pods.
    #[serde(default, rename = "excludeIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::ranges")]
    pub exclude_ips: Vec<String>,
    /// The default gateway of the pods, inside `subnet` and not among the addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::gateway")]
    pub gateway: Option<String>,
    /// Further routes of the pods; the default route is not allowed here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::routes")]
    pub routes: Vec<Route>,
    /// Only pods with these labels; not empty when set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector::pod_schema")]
    pub pod_affinity: Option<LabelSelector>,
    /// Only namespaces with these labels; ignored beside `namespaceName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector::schema")]
    pub namespace_affinity: Option<LabelSelector>,
    /// Only these namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::names")]
    pub namespace_name: Vec<String>,
    /// Only nodes with these labels; ignored beside `nodeName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector::schema")]
    pub node_affinity: Option<LabelSelector>,
    /// Only these nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::node_names")]
    pub node_name: Vec<String>,
    /// Only NICs behind these `NetworkAttachmentDefinitions`: `namespace/name`, or `name` in Spiderpool's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::multus_names")]
    pub multus_name: Vec<String>,
    /// Whether a pod that names no pool may get an address from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub default: Option<bool>,
    /// Whether no new address is given out; releases still work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub disable: Option<bool>,
}

optional_spec!(SpiderIPPoolSpec);

/// Who holds which address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiderIPPoolStatus {
    /// A JSON document in a string: see [`allocations`](crate::allocations).
    #[serde(default, rename = "allocatedIPs", skip_serializing_if = "Option::is_none")]
    pub allocated_ips: Option<String>,
    /// How many addresses the pool offers in all; a larger IPv6 pool is clamped to the largest number.
    #[serde(default, rename = "totalIPCount", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub total_ip_count: Option<i64>,
    /// How many of them pods hold.
    #[serde(default, rename = "allocatedIPCount", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub allocated_ip_count: Option<i64>,
}

/// The addresses of a pool, as far as its text can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolAddresses {
    /// `ips` without `excludeIPs`, what the controller [denies](crate::labels::DENIED), and the gateway: what pods may
    /// get. Overlaps are fine, it is the union.
    pub offered: AddressSet,
    /// Whether the gateway was among them, which CEL cannot see inside an IPv6 range: to be said in an Event.
    pub gateway_among_ips: bool,
    /// What in `ips` is no range, a reversed IPv6 range among it: left out of `offered`, to be said in an Event.
    pub unreadable_ips: Vec<RangeError>,
    /// What in `excludeIPs` or among the denied addresses is no range. Something was meant to be kept from pods and is
    /// not known: give nothing out of such a pool.
    pub unreadable_exclusions: Vec<RangeError>,
}

impl SpiderIPPool {
    /// Reads what the pool offers; bad items are returned beside the good ones and never fail the whole.
    #[must_use]
    pub fn addresses(&self) -> PoolAddresses {
        let spec = &self.spec;
        let (ips, unreadable_ips) = AddressSet::parse_lenient(&spec.ips);
        let (excluded, mut unreadable_exclusions) = AddressSet::parse_lenient(&spec.exclude_ips);
        let (denied, unreadable_denials) = self.denied();
        unreadable_exclusions.extend(unreadable_denials);
        let gateway: AddressSet =
            spec.gateway.iter().filter_map(|text| text.parse::<IpAddr>().ok()).collect();
        let offered = ips.difference(&excluded).difference(&denied);
        PoolAddresses {
            gateway_among_ips: offered.intersects(&gateway),
            offered: offered.difference(&gateway),
            unreadable_ips,
            unreadable_exclusions,
        }
    }

    /// Reads what the controller [denies](crate::labels::DENIED), and what of it is no range.
    pub(crate) fn denied(&self) -> (AddressSet, Vec<RangeError>) {
        let text = self.annotations().get(crate::labels::DENIED);
        let items = text.into_iter().flat_map(|text| text.split(',')).map(str::trim);
        AddressSet::parse_lenient(&items.filter(|item| !item.is_empty()).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(spec: SpiderIPPoolSpec) -> SpiderIPPool {
        SpiderIPPool::new("p", spec)
    }

    #[test]
    fn the_offer_is_the_union_of_ips_without_the_exclusions() {
        let pool = pool(SpiderIPPoolSpec {
            ips: vec!["10.0.0.1-10.0.0.9".into(), "10.0.0.5-10.0.0.12".into()],
            exclude_ips: vec!["10.0.0.3".into()],
            ..SpiderIPPoolSpec::default()
        });
        assert_eq!(pool.addresses().offered.to_strings(), ["10.0.0.1-10.0.0.2", "10.0.0.4-10.0.0.12"]);
    }

    #[test]
    fn a_reversed_ipv6_range_is_reported_and_the_rest_stays() {
        let pool = pool(SpiderIPPoolSpec {
            ips: vec!["2001:db8::9-2001:db8::1".into(), "2001:db8::20".into()],
            ..SpiderIPPoolSpec::default()
        });
        let addresses = pool.addresses();
        assert_eq!(addresses.offered.to_strings(), ["2001:db8::20"]);
        assert_eq!(
            addresses.unreadable_ips,
            [RangeError::Reversed { text: "2001:db8::9-2001:db8::1".into() }]
        );
    }

    #[test]
    fn an_exclusion_that_cannot_be_read_is_told_apart() {
        let pool = pool(SpiderIPPoolSpec {
            ips: vec!["2001:db8::1-2001:db8::9".into()],
            exclude_ips: vec!["2001:db8::5-2001:db8::2".into()],
            ..SpiderIPPoolSpec::default()
        });
        assert_eq!(pool.addresses().unreadable_exclusions.len(), 1);
    }

    #[test]
    fn what_the_controller_denies_is_not_offered_even_while_a_pod_holds_it() {
        let mut pool = pool(SpiderIPPoolSpec {
            ips: vec!["10.0.0.1-10.0.0.9".into()],
            exclude_ips: vec!["10.0.0.1".into()],
            ..SpiderIPPoolSpec::default()
        });
        let mut deny = |text: &str| {
            pool.annotations_mut().insert(crate::labels::DENIED.to_owned(), text.to_owned());
            pool.addresses()
        };
        assert_eq!(deny("10.0.0.1,10.0.0.8-10.0.0.9").offered.to_strings(), ["10.0.0.2-10.0.0.7"]);
        assert_eq!(deny("").unreadable_exclusions, []);
        assert_eq!(deny("10.0.0.8,x").unreadable_exclusions.len(), 1);
    }

    #[test]
    fn a_gateway_inside_an_ipv6_range_is_not_offered() {
        let pool = pool(SpiderIPPoolSpec {
            ips: vec!["2001:db8::1-2001:db8::9".into()],
            gateway: Some("2001:db8::5".into()),
            ..SpiderIPPoolSpec::default()
        });
        let addresses = pool.addresses();
        assert_eq!(addresses.offered.to_strings(), ["2001:db8::1-2001:db8::4", "2001:db8::6-2001:db8::9"]);
        assert!(addresses.gateway_among_ips);
    }

    #[test]
    fn a_pool_without_spec_can_be_read() {
        let pool: SpiderIPPool = serde_json::from_str(r#"{"metadata": {"name": "empty"}}"#).unwrap();
        assert_eq!(pool.spec, SpiderIPPoolSpec::default());
    }
}
