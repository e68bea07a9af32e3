//! The `CustomResourceDefinitions` of every kind, as they are committed and installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceSubresources, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

use crate::rules;
use crate::{
    NetworkAttachmentDefinition, SpiderCoordinator, SpiderEndpoint, SpiderIPPool, SpiderMultusConfig,
    SpiderNode, SpiderReservedIP, SpiderSubnet,
};

/// The first line of every file.
const GENERATED: &str =
    "# Generated from the types in api/ by `cargo run -p api --bin crdgen`. Do not edit.\n";

/// Returns the definitions of the six upstream kinds, of `SpiderNode`, and of Multus' `NetworkAttachmentDefinition`.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut endpoint = SpiderEndpoint::crd();
    for version in &mut endpoint.spec.versions {
        // Upstream writes an endpoint's status with the object, in one request.
        version.subresources = Some(CustomResourceSubresources::default());
    }
    [
        with_root_rules(SpiderIPPool::crd(), &rules::spec_stays()),
        with_root_rules(SpiderSubnet::crd(), &rules::spec_stays()),
        endpoint,
        with_root_rules(SpiderReservedIP::crd(), &rules::spec_stays()),
        with_root_rules(SpiderCoordinator::crd(), &rules::coordinator_root()),
        SpiderMultusConfig::crd(),
        SpiderNode::crd(),
        NetworkAttachmentDefinition::crd(),
    ]
    .into_iter()
    .map(upstream_shape)
    .collect()
}

/// Returns the files of the chart's `crds` folder: name and text, one a kind, named `<group>_<plural>.yaml` as upstream's.
///
/// # Errors
/// When a definition cannot be written as YAML.
pub fn crd_files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    crds()
        .iter()
        .map(|crd| {
            let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
            Ok((name, format!("{GENERATED}{}", serde_saphyr::to_string(crd)?)))
        })
        .collect()
}

/// Takes away what kube's generator adds and upstream's schemas do not have.
fn upstream_shape(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.spec.names.list_kind = Some(format!("{}List", crd.spec.names.kind));
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        // kube makes `spec` required; upstream requires nothing at the root.
        schema.required = None;
        tidy(schema);
    }
    crd
}

/// Puts rules at the root, where kube's derive lets only schemas of its own macro have some.
fn with_root_rules(mut crd: CustomResourceDefinition, rules: &Value) -> CustomResourceDefinition {
    for schema in root_schemas(&mut crd) {
        schema.x_kubernetes_validations = serde_json::from_value(rules.clone()).ok();
    }
    crd
}

fn root_schemas(crd: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut())
}

/// Makes optional fields plain instead of nullable, and drops the integer formats that Kubernetes does not know.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.title = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|JSON(value)| !value.is_null());
    }
    if schema.x_kubernetes_validations.as_ref().is_some_and(Vec::is_empty) {
        schema.x_kubernetes_validations = None;
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        tidy(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_files_are_what_the_types_say() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/spiderpool/crds");
        for (name, text) in crd_files().unwrap() {
            let committed = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
            assert!(
                committed == text,
                "{name} is stale: run `cargo run -p api --bin crdgen` and commit the result"
            );
        }
    }

    #[test]
    fn only_kinds_with_a_status_of_their_own_have_the_subresource() {
        let with_status: Vec<String> = crds()
            .into_iter()
            .filter(|crd| {
                let subresources = crd.spec.versions.iter().find_map(|version| version.subresources.as_ref());
                subresources.is_some_and(|subresources| subresources.status.is_some())
            })
            .map(|crd| crd.spec.names.kind)
            .collect();
        assert_eq!(
            with_status,
            ["SpiderIPPool", "SpiderSubnet", "SpiderCoordinator", "SpiderMultusConfig", "SpiderNode"]
        );
    }

    #[test]
    fn nothing_is_required_at_the_root() {
        for crd in &mut crds() {
            assert!(root_schemas(crd).all(|schema| schema.required.is_none()));
        }
    }
}
