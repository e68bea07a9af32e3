//! The schema of a label selector: upstream's, with the operator as an enum so that a misspelt one is refused.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The schema of a label selector.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    selector(&json!([]))
}

/// The schema of a pool's `podAffinity`, which may not be empty.
pub(crate) fn pod_schema(_: &mut SchemaGenerator) -> Schema {
    selector(&json!([{
        "rule": "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
        "message": "podAffinity is empty: name at least one label, or leave it out to match every pod"
    }]))
}

fn selector(rules: &Value) -> Schema {
    let mut schema = json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
            "matchExpressions": {
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string"},
                        "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                        "values": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "string"}}
                    },
                    "x-kubernetes-validations": [{
                        "rule": "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
                        "message": "values must be given for the operators In and NotIn, and must be left out for Exists and DoesNotExist"
                    }]
                }
            }
        }
    });
    if rules.as_array().is_some_and(|rules| !rules.is_empty()) {
        schema.insert("x-kubernetes-validations".to_owned(), rules.clone());
    }
    schema
}
