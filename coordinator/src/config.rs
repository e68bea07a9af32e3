//! What is to be done: the keys of the network configuration, over the cluster's `SpiderCoordinator`, over what is built in.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use cni::{Cidr, Code, Error, IfName, Network};
use netlink::Block;
use plugin::{Keys, Level, Rotation};
use serde_json::Value;
use wire::{CoordinatorConfig, NicSource};

use crate::codes::CLUSTER;

/// The first interface of a pod, unless `podDefaultCniNic` says otherwise.
const FIRST_NIC: &str = "eth0";
/// Upstream's log.
const LOG: &str = "/var/log/spidernet/coordinator.log";

/// Which way the pod's packets go to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As the pod's interfaces suggest.
    Auto,
    /// Through a cable of its own.
    Underlay,
    /// Through the first interface, which an overlay network made.
    Overlay,
    /// Not at all.
    Disabled,
}

impl Mode {
    /// `disable` is what generated configurations say, and `disabled` what the `SpiderCoordinator` says.
    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "underlay" => Some(Self::Underlay),
            "overlay" => Some(Self::Overlay),
            "disable" | "disabled" => Some(Self::Disabled),
            _ => None,
        }
    }
}

/// What the network configuration says, without asking anybody.
#[derive(Clone, Debug)]
pub struct Local {
    /// `mode`; none leaves it to the cluster.
    pub mode: Option<Mode>,
    /// `podDefaultCniNic`.
    pub first_nic: IfName,
    /// Where the agent listens.
    pub socket: PathBuf,
    /// How much is logged.
    pub level: Level,
    /// Where to.
    pub rotation: Rotation,
}

/// A route of a policy table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRoute {
    /// Where to.
    pub to: Block,
    /// The next hop.
    pub gateway: IpAddr,
}

/// All that a plan goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which way.
    pub mode: Mode,
    /// The pod's first interface.
    pub first_nic: String,
    /// The blocks that the pod reaches through its node: services, the overlay's pods, and those of `hijackCIDR`.
    pub through_node: Vec<Block>,
    /// The routes of `policyRoutes`.
    pub policy_routes: Vec<PolicyRoute>,
    /// Whether each interface gets a table of its own (`tunePodRoutes`).
    pub tune_routes: bool,
    /// The interface that is to have the default route, if not the first.
    pub default_nic: Option<String>,
    /// The table on the node in which the ways to its pods are (`hostRuleTable`).
    pub host_table: u32,
    /// `rp_filter` in the pod; none leaves it alone.
    pub rp_filter: Option<u8>,
    /// The length of the pod's interface's queue; none leaves it alone.
    pub tx_queue_len: Option<u32>,
    /// The first two bytes of the pod's interface's MAC address; none leaves it alone.
    pub mac_prefix: Option<[u8; 2]>,
    /// An address for the pod's end of its cable.
    pub link_address: Option<Ipv4Addr>,
    /// The cable's MTU; none is that of the pod's interface.
    pub mtu: Option<u32>,
}

impl Local {
    /// Reads only what can be used without the agent's answer.
    pub fn read(network: &Network) -> Result<Self, Error> {
        let keys = Keys::top(network);
        let mode = keys.text("mode")?.map(|text| {
            Mode::parse(text).ok_or_else(|| keys.wrong("mode", "one of auto, underlay, overlay, disable"))
        });
        let first_nic = keys.text("podDefaultCniNic")?.unwrap_or(FIRST_NIC);
        let (level, rotation) = log(network)?;
        Ok(Self {
            mode: mode.transpose()?,
            first_nic: IfName::parse(first_nic)
                .map_err(|_| keys.wrong("podDefaultCniNic", "the name of an interface"))?,
            socket: keys.path("agentSocketPath", wire::SOCKET)?,
            level,
            rotation,
        })
    }

    /// What is built in, for a configuration that cannot be read; the log is where it says, if it says that.
    #[must_use]
    pub fn built_in(network: &Network) -> Option<Self> {
        let rotation = || Rotation { path: LOG.into(), max_megabytes: 100, max_days: 30, max_files: 7 };
        let (level, rotation) = log(network).unwrap_or_else(|_| (Level::Info, rotation()));
        Some(Self {
            mode: None,
            first_nic: IfName::parse(FIRST_NIC).ok()?,
            socket: wire::SOCKET.into(),
            level,
            rotation,
        })
    }
}

/// `logOptions`.
fn log(network: &Network) -> Result<(Level, Rotation), Error> {
    let keys = Keys::of(network, "logOptions.")?;
    let level = keys.text("logLevel")?.map(|text| {
        Level::parse(text).ok_or_else(|| keys.wrong("logLevel", "one of debug, info, warn, error"))
    });
    let rotation = Rotation {
        path: keys.path("logFile", LOG)?,
        max_megabytes: keys.number("logMaxSize", 100)?,
        max_days: keys.number("logMaxAge", 30)?,
        max_files: keys.number("logMaxCount", 7)?,
    };
    Ok((level.transpose()?.unwrap_or(Level::Info), rotation))
}

impl Config {
    /// Puts what the network configuration says over what the cluster says. An empty text or list is as good as none, as it is
    /// for upstream. Only the interface with the default route may be the other way round: the pod's annotation, with which the
    /// agent answers, is more special than either.
    pub fn merge(network: &Network, local: &Local, cluster: &CoordinatorConfig) -> Result<Self, Error> {
        let CoordinatorConfig {
            mode,
            overlay_pod_cidr,
            service_cidr,
            tune_pod_routes,
            hijack_cidr,
            policy_routes,
            pod_mac_prefix,
            pod_default_route_nic,
            pod_default_route_nic_source,
            host_rule_table,
            pod_rp_filter,
            tx_queue_len,
            veth_link_address,
            veth_mtu,
        } = cluster;
        let keys = Keys::top(network);
        let mode = match local.mode {
            Some(mode) => mode,
            None => Mode::parse(mode)
                .ok_or_else(|| of_cluster("mode", mode, "one of auto, underlay, overlay, disabled"))?,
        };
        let mut through_node = Vec::new();
        for (key, fallback) in
            [("overlayPodCIDR", overlay_pod_cidr), ("serviceCIDR", service_cidr), ("hijackCIDR", hijack_cidr)]
        {
            for block in blocks(&keys, key, fallback)? {
                if !through_node.contains(&block) {
                    through_node.push(block);
                }
            }
        }
        let own = keys.text("podDefaultRouteNic")?.or(keys.text("podDefaultRouteNIC")?);
        let told = Some(pod_default_route_nic.as_str()).filter(|nic| !nic.is_empty());
        let nic = match pod_default_route_nic_source {
            Some(NicSource::SpiderCoordinator) => own.or(told),
            // Upstream's agent does not say which it is, and its plugin takes it for the annotation.
            Some(NicSource::Annotation | NicSource::Other) | None => told.or(own),
        };
        let number = |key, cluster: i64| signed(&keys, key).map(|own| own.unwrap_or(cluster));
        let link_address = keys.text("vethLinkAddress")?.unwrap_or(veth_link_address);
        let mac_prefix = keys.text("podMACPrefix")?.unwrap_or(pod_mac_prefix);
        Ok(Self {
            mode,
            first_nic: local.first_nic.to_string(),
            through_node,
            policy_routes: policies(&keys, policy_routes)?,
            tune_routes: match keys.get("tunePodRoutes") {
                None => *tune_pod_routes,
                Some(_) => keys.flag("tunePodRoutes")?,
            },
            default_nic: nic.map(str::to_owned),
            host_table: table(number("hostRuleTable", *host_rule_table)?)?,
            rp_filter: match number("podRPFilter", *pod_rp_filter)? {
                value @ 0..=2 => u8::try_from(value).ok(),
                ..0 => None,
                value => {
                    return Err(invalid("podRPFilter", &value.to_string(), "0, 1, 2, or negative for none"));
                }
            },
            tx_queue_len: positive("txQueueLen", number("txQueueLen", *tx_queue_len)?)?,
            mac_prefix: Some(mac_prefix).filter(|text| !text.is_empty()).map(prefix).transpose()?,
            link_address: Some(link_address).filter(|text| !text.is_empty()).map(link).transpose()?,
            mtu: positive("vethMTU", number("vethMTU", *veth_mtu)?)?,
        })
    }
}

fn blocks(keys: &Keys<'_>, key: &str, cluster: &[String]) -> Result<Vec<Block>, Error> {
    let must = "a list of blocks in CIDR form, such as [\"10.96.0.0/12\"]";
    let own = keys.texts(key, must)?;
    if own.is_empty() {
        return cluster.iter().map(|text| block(text).ok_or_else(|| of_cluster(key, text, must))).collect();
    }
    own.iter().map(|text| block(text).ok_or_else(|| keys.wrong(key, must))).collect()
}

/// An address alone is a block of one.
fn block(text: &str) -> Option<Block> {
    if let Ok(address) = text.parse() {
        return Some(Block::one(address));
    }
    let cidr: Cidr = text.parse().ok()?;
    Block::holding(cidr.address(), cidr.prefix())
}

fn policies(keys: &Keys<'_>, cluster: &[wire::CoordinatorRoute]) -> Result<Vec<PolicyRoute>, Error> {
    let must = "a list of objects {\"dst\": a block, \"gw\": an address} of one family each";
    let own = match keys.get("policyRoutes") {
        None => Vec::new(),
        Some(Value::Array(routes)) => routes
            .iter()
            .map(|route| {
                let text = |key| route.get(key).and_then(Value::as_str);
                policy(text("dst")?, text("gw")?)
            })
            .collect::<Option<_>>()
            .ok_or_else(|| keys.wrong("policyRoutes", must))?,
        Some(_) => return Err(keys.wrong("policyRoutes", must)),
    };
    if !own.is_empty() {
        return Ok(own);
    }
    let routes = cluster.iter().map(|route| {
        policy(&route.dst, &route.gw)
            .ok_or_else(|| of_cluster("policyRoutes", &format!("{} via {}", route.dst, route.gw), must))
    });
    routes.collect()
}

fn policy(dst: &str, gw: &str) -> Option<PolicyRoute> {
    let (to, gateway) = (block(dst)?, gw.parse().ok()?);
    (to.family() == netlink::Family::of(gateway)).then_some(PolicyRoute { to, gateway })
}

fn signed(keys: &Keys<'_>, key: &str) -> Result<Option<i64>, Error> {
    keys.get(key).map(|value| value.as_i64().ok_or_else(|| keys.wrong(key, "a whole number"))).transpose()
}

fn positive(key: &str, value: i64) -> Result<Option<u32>, Error> {
    match value {
        0 => Ok(None),
        _ => u32::try_from(value)
            .map(Some)
            .map_err(|_| invalid(key, &value.to_string(), "a number that is not negative")),
    }
}

fn table(value: i64) -> Result<u32, Error> {
    // 253 to 255 are the kernel's own tables; a way to the pods in one of them would be everybody's.
    match u32::try_from(value) {
        Ok(0) => Ok(500),
        Ok(table) if !(253..=255).contains(&table) => Ok(table),
        _ => Err(invalid("hostRuleTable", &value.to_string(), "the number of a table, but not 253 to 255")),
    }
}

fn prefix(text: &str) -> Result<[u8; 2], Error> {
    let wrong = || {
        invalid(
            "podMACPrefix",
            text,
            "two bytes such as \"0a:1b\", of which the first is even: an odd one is of a group",
        )
    };
    let (first, second) = text.split_once([':', '-']).ok_or_else(wrong)?;
    let byte = |text: &str| {
        Some(text)
            .filter(|text| text.len() == 2)
            .and_then(|text| u8::from_str_radix(text, 16).ok())
            .ok_or_else(wrong)
    };
    let bytes = [byte(first)?, byte(second)?];
    if bytes.first().is_some_and(|first| first & 1 == 0) { Ok(bytes) } else { Err(wrong()) }
}

fn link(text: &str) -> Result<Ipv4Addr, Error> {
    // Upstream's documents show it with a prefix length, too.
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse().map_err(|_| invalid("vethLinkAddress", text, "an IPv4 address such as 169.254.100.1"))
}

/// For a value of which nobody knows any more who said it.
fn invalid(key: &str, value: &str, must: &str) -> Error {
    Error::new(
        Code::InvalidNetwork,
        format!(
            "{key} must be {must}, and is {value:?}: correct it in the network configuration (SpiderMultusConfig) or, if it is not there, in the SpiderCoordinator"
        ),
    )
}

fn of_cluster(key: &str, value: &str, must: &str) -> Error {
    Error::new(
        CLUSTER,
        format!(
            "{key} of the SpiderCoordinator must be {must}, and is {value:?}: correct its spec, or see its status for what was found in the cluster"
        ),
    )
}
