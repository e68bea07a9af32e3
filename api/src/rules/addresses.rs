//! Rules on ranges, subnets, gateways, routes and the names in a pool.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{on_change, rule, rule_at};

/// The most items of a list of ranges; what the API server's cost limit affords for the rules over them.
const MAX_RANGES: u64 = 4096;
/// Two IPv6 addresses written in full and a `-`.
const MAX_RANGE: u64 = 79;
/// The most routes of a pool.
const MAX_ROUTES: u64 = 512;

/// CEL: the number of the IPv4 address whose parts are `p[from..]`.
fn number(parts: &str, from: usize) -> String {
    let part = |at: usize| format!("int({parts}[{}])", from + at);
    format!("(({}*256+{})*256+{})*256+{}", part(0), part(1), part(2), part(3))
}

/// A list of ranges, checked item by item; duplicates are refused by the set.
///
/// A set and not an atomic list because only so are duplicates refused at this length. The price: with server-side
/// apply, an item that another manager added stays; whoever owns the list replaces the object instead.
pub(crate) fn ranges(_: &mut SchemaGenerator) -> Schema {
    let order = format!(
        "r.contains(':') || !r.split('-', 2).all(a, isIP(a)) || \
         [r.replace('-', '.').split('.', 8)].all(p, size(p) != 8 || {} <= {})",
        number("p", 0),
        number("p", 4)
    );
    json_schema!({
        "type": "array",
        "maxItems": MAX_RANGES,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "maxLength": MAX_RANGE},
        "x-kubernetes-validations": [
            every("r.split('-', 2).all(a, isIP(a))", "is no IP address and no range first-last such as 192.0.2.10-192.0.2.19"),
            every("!r.contains(':') || r.split('-', 2).all(a, a.contains(':'))", "mixes IPv4 and IPv6 in one range"),
            every(&order, "ends before it begins: write the lower address first"),
        ]
    })
}

/// A rule that every item `r` of the list keeps; the message quotes the first that does not.
fn every(rule: &str, reason: &str) -> Value {
    json!({
        "rule": on_change(&format!("self.all(r, {rule})")),
        "message": format!("an item {reason}"),
        "messageExpression": format!("'\"' + self.filter(r, !({rule}))[0] + '\" {reason}'"),
        "optionalOldSelf": true,
    })
}

/// The subnet of a pool or a `SpiderSubnet`.
pub(crate) fn subnet(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 49,
        "x-kubernetes-validations": [
            rule("isCIDR(self)", "subnet is no CIDR such as 192.0.2.0/24 or 2001:db8::/64"),
            // `in` and not `==`: the API server of 1.31 takes comparing two addresses for unbounded work, and refuses the CRD.
            rule(
                "!isCIDR(self) || cidr(self).ip() in [cidr(self).masked().ip()]",
                "subnet has bits set behind its prefix length: write the network address"
            ),
            rule("self == oldSelf", "subnet is immutable: make a new object"),
        ]
    })
}

/// The family of a pool, a `SpiderSubnet` or a `SpiderReservedIP`.
pub(crate) fn ip_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "format": "int64",
        "enum": [4, 6],
        "x-kubernetes-validations": [rule("self == oldSelf", "ipVersion is immutable: make a new object")]
    })
}

/// The gateway of a pool or a `SpiderSubnet`.
pub(crate) fn gateway(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 45,
        "x-kubernetes-validations": [rule("isIP(self)", "gateway is no IP address")]
    })
}

/// The routes of a pool or a `SpiderSubnet`.
pub(crate) fn routes(generator: &mut SchemaGenerator) -> Schema {
    let mut item = generator.subschema_for::<crate::Route>();
    item.insert(
        "x-kubernetes-validations".to_owned(),
        json!([
            rule_at(".dst", "isCIDR(self.dst)", "dst is no CIDR such as 198.51.100.0/24"),
            rule_at(".gw", "isIP(self.gw)", "gw is no IP address"),
            rule_at(
                ".dst",
                "!isCIDR(self.dst) || cidr(self.dst).prefixLength() > 0",
                "dst is the default route, which belongs into gateway"
            ),
            rule_at(
                ".gw",
                "!isCIDR(self.dst) || !isIP(self.gw) || cidr(self.dst).ip().family() == ip(self.gw).family()",
                "gw is of another family than dst"
            ),
        ]),
    );
    json_schema!({
        "type": "array",
        "maxItems": MAX_ROUTES,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["dst"],
        "items": item
    })
}

/// The rules over a pool's or `SpiderSubnet`'s fields together.
pub(crate) fn address_spec() -> Value {
    let inside = |field: &str| {
        json!({
            "rule": on_change(&format!(
                "!has(self.{field}) || !isCIDR(self.subnet) || \
                 [cidr(self.subnet)].all(c, self.{field}.all(r, r.split('-', 2).all(a, !isIP(a) || c.containsIP(a))))"
            )),
            "optionalOldSelf": true,
            "message": format!("{field} has an item outside subnet, or of the other family"),
            "messageExpression": format!(
                "'{field} has an item outside subnet ' + self.subnet + ': ' + \
                 self.{field}.filter(r, !r.split('-', 2).all(a, !isIP(a) || cidr(self.subnet).containsIP(a)))[0]"
            ),
            "fieldPath": format!(".{field}"),
        })
    };
    // IPv4 is arithmetic. Of an IPv6 range CEL can only compare the ends; readers look between them.
    let holds_v4 = format!(
        "r.split('-', 2).all(a, isIP(a)) && [r.replace('-', '.').split('.', 8)].exists(p, \
         size(p) == 8 ? {} <= n && n <= {} : size(p) == 4 && {} == n)",
        number("p", 0),
        number("p", 4),
        number("p", 0)
    );
    let n = format!("[self.gateway.split('.', 4)].map(g, size(g) == 4 ? {} : -1)", number("g", 0));
    let holds_v6 = "r.split('-', 2).exists(a, isIP(a) && ip(a) == n)";
    let gateway_is_free = |other_family: &str, numbers: &str, holds: &str| {
        let mut rule = rule_at(
            ".gateway",
            on_change(&format!(
                "!has(self.gateway) || !isIP(self.gateway) || {other_family} || !has(self.ips) || {numbers}.all(n, \
                 !self.ips.exists(r, {holds}) || (has(self.excludeIPs) && self.excludeIPs.exists(r, {holds})))"
            )),
            "gateway is among ips: a pod would get the gateway's address; exclude it",
        );
        rule["optionalOldSelf"] = true.into();
        rule
    };
    json!([
        rule_at(
            ".ipVersion",
            "!has(self.ipVersion) || !isCIDR(self.subnet) || cidr(self.subnet).ip().family() == self.ipVersion",
            "ipVersion is not the family of subnet"
        ),
        inside("ips"),
        inside("excludeIPs"),
        rule_at(
            ".gateway",
            "!has(self.gateway) || !isIP(self.gateway) || !isCIDR(self.subnet) || ip(self.gateway).family() == cidr(self.subnet).ip().family()",
            "gateway is of another family than subnet"
        ),
        rule_at(
            ".gateway",
            "!has(self.gateway) || !isIP(self.gateway) || !isCIDR(self.subnet) || ip(self.gateway).family() != cidr(self.subnet).ip().family() || cidr(self.subnet).containsIP(self.gateway)",
            "gateway is outside subnet"
        ),
        gateway_is_free("self.gateway.contains(':')", &n, &holds_v4),
        gateway_is_free("!self.gateway.contains(':')", "[ip(self.gateway)]", holds_v6),
        rule_at(
            ".routes",
            "!has(self.routes) || !isCIDR(self.subnet) || self.routes.all(r, !isIP(r.gw) || cidr(self.subnet).containsIP(r.gw))",
            "routes has a gw outside subnet"
        ),
    ])
}

/// The rules over a `SpiderReservedIP`'s fields together.
pub(crate) fn reserved_spec() -> Value {
    json!([
        rule_at(
            ".ips",
            "!has(self.ips) || !has(self.ipVersion) || self.ips.all(r, r.contains(':') == (self.ipVersion == 6))",
            "ips has an item that is not of the family ipVersion"
        ),
        rule_at(
            ".ips",
            "!has(self.ips) || has(self.ipVersion) || self.ips.all(r, r.contains(':') == self.ips[0].contains(':'))",
            "ips mixes IPv4 and IPv6: make one object a family"
        ),
    ])
}

/// Names of namespaces.
pub(crate) fn names(_: &mut SchemaGenerator) -> Schema {
    list_of_names(8192, "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", 63, "is no name of a namespace")
}

/// Names of nodes.
pub(crate) fn node_names(_: &mut SchemaGenerator) -> Schema {
    list_of_names(8192, "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", 253, "is no name of a node")
}

/// Names of `NetworkAttachmentDefinitions`.
pub(crate) fn multus_names(_: &mut SchemaGenerator) -> Schema {
    list_of_names(
        1024,
        "^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        317,
        "is no namespace/name or name of a NetworkAttachmentDefinition",
    )
}

fn list_of_names(most: u64, pattern: &str, longest: u64, message: &str) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": most,
        "items": {
            "type": "string",
            "maxLength": longest,
            "x-kubernetes-validations": [rule(format!("self.matches('{pattern}')"), message)]
        }
    })
}

/// An endpoint's IPv4 address; the empty text is none.
pub(crate) fn ipv4_cidr(_: &mut SchemaGenerator) -> Schema {
    family_cidr(
        "self == '' || (isCIDR(self) && cidr(self).ip().family() == 4)",
        "ipv4 is no IPv4 address in CIDR form",
    )
}

/// An endpoint's IPv6 address; the empty text is none.
pub(crate) fn ipv6_cidr(_: &mut SchemaGenerator) -> Schema {
    family_cidr(
        "self == '' || (isCIDR(self) && cidr(self).ip().family() == 6)",
        "ipv6 is no IPv6 address in CIDR form",
    )
}

fn family_cidr(check: &str, message: &str) -> Schema {
    json_schema!({"type": "string", "maxLength": 49, "x-kubernetes-validations": [rule(check, message)]})
}
