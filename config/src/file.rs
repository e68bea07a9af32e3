//! The shape of the file: every key that any provider type has, as text.

use providers_static::Nodes;
use serde::Deserialize;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) resync: Option<String>,
    pub(crate) join_window: Option<String>,
    pub(crate) node_selector: Option<String>,
    pub(crate) removal: Option<Removal>,
    pub(crate) providers: Vec<Provider>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Removal {
    pub(crate) max_share: Option<String>,
}

/// One provider. A single struct instead of an enum tagged by `type`: serde would buffer such an enum's content, and
/// errors in it would lose their line. Which keys belong to which type is checked afterwards.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) multus_name: Option<String>,
    pub(crate) default: Option<bool>,
    pub(crate) enable_coordinator: Option<bool>,
    pub(crate) interface_name: Option<String>,
    pub(crate) region: Option<String>,
    #[serde(rename = "vpcID")]
    pub(crate) vpc_id: Option<String>,
    pub(crate) endpoints: Option<Endpoints>,
    pub(crate) unmanaged_tag: Option<Tag>,
    pub(crate) nodes: Option<Nodes>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(not(feature = "aliyun"), expect(dead_code, reason = "read by that cloud only"))]
pub(crate) struct Endpoints {
    pub(crate) ecs: Option<String>,
    pub(crate) vpc: Option<String>,
    pub(crate) sts: Option<String>,
    pub(crate) metadata: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(not(feature = "aliyun"), expect(dead_code, reason = "read by that cloud only"))]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl Provider {
    /// The keys that every type has.
    pub(crate) const COMMON: [&str; 5] = ["name", "type", "multusName", "default", "enableCoordinator"];

    /// Returns the keys that are given and that not every type has.
    pub(crate) fn special_keys(&self) -> Vec<&'static str> {
        // No `..`: a key that is added above and forgotten here does not compile.
        let Self {
            name: _,
            kind: _,
            multus_name: _,
            default: _,
            enable_coordinator: _,
            interface_name,
            region,
            vpc_id,
            endpoints,
            unmanaged_tag,
            nodes,
        } = self;
        let given = [
            ("interfaceName", interface_name.is_some()),
            ("region", region.is_some()),
            ("vpcID", vpc_id.is_some()),
            ("endpoints", endpoints.is_some()),
            ("unmanagedTag", unmanaged_tag.is_some()),
            ("nodes", nodes.is_some()),
        ];
        given.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect()
    }
}
