//! The CEL rules, and the bounds that make them affordable. Each message names the field and the reason.
//!
//! They run in the API server from Kubernetes 1.31 on (`ip()` and `cidr()`, but none of the list functions of 1.34). What
//! did not change is not judged again on update, so an object that an older release let in can still get a status or
//! lose its finalizer; 1.31 itself does judge it again when a status is written (docs/architecture.md).

mod addresses;
mod coordinator;
mod networks;

pub(crate) use addresses::{
    address_spec, gateway, ip_version, ipv4_cidr, ipv6_cidr, multus_names, names, node_names, ranges,
    reserved_spec, routes, subnet,
};
pub(crate) use coordinator::{
    coordinator_root, destinations, ipv4_or_empty, mac_prefix, overlay_cidrs, policy_routes, service_cidrs,
};
pub(crate) use networks::{
    ib_sriov, ipoib, json_object, json_objects, masters, masters_config, networks_spec, ovs, sriov, trunks,
    vlan_config,
};

use serde_json::{Value, json};

/// The rule of a kind whose immutable fields must not be lost with the whole `spec`.
pub(crate) fn spec_stays() -> Value {
    json!([rule_at(".spec", "!has(oldSelf.spec) || has(self.spec)", "spec cannot be removed")])
}

/// A rule whose message is a fixed text.
fn rule(rule: impl Into<String>, message: &str) -> Value {
    json!({"rule": rule.into(), "message": message})
}

/// A rule on an object that blames one of its fields.
fn rule_at(field: &str, rule: impl Into<String>, message: &str) -> Value {
    json!({"rule": rule.into(), "message": message, "fieldPath": field})
}

/// A rule that holds of what did not change; `rule` judges the rest.
///
/// The API server judges the whole object at every write, a status write included, and takes seconds for a list of
/// thousands. Comparing costs next to nothing.
fn on_change(rule: &str) -> String {
    format!("(oldSelf.hasValue() && oldSelf.value() == self) || ({rule})")
}
