//! The configuration file: upstream's `conf.yml`, with all its keys.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// Upstream's keys that say something to its controller only, or to parts of its agent that are none of ours. They are
/// no mistake in a file that both read.
const ELSEWHERE: [&str; 7] = [
    "enableCleanOutdatedEndpoint",
    "enableValidatingResourcesDeletedWebhook",
    "clusterSubnetDefaultFlexibleIPNumber",
    "clusterSubnetAutoPoolDefaultRedundantIPNumber",
    "tuneSysctlConfig",
    "podResourceInject",
    "agent",
];

/// What the file says. A key that it does not have is as in upstream's chart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "upstream's switches, turned into enums by whoever reads the file"
)]
pub struct File {
    /// The socket that plugins talk to.
    pub ipam_unix_socket_path: Option<PathBuf>,
    /// IPv4.
    #[serde(rename = "enableIPv4")]
    pub enable_ipv4: bool,
    /// IPv6.
    #[serde(rename = "enableIPv6")]
    pub enable_ipv6: bool,
    /// Fixed addresses of a `StatefulSet`'s pods.
    pub enable_stateful_set: bool,
    /// Fixed addresses of `KubeVirt`'s machines.
    #[serde(rename = "enableKubevirtStaticIP")]
    pub enable_kubevirt_static_ip: bool,
    /// Probing for somebody else who answers for an address.
    #[serde(rename = "enableIPConflictDetection")]
    pub enable_ip_conflict_detection: bool,
    /// Probing for the gateway.
    pub enable_gateway_detection: bool,
    /// `SpiderSubnet`.
    pub enable_spider_subnet: bool,
    /// Automatic pools out of `SpiderSubnet`.
    pub enable_auto_pool_for_application: bool,
    /// Ours: for how many seconds a freed address rests.
    pub address_rest_seconds: Option<u64>,
    /// Upstream's provider of addresses by HTTP; not served.
    pub iaas_network_provider: Option<IaasNetworkProvider>,
}

/// Upstream's provider of addresses by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IaasNetworkProvider {
    /// Where it is; empty: there is none.
    pub server_url: String,
}

impl Default for File {
    /// As upstream's chart writes it, except that nothing is a subnet's: that is switched on by whoever uses it.
    fn default() -> Self {
        Self {
            ipam_unix_socket_path: None,
            enable_ipv4: true,
            enable_ipv6: true,
            enable_stateful_set: true,
            enable_kubevirt_static_ip: true,
            enable_ip_conflict_detection: false,
            enable_gateway_detection: false,
            enable_spider_subnet: false,
            enable_auto_pool_for_application: false,
            address_rest_seconds: None,
            iaas_network_provider: None,
        }
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none, and the command line names it.
    #[error("there is no configuration file {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no YAML, or a value is not of its type.
    #[error("the configuration file {} is wrong: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// Neither family is switched on.
    #[error("the configuration file {} switches off both families: set enableIPv4 or enableIPv6 to true", path.display())]
    NoFamily {
        /// The file.
        path: PathBuf,
    },
}

/// A file, and what in it says nothing to anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// What it says.
    pub file: File,
    /// Its keys that no version of Spiderpool knows: mistyped, or newer than we are.
    pub unknown: Vec<String>,
}

impl File {
    /// Reads the file; `None` when it does not exist.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read(path: &Path) -> Result<Option<Read>, FileError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FileError::Unreadable { path: path.to_owned(), source }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Read, FileError> {
        let wrong = |error: serde_saphyr::Error| FileError::Wrong {
            path: path.to_owned(),
            message: error.without_snippet().to_string(),
        };
        // Upstream's chart may render a file with nothing but comments.
        let file: Option<Self> = serde_saphyr::from_str(text).map_err(wrong)?;
        let keys: Option<Value> = serde_saphyr::from_str(text).map_err(wrong)?;
        let file = file.unwrap_or_default();
        if !file.enable_ipv4 && !file.enable_ipv6 {
            return Err(FileError::NoFamily { path: path.to_owned() });
        }
        let keys = keys.as_ref().and_then(Value::as_object).into_iter().flat_map(|keys| keys.keys());
        Ok(Read { file, unknown: keys.filter(|key| !is_known(key)).cloned().collect() })
    }
}

fn is_known(key: &str) -> bool {
    ELSEWHERE.contains(&key)
        || matches!(
            key,
            "ipamUnixSocketPath"
                | "enableIPv4"
                | "enableIPv6"
                | "enableStatefulSet"
                | "enableKubevirtStaticIP"
                | "enableIPConflictDetection"
                | "enableGatewayDetection"
                | "enableSpiderSubnet"
                | "enableAutoPoolForApplication"
                | "addressRestSeconds"
                | "iaasNetworkProvider"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As upstream's chart renders it.
    const CHART: &str = "ipamUnixSocketPath: /var/run/spidernet/spiderpool.sock
enableIPv4: true
enableIPv6: false
enableStatefulSet: true
enableKubevirtStaticIP: true
enableCleanOutdatedEndpoint: false
enableSpiderSubnet: true
enableAutoPoolForApplication: false
enableIPConflictDetection: true
enableGatewayDetection: false
enableValidatingResourcesDeletedWebhook: false
clusterSubnetDefaultFlexibleIPNumber: 1
tuneSysctlConfig: true
podResourceInject:
  enabled: false
  namespacesExclude: [kube-system]
  namespacesInclude: []
agent:
  networkResourcePlugin: {enabled: false}
iaasNetworkProvider:
  serverUrl: \"\"
  httpRequestTimeout: 30
";

    fn parse(text: &str) -> Result<Read, FileError> {
        File::parse(text, Path::new("conf.yml"))
    }

    #[test]
    fn the_file_of_upstreams_chart_is_understood() {
        let Read { file, unknown } = parse(CHART).unwrap();
        assert!(file.enable_ipv4 && !file.enable_ipv6 && file.enable_ip_conflict_detection);
        assert!(file.enable_spider_subnet && !file.enable_auto_pool_for_application);
        assert_eq!(unknown, [] as [&str; 0]);
    }

    #[test]
    fn every_key_that_is_read_is_a_known_one() {
        let keys = serde_json::json!({"addressRestSeconds": 3, "enableIPv4": true});
        let Read { file, unknown } = parse(&keys.to_string()).unwrap();
        assert_eq!((file.address_rest_seconds, unknown.len()), (Some(3), 0));
    }

    #[test]
    fn a_key_that_nobody_knows_is_told() {
        assert_eq!(parse("enableIPV4: false\n").unwrap().unknown, ["enableIPV4"]);
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for text in ["", "# nothing\n", "{}"] {
            assert_eq!(parse(text).unwrap().file, File::default(), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_file_says_where() {
        let message = parse("enableIPv4: maybe\n").unwrap_err().to_string();
        assert!(message.contains("conf.yml") && message.contains("line 1"), "{message}");
        for text in ["- a\n", "enableIPv4: [\n", "enableIPv4: true\nenableIPv4: false\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_file_that_switches_off_both_families_is_refused() {
        assert!(matches!(parse("{enableIPv4: false, enableIPv6: false}"), Err(FileError::NoFamily { .. })));
    }
}
