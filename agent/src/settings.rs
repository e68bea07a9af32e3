//! How the agent was told to work: command line, environment and upstream's `conf.yml`, parsed once.

mod file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ifacer::assert::Places;
use model::{Family, MultusName};

pub use file::{File, FileError};

/// How long a freed address rests before it is given out again: neighbours and switches forget the old pod meanwhile.
pub const REST: Duration = Duration::from_secs(10);

/// How many addresses of one pool pods may hold, as upstream has it: the record of all of them is one object, which
/// etcd takes up to 1.5 MiB of.
pub const MAX_ALLOCATED: usize = 5000;

/// Where `/metrics` and the probes are served unless told otherwise: upstream's port of its agent's probes.
pub const HEALTH_PORT: u16 = 5710;

/// Where upstream's chart mounts the configuration file.
pub const CONFIG_FILE: &str = "/tmp/spiderpool/config-map/conf.yml";

/// The agent's own network namespace: the node's, where the agent is in the host's network.
pub const OWN_NETWORK: &str = "/proc/self/ns/net";

/// Where containerd and CRI-O keep the network namespaces of pods, and `ip netns` its own.
pub const POD_NETWORKS: &str = "/var/run/netns";

/// All settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's name.
    pub node: String,
    /// Spiderpool's own namespace: that of networks that a pool names without one.
    pub home: String,
    /// The socket that plugins talk to.
    pub socket: PathBuf,
    /// Where plugins leave what they could not tell.
    pub queue: PathBuf,
    /// Where the probes and `/metrics` are served.
    pub listen: SocketAddr,
    /// The families that are switched on.
    pub families: Vec<Family>,
    /// Whether a `StatefulSet`'s pods keep their addresses, where they may.
    pub stateful_set: Keep,
    /// Whether the virtual machines of `KubeVirt` keep their addresses, where they may.
    pub kubevirt: Keep,
    /// Whether plugins look for somebody else who answers for an address, unless the pool says otherwise.
    pub conflict_detection: Detection,
    /// Whether plugins make sure that the gateway answers, unless the pool says otherwise.
    pub gateway_detection: Detection,
    /// Whether an address that was found to be in use may be given back by the plugin that found it.
    pub conflict_release: ConflictRelease,
    /// Whether pods that ask for an automatic pool are refused.
    pub subnets: model::select::SubnetFeature,
    /// How many addresses of one pool pods may hold.
    pub max_allocated: usize,
    /// How long a freed address rests.
    pub rest: Duration,
    /// The network behind `eth0` of pods that name none.
    pub cluster_network: Option<MultusName>,
    /// The network that is looked after; none: this agent is not on its node, or somebody else does it.
    pub node_network: Option<NodeNetwork>,
}

/// Where the network of a node and of its pods is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNetwork {
    /// The node's network namespace.
    pub namespace: PathBuf,
    /// The folder in which the runtime keeps those of pods.
    pub pods: PathBuf,
    /// What the ifacer keeps of the interfaces that it was asked for.
    pub interfaces: Places,
}

/// Whether addresses outlive their pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// They do, as far as they may.
    Fixed,
    /// They go with the pod.
    No,
}

/// Whether a plugin probes before it uses an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// Whether a plugin may give back addresses that are in use by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictRelease {
    /// It may: the next try gets others.
    Allowed,
    /// It may not: the pod waits for people.
    Forbidden,
}

impl Keep {
    /// Reads upstream's switch.
    #[must_use]
    pub fn from_switch(on: bool) -> Self {
        if on { Self::Fixed } else { Self::No }
    }
}

impl Detection {
    /// Reads upstream's switch.
    #[must_use]
    pub fn from_switch(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }

    /// Returns what goes on the wire.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl ConflictRelease {
    /// Reads upstream's switch.
    #[must_use]
    pub fn from_switch(on: bool) -> Self {
        if on { Self::Allowed } else { Self::Forbidden }
    }
}
