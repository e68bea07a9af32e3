//! Rules on the coordinator's settings.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{rule, rule_at};

/// The rules of a `SpiderCoordinator`; the same settings inside a `SpiderMultusConfig` may leave the type out.
pub(crate) fn coordinator_root() -> Value {
    json!([rule_at(
        ".spec",
        "!has(self.spec) || has(self.spec.podCIDRType)",
        "podCIDRType is required in a SpiderCoordinator: auto, cluster, calico, cilium or none"
    )])
}

/// Addresses or CIDRs.
pub(crate) fn destinations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 1024,
        "items": {
            "type": "string",
            "maxLength": 49,
            "x-kubernetes-validations": [rule("isIP(self) || isCIDR(self)", "hijackCIDR has an item that is no IP address and no CIDR")]
        }
    })
}

/// `serviceCIDR`.
pub(crate) fn service_cidrs(_: &mut SchemaGenerator) -> Schema {
    cidrs("serviceCIDR")
}

/// `overlayPodCIDR`.
pub(crate) fn overlay_cidrs(_: &mut SchemaGenerator) -> Schema {
    cidrs("overlayPodCIDR")
}

/// CIDRs, each but the one that holds everything: a route to it would be the pod's default route.
fn cidrs(field: &str) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 256,
        "items": {
            "type": "string",
            "maxLength": 49,
            "x-kubernetes-validations": [
                rule("isCIDR(self)", &format!("{field} has an item that is no CIDR")),
                rule("!self.endsWith('/0')", &format!("{field} has an item that holds every address"))
            ]
        }
    })
}

/// Routes whose destination may be an address too, and the default route.
pub(crate) fn policy_routes(generator: &mut SchemaGenerator) -> Schema {
    let mut item = generator.subschema_for::<crate::Route>();
    item.insert(
        "x-kubernetes-validations".to_owned(),
        json!([
            rule_at(".dst", "isIP(self.dst) || isCIDR(self.dst)", "dst is no IP address and no CIDR"),
            rule_at(".gw", "isIP(self.gw)", "gw is no IP address"),
            rule_at(
                ".gw",
                "!isIP(self.gw) || !(isIP(self.dst) || isCIDR(self.dst)) || self.gw.contains(':') == self.dst.contains(':')",
                "gw is of another family than dst"
            ),
        ]),
    );
    json_schema!({"type": "array", "maxItems": 512, "items": item})
}

/// The first two bytes of a MAC address; the empty text leaves them alone.
pub(crate) fn mac_prefix(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 17,
        "x-kubernetes-validations": [
            rule("self == '' || self.matches('^[0-9a-fA-F]{2}:[0-9a-fA-F]{2}$')", "podMACPrefix is not two bytes such as 0a:1b"),
            rule(
                "!self.matches('^[0-9a-fA-F]{2}:[0-9a-fA-F]{2}$') || self.matches('^[0-9a-fA-F][02468aceACE]:')",
                "podMACPrefix is multicast: the lowest bit of its first byte must be 0"
            ),
        ]
    })
}

/// An IPv4 address; the empty text is none.
pub(crate) fn ipv4_or_empty(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 45,
        "x-kubernetes-validations": [
            rule("self == '' || (isIP(self) && ip(self).family() == 4)", "vethLinkAddress is no IPv4 address")
        ]
    })
}
