//! What a `NetworkAttachmentDefinition` says about the addresses of its NICs.

use model::select::{CniDefaults, PoolNames};
use serde_json::Value;

/// The `type` of Spiderpool's IPAM plugin.
const OURS: &str = "spiderpool";

/// What stands behind a NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ipam {
    /// Spiderpool gives the addresses.
    Ours {
        /// The default pools, and whether the NIC brings no default route.
        defaults: CniDefaults,
        /// Whether only pools of the master's subnet will do: what the master has is known on the node only.
        matches_master: bool,
    },
    /// Something else gives them, or nobody: its name.
    Other(String),
    /// It cannot be known from here: why.
    Unknown(String),
}

/// Reads `spec.config`.
pub(super) fn ipam(config: Option<&str>) -> Ipam {
    let Some(text) = config.filter(|text| !text.trim().is_empty()) else {
        return Ipam::Unknown("its configuration is a file on the node".to_owned());
    };
    let config: Value = match serde_json::from_str(text) {
        Ok(config) => config,
        Err(error) => return Ipam::Unknown(format!("its spec.config is no JSON: {error}")),
    };
    let single = std::slice::from_ref(&config);
    let plugins = config["plugins"].as_array().map_or(single, Vec::as_slice);
    let types: Vec<&Value> =
        plugins.iter().map(|plugin| &plugin["ipam"]).filter(|ipam| ipam.is_object()).collect();
    let Some(ours) = types.iter().find(|ipam| ipam["type"] == OURS) else {
        let other = types.first().and_then(|ipam| ipam["type"].as_str()).unwrap_or("none");
        return Ipam::Other(other.to_owned());
    };
    let names = |key: &str| {
        let items = ours[key].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Ipam::Ours {
        defaults: CniDefaults {
            names: PoolNames { v4: names("default_ipv4_ippool"), v6: names("default_ipv6_ippool") },
            clean_gateway: ours["clean_gateway"] == true,
        },
        matches_master: ours["match_master_subnet"] == true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ipam_part_is_found_in_lists_and_alone() {
        let part = r#""ipam": {"type": "spiderpool", "default_ipv4_ippool": ["a"], "clean_gateway": true}"#;
        let defaults =
            CniDefaults { names: PoolNames { v4: vec!["a".into()], v6: vec![] }, clean_gateway: true };
        let ours = Ipam::Ours { defaults, matches_master: false };
        assert_eq!(ipam(Some(&format!("{{\"type\": \"ipvlan\", {part}}}"))), ours);
        let list = format!("{{\"plugins\": [{{\"type\": \"ifacer\"}}, {{\"type\": \"ipvlan\", {part}}}]}}");
        assert_eq!(ipam(Some(&list)), ours);
    }

    #[test]
    fn what_is_not_spiderpools_is_said() {
        assert_eq!(ipam(Some(r#"{"ipam": {"type": "host-local"}}"#)), Ipam::Other("host-local".into()));
        assert_eq!(ipam(Some(r#"{"type": "macvlan"}"#)), Ipam::Other("none".into()));
        for config in [None, Some(""), Some("{")] {
            assert!(matches!(ipam(config), Ipam::Unknown(_)), "{config:?}");
        }
    }
}
