//! Rules on the blocks of a `SpiderMultusConfig`.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{rule, rule_at};

/// The enum value of each `cniType` with the name of its block.
const BLOCKS: [(&str, &str); 7] = [
    ("macvlan", "macvlan"),
    ("ipvlan", "ipvlan"),
    ("vlan", "vlan"),
    ("sriov", "sriov"),
    ("ib-sriov", "ibsriov"),
    ("ipoib", "ipoib"),
    ("ovs", "ovs"),
];

/// Exactly the block of the `cniType` and no other.
pub(crate) fn networks_spec() -> Value {
    let mut rules = Vec::new();
    for (kind, block) in BLOCKS {
        rules.push(rule_at(
            &format!(".{block}"),
            format!("!(has(self.cniType) && self.cniType == '{kind}') || has(self.{block})"),
            &format!("{block} is required with cniType {kind}"),
        ));
        rules.push(rule_at(
            &format!(".{block}"),
            format!("!has(self.{block}) || (has(self.cniType) && self.cniType == '{kind}')"),
            &format!("{block} is only allowed with cniType {kind}"),
        ));
    }
    rules.push(rule_at(
        ".customCNI",
        "!has(self.customCNI) || !has(self.cniType) || self.cniType == 'custom' || self.customCNI == ''",
        "customCNI is only allowed with cniType custom",
    ));
    Value::Array(rules)
}

/// What the blocks with masters share.
fn master_rules() -> Vec<Value> {
    vec![
        rule_at(
            ".bond",
            "size(self.master) < 2 || has(self.bond)",
            "bond is required with two or more interfaces in master",
        ),
        no_master_subnet(),
    ]
}

/// The rules of `macvlan` and `ipvlan`.
pub(crate) fn masters_config() -> Value {
    Value::Array(master_rules())
}

/// The rules of `vlan`.
pub(crate) fn vlan_config() -> Value {
    let mut rules = master_rules();
    rules.push(rule_at(
        ".vlanID",
        "(has(self.vlanMode) && self.vlanMode == 'auto') || has(self.vlanID)",
        "vlanID is required with vlanMode manual",
    ));
    rules.push(rule_at(
        ".vlanID",
        "!(has(self.vlanMode) && self.vlanMode == 'auto') || !has(self.vlanID)",
        "vlanID must be left out with vlanMode auto: it comes with the address",
    ));
    Value::Array(rules)
}

/// The rules of `sriov`.
pub(crate) fn sriov() -> Value {
    json!([
        resource_name("sriov"),
        rule_at(
            ".minTxRateMbps",
            "!has(self.minTxRateMbps) || !has(self.maxTxRateMbps) || self.minTxRateMbps <= self.maxTxRateMbps",
            "minTxRateMbps is above maxTxRateMbps"
        ),
    ])
}

/// The rules of `ib-sriov`.
pub(crate) fn ib_sriov() -> Value {
    json!([resource_name("ib-sriov"), no_master_subnet()])
}

/// The rules of `ipoib`.
pub(crate) fn ipoib() -> Value {
    json!([
        rule_at(".master", "has(self.master) && self.master != ''", "master is required with cniType ipoib"),
        no_master_subnet(),
    ])
}

/// The rules of `ovs`.
pub(crate) fn ovs() -> Value {
    json!([rule_at(".bridge", "self.bridge != ''", "bridge is empty"), no_master_subnet()])
}

fn resource_name(kind: &str) -> Value {
    rule_at(
        ".resourceName",
        "has(self.resourceName) && self.resourceName != ''",
        &format!("resourceName is required with cniType {kind}"),
    )
}

fn no_master_subnet() -> Value {
    rule_at(
        ".ippools",
        "!has(self.ippools) || !has(self.ippools.matchMasterSubnet) || !self.ippools.matchMasterSubnet",
        "matchMasterSubnet is only allowed with cniType sriov",
    )
}

/// The interfaces below a network.
pub(crate) fn masters(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {
            "type": "string",
            "maxLength": 253,
            "x-kubernetes-validations": [
                rule("self != '' && !self.contains('/') && !self.contains(' ')", "master has an item that is no name of an interface")
            ]
        },
        "x-kubernetes-validations": [rule("size(self) > 0", "master is empty: name the interface of the node")]
    })
}

/// The VLANs of a trunk port.
pub(crate) fn trunks(generator: &mut SchemaGenerator) -> Schema {
    let mut item = generator.subschema_for::<crate::OvsTrunk>();
    item.insert(
        "x-kubernetes-validations".to_owned(),
        json!([rule_at(
            ".minID",
            "!has(self.minID) || !has(self.maxID) || self.minID <= self.maxID",
            "minID is above maxID"
        )]),
    );
    json_schema!({"type": "array", "maxItems": 4096, "items": item})
}

/// The longest JSON text: far more than a CNI configuration, far less than an object may weigh.
const MAX_JSON: u64 = 65_536;

/// One JSON object or nothing. CEL cannot parse JSON, so only its first and last character are looked at.
pub(crate) fn json_object(_: &mut SchemaGenerator) -> Schema {
    json_text("customCNI is no JSON object")
}

/// A list of JSON objects.
pub(crate) fn json_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": json_text("chainCNIJsonData has an item that is no JSON object")
    })
}

fn json_text(message: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": MAX_JSON,
        "x-kubernetes-validations": [
            rule("self.trim() == '' || (self.trim().startsWith('{') && self.trim().endsWith('}'))", message)
        ]
    })
}
