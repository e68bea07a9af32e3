//! The one configuration file of controller and CLI, and the clouds that it opens.
//!
//! | key | type | default | meaning |
//! |---|---|---|---|
//! | `resync` | duration, at least `1s` | `60s` | how often the whole of each cloud's scope is listed |
//! | `joinWindow` | duration, at most `60s` | `500ms` | how long a node that joined waits for others, to share one call with them |
//! | `nodeSelector` | `label=value,…` | all nodes | the nodes that are looked at; `label`, `!label` and `label!=value` work too |
//! | `removal.maxShare` | `1%` to `100%` | `25%` | the share of the cluster's pool addresses that one pass may remove without a second confirmation |
//! | `providers` | list | | the clouds; the first that claims a node has it |
//!
//! Of each provider:
//!
//! | key | of type | default | meaning |
//! |---|---|---|---|
//! | `name` | all | | unique in the cluster, recorded on everything it creates; a DNS-1123 label |
//! | `type` | all | | `aliyun` or `static` |
//! | `multusName` | all | `kube-system/ipvlan-{interface}` | the `SpiderMultusConfig` of an interface |
//! | `default` | all | `true` | whether its pools are candidates for pods that ask for no pool |
//! | `enableCoordinator` | all | `true` | whether its `SpiderMultusConfig`s chain the coordinator plugin |
//! | `interfaceName` | aliyun | `eth{index}` | an interface's name until the node's agent reports it; index 0 is the primary NIC |
//! | `region`, `vpcID` | aliyun | from metadata | where the nodes are |
//! | `endpoints.ecs`, `.vpc`, `.sts`, `.metadata` | aliyun | the cloud's own | `http` or `https` URLs |
//! | `unmanagedTag.key`, `.value` | aliyun | `cloud.spidernet.io/unmanaged`, `true` | a NIC with this tag is left alone |
//! | `nodes` | static | | by node name, a list of `{interface, subnet, gateway, ips, mac}` |

mod cloud;
mod error;
mod file;
mod locate;
mod parse;
mod selector;
mod values;

use std::time::Duration;

use model::{Coordinator, InterfaceTemplate, MultusTemplate, Policy, ProviderName, ProviderPolicy};

pub use cloud::{Cloud, Settings};
pub use error::{Error, Mistake};
pub use selector::{NodeSelector, SelectorError};
pub use values::{Share, ShareError};

/// The configuration, checked: every value in it can be used as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How often the whole of each cloud's scope is listed. At least a second.
    pub resync: Duration,
    /// How long a node that joined waits for others before its instance is described.
    pub join_window: Duration,
    /// The nodes that are looked at.
    pub node_selector: NodeSelector,
    /// The share of the cluster's pool addresses that one pass may remove without a second confirmation.
    pub max_removal: Share,
    /// The clouds, in the order in which they are asked for a node. At least one.
    pub providers: Vec<Provider>,
}

/// One provider of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its name: unique in the file, a DNS-1123 label.
    pub name: ProviderName,
    /// What interfaces are called until somebody knows better.
    pub interface: InterfaceTemplate,
    /// Which `SpiderMultusConfig` belongs to an interface.
    pub multus: MultusTemplate,
    /// Whether its pools are candidates for pods that ask for no pool: a pool's `default`.
    pub default: bool,
    /// Whether its `SpiderMultusConfig`s chain the coordinator plugin.
    pub coordinator: Coordinator,
    /// What only its type has.
    pub settings: Settings,
}

impl Config {
    /// Opens the providers, in the order of the file. Makes no call.
    ///
    /// # Errors
    /// The first that cannot be opened: a broken TLS set-up, for example.
    pub fn open(&self) -> Result<Vec<Cloud>, providers::Error> {
        self.providers.iter().map(|provider| Cloud::open(&provider.settings)).collect()
    }

    /// Returns what the plan needs of it.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let Self { resync, join_window: _, node_selector: _, max_removal, providers } = self;
        let policy = |provider: &Provider| {
            let Provider { name, interface, multus, default, coordinator, settings } = provider;
            let policy = ProviderPolicy {
                interface: interface.clone(),
                multus: multus.clone(),
                default: *default,
                coordinator: *coordinator,
                source: settings.source().to_owned(),
            };
            (name.clone(), policy)
        };
        Policy {
            providers: providers.iter().map(policy).collect(),
            resync: *resync,
            max_share: max_removal.percent(),
        }
    }
}
