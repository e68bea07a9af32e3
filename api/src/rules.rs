//! The CEL rules and the bounds that make them affordable: each message names the field and the reason.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

pub(crate) fn ranges(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string", "maxLength": 79}, "maxItems": 4096, "x-kubernetes-list-type": "set"})
}
pub(crate) fn routes(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 512, "items": generator.subschema_for::<crate::Route>(), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["dst"]})
}
pub(crate) fn policy_routes(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 512, "items": generator.subschema_for::<crate::Route>()})
}
pub(crate) fn object_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string"}})
}
pub(crate) fn multus_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string"}})
}
pub(crate) fn destinations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string"}})
}
pub(crate) fn masters(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string"}})
}
pub(crate) fn trunks(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 4096, "items": generator.subschema_for::<crate::OvsTrunk>()})
}
pub(crate) fn json_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string"}})
}
pub(crate) fn json_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}
pub(crate) fn mac_prefix(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}
pub(crate) fn ipv4_or_empty(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}
pub(crate) fn ipv4_cidr(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}
pub(crate) fn ipv6_cidr(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}
pub(crate) fn masters_config() -> Value {
    json!([])
}
pub(crate) fn vlan_config() -> Value {
    json!([])
}
pub(crate) fn sriov() -> Value {
    json!([])
}
pub(crate) fn ib_sriov() -> Value {
    json!([])
}
pub(crate) fn ipoib() -> Value {
    json!([])
}
pub(crate) fn ovs() -> Value {
    json!([])
}
