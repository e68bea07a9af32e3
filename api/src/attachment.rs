//! `NetworkAttachmentDefinition`: what Multus reads, and how one is made of a `SpiderMultusConfig`.

mod error;
mod plugins;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{CustomResource, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use error::AttachmentError;
use plugins::Nics;

use crate::optional_spec::optional_spec;
use crate::{CniType, SpiderMultusConfig, labels};

/// A network that pods can ask for by name, as the Network Plumbing Working Group specifies it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "k8s.cni.cncf.io",
    version = "v1",
    kind = "NetworkAttachmentDefinition",
    plural = "network-attachment-definitions",
    singular = "network-attachment-definition",
    shortname = "net-attach-def",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    doc = "NetworkAttachmentDefinition is a network that pods can ask for by name."
)]
#[serde(remote = "Self")]
pub struct NetworkAttachmentDefinitionSpec {
    /// The CNI configuration as JSON; without one it is looked for in the node's folder, by the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

optional_spec!(NetworkAttachmentDefinitionSpec);

/// Annotation of the Network Plumbing Working Group: the device plugin's resource that a pod needs for the network.
pub const RESOURCE_NAME: &str = "k8s.v1.cni.cncf.io/resourceName";

/// The `cniVersion` of generated configurations that ask for no other: upstream's.
const CNI_VERSION: &str = "0.3.1";
/// What may be asked for: upstream's four, and 1.1.0, which our plugins speak.
const CNI_VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Annotations that say something of the object that carries them, and nothing of a copy.
const NOT_COPIED: [&str; 2] = ["kubectl.kubernetes.io/last-applied-configuration", labels::COPIED];

/// Returns the name of an object's definition: upstream's annotation says it, or it is the object's own.
///
/// # Errors
/// When the annotation is no name.
pub fn definition_name(config: &SpiderMultusConfig) -> Result<String, AttachmentError> {
    let Some(name) = config.annotations().get(labels::MULTUS_CR_NAME) else {
        return Ok(config.name_any());
    };
    if is_subdomain(name) {
        return Ok(name.clone());
    }
    Err(AttachmentError::Annotation {
        key: labels::MULTUS_CR_NAME,
        value: name.clone(),
        wants: "the name of a NetworkAttachmentDefinition: lower-case letters, digits, '-' and '.'"
            .to_owned(),
    })
}

/// Returns the definition of an object, owned by it: the same for the same object, to the letter.
///
/// # Errors
/// What is wrong in the object, and what to do.
pub fn definition(config: &SpiderMultusConfig) -> Result<NetworkAttachmentDefinition, AttachmentError> {
    let name = definition_name(config)?;
    let (text, resource) = match config.spec.cni_type.unwrap_or(CniType::Custom) {
        CniType::Custom => (plugins::custom(&config.spec)?, None),
        kind => {
            let chain = plugins::chain(&config.spec, kind, nics(config))?;
            let list = plugins::List {
                name: list_name(config, &name)?,
                cni_version: cni_version(config)?,
                plugins: chain.plugins,
            };
            (Some(list.to_text()?), chain.resource)
        }
    };
    let copied = config.annotations().iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
    let mut annotations: BTreeMap<String, String> =
        copied.map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Some(resource) = resource {
        annotations.insert(RESOURCE_NAME.to_owned(), resource);
    }
    if !annotations.is_empty() {
        let keys: Vec<&str> = annotations.keys().map(String::as_str).collect();
        annotations.insert(labels::COPIED.to_owned(), keys.join(","));
    }
    Ok(NetworkAttachmentDefinition {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: config.namespace(),
            labels: Some(BTreeMap::from([(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())])),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![owner(config)]),
            ..ObjectMeta::default()
        },
        spec: NetworkAttachmentDefinitionSpec { config: text },
    })
}

/// The controller's own objects stand on NICs of clouds, of which it knows more than that somebody named them.
fn nics(config: &SpiderMultusConfig) -> Nics {
    let generated = config.labels().get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGER);
    if generated { Nics::TheIfacers } else { Nics::TheNodes }
}

/// Returns the reference by which a definition goes with its object.
///
/// It does not block the owner's deletion: that would need the right to set finalizers on it.
#[must_use]
pub fn owner(config: &SpiderMultusConfig) -> OwnerReference {
    OwnerReference {
        api_version: SpiderMultusConfig::api_version(&()).into_owned(),
        kind: SpiderMultusConfig::kind(&()).into_owned(),
        name: config.name_any(),
        uid: config.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// Returns whether a definition says all that we want of it; people and other controllers may add annotations, labels
/// and owners, and write the same JSON in another way.
#[must_use]
pub fn says(there: &NetworkAttachmentDefinition, wanted: &NetworkAttachmentDefinition) -> bool {
    let has = |have: &BTreeMap<String, String>, want: &BTreeMap<String, String>| {
        want.iter().all(|(key, value)| have.get(key) == Some(value))
    };
    has(there.labels(), wanted.labels())
        && has(there.annotations(), wanted.annotations())
        && stale_annotations(there, wanted).next().is_none()
        && wanted.owner_references().iter().all(|owner| there.owner_references().contains(owner))
        && same_json(there.spec.config.as_deref(), wanted.spec.config.as_deref())
}

/// Returns the annotations that an earlier version of the object led to and that it no longer asks for.
pub fn stale_annotations<'a>(
    there: &'a NetworkAttachmentDefinition,
    wanted: &'a NetworkAttachmentDefinition,
) -> impl Iterator<Item = &'a str> {
    let copied = there.annotations().get(labels::COPIED).map_or("", String::as_str).split(',');
    // The record itself is one of them when nothing is copied any more.
    copied
        .chain([labels::COPIED])
        .filter(|key| there.annotations().contains_key(*key) && !wanted.annotations().contains_key(*key))
}

fn same_json(one: Option<&str>, other: Option<&str>) -> bool {
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    let read = |text| serde_json::from_str::<Value>(text).ok();
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}

/// The name of the network in the configuration; the runtime keeps its state under it.
fn list_name<'a>(config: &'a SpiderMultusConfig, name: &'a str) -> Result<&'a str, AttachmentError> {
    let Some(list) = config.annotations().get(labels::CNI_CONFIG_NAME) else { return Ok(name) };
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if list.starts_with(|c: char| c.is_ascii_alphanumeric()) && list.chars().all(inner) {
        return Ok(list);
    }
    Err(AttachmentError::Annotation {
        key: labels::CNI_CONFIG_NAME,
        value: list.clone(),
        wants: "the name of a CNI network: a letter or digit, then also '_', '.' and '-'".to_owned(),
    })
}

fn cni_version(config: &SpiderMultusConfig) -> Result<&str, AttachmentError> {
    let Some(version) = config.annotations().get(labels::MULTUS_CNI_VERSION) else { return Ok(CNI_VERSION) };
    if CNI_VERSIONS.contains(&version.as_str()) {
        return Ok(version);
    }
    Err(AttachmentError::Annotation {
        key: labels::MULTUS_CNI_VERSION,
        value: version.clone(),
        wants: format!("one of {}", CNI_VERSIONS.join(", ")),
    })
}

/// Whether a text is a DNS-1123 subdomain, which every object's name is.
fn is_subdomain(text: &str) -> bool {
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        label.starts_with(outer) && label.ends_with(outer) && label.chars().all(|c| outer(c) || c == '-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests;
