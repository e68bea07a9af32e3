//! ADD: all of it or nothing.

use std::net::IpAddr;
use std::time::Duration;

use cni::{Attachment, Code, Error, Success};
use netlink::{Family, Link, Mac};
use plugin::{Agent, Call, Level, Log, Pod as PodName};
use serde_json::Value;
use wire::CoordinatorConfig;

use crate::cable::{self, Ends, NoCable, POD_END};
use crate::codes::{NOT_MADE, UNFIT, WRONG_PLACE};
use crate::config::{Config, Local, Mode};
use crate::plan::{Plan, Situation, Unfit, Way, plan, way};
use crate::scene::Pod;
use crate::sides::{Closed, Made, Sides};
use crate::sysctl::{self, Setting};

/// The agent reads one object of the API server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gives the interface its ways; passes on what the plugins before it made.
pub(crate) fn add(attachment: &Attachment, local: &Local, log: &Log) -> Result<Success, Error> {
    let mut success = attachment.network.prev_result()?.ok_or_else(|| {
        Error::new(
            Code::InvalidNetwork,
            "the coordinator needs the key \"prevResult\", which is missing: list it in \"plugins\" behind the plugin that makes the interface",
        )
    })?;
    let Some(config) = ask(attachment, local)? else {
        log.write(Level::Info, "did nothing, as mode says", &[]);
        return Ok(success);
    };
    let path = attachment.netns.as_deref().unwrap_or_else(|| "".as_ref());
    let mut sides = Sides::open(path).map_err(closed)?;
    let mut made = Made::default();
    match make(attachment, &config, &mut sides, &mut made, log) {
        Ok(mac) => {
            log.write(Level::Info, "gave the pod its ways", &[("changes", made.count().into())]);
            if let Some(mac) = mac {
                rename(&mut success, attachment.if_name.as_str(), mac);
            }
            Ok(success)
        }
        Err(error) => {
            let left = made.undo(&mut sides);
            Err(if left.is_empty() {
                error
            } else {
                error.with_details(format!("left behind: {}", left.join("; ")))
            })
        }
    }
}

/// What is to be done for this pod; nothing when the coordinator is switched off.
pub(crate) fn ask(attachment: &Attachment, local: &Local) -> Result<Option<Config>, Error> {
    if local.mode == Some(Mode::Disabled) {
        return Ok(None);
    }
    let pod = PodName::known(&attachment.args);
    // Kubernetes' names need no escaping; whatever else a runtime says is of no use to the agent.
    let plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let path = if [pod.namespace, pod.name, pod.uid].into_iter().all(plain) {
        format!(
            "{}?podNamespace={}&podName={}&podUID={}",
            wire::COORDINATOR,
            pod.namespace,
            pod.name,
            pod.uid
        )
    } else {
        wire::COORDINATOR.to_owned()
    };
    let call = Call {
        method: "GET",
        path: &path,
        purpose: "learn what the coordinator shall do",
        patience: PATIENCE,
    };
    // Upstream's agent reads the body only.
    let whose = serde_json::json!({ "podNamespace": pod.namespace, "podName": pod.name });
    let body = Agent::at(local.socket.clone()).must(call, &whose)?;
    let cluster: CoordinatorConfig = serde_json::from_slice(&body).map_err(|error| {
        Error::new(
            plugin::UNREACHABLE,
            format!("cannot read the answer of spiderpool-agent: {error}: do the plugin and the agent have the same version?"),
        )
    })?;
    let config = Config::merge(&attachment.network, local, &cluster)?;
    Ok(Some(config).filter(|config| config.mode != Mode::Disabled))
}

fn make(
    attachment: &Attachment,
    config: &Config,
    sides: &mut Sides,
    made: &mut Made,
    log: &Log,
) -> Result<Option<Mac>, Error> {
    let nic = attachment.if_name.as_str();
    let mut pod = Pod::read(&mut sides.pod).map_err(refused)?;
    let has_cable = pod.link(POD_END).is_some();
    let Some(way) = way(config.mode, nic, &config.first_nic, has_cable).map_err(misplaced)? else {
        return Ok(None);
    };
    let container = &attachment.container_id;
    let found = cable::find(sides, &pod, way, &config.first_nic, container).map_err(no_cable)?;
    let ends = if let Some(ends) = found {
        // An ADD that was killed may have left the pod's end down.
        if way != Way::Overlay && !ends.pod.is_up() {
            made.in_pod(sides, &[netlink::Change::SetUp(ends.pod.index)]).map_err(refused)?;
        }
        ends
    } else {
        let own = interface(&pod, nic)?;
        let ends = cable::lay(sides, made, container, config.mtu.unwrap_or(own.mtu)).map_err(no_cable)?;
        pod.links.push(ends.pod.clone());
        ends
    };
    // Before the plan: a family that is switched off on the cable refuses its routes.
    made.settings(sides, &settings(config, way, &ends, &pod, nic)).map_err(refused)?;
    let node = sides.read_node(&pod, &ends, config.host_table).map_err(refused)?;
    if way != Way::Overlay && node.addresses.iter().any(IpAddr::is_ipv6) {
        // Our own interface only, and only if the node's default for new ones says otherwise.
        let own = Setting::new(Family::V6, &ends.node.name, "disable_ipv6", 0);
        sysctl::write(&[own], &mut Vec::new()).map_err(refused)?;
    }
    let situation = Situation { config, way, nic, cable: &ends, pod: &pod, node: &node };
    let Plan { pod: in_pod, node: on_node, warnings } = plan(&situation).map_err(unfit)?;
    for warning in &warnings {
        log.write(Level::Warn, warning, &[]);
    }
    made.on_node(sides, &on_node).map_err(refused)?;
    made.in_pod(sides, &in_pod).map_err(refused)?;
    if way == Way::UnderlayFirst {
        // Last, so that a pod whose rule for replies is missing was never marked.
        if let Err(why) = made.marking(sides, &families(&pod, nic)).map_err(refused)? {
            log.write(Level::Warn, &why, &[]);
        }
    }
    log.write(
        Level::Debug,
        "sent",
        &[
            ("messages", Value::from(sides.pod.sent() + sides.node.sent())),
            ("mode", format!("{way:?}").into()),
        ],
    );
    let mac = in_pod.iter().find_map(|change| match change {
        netlink::Change::SetMac { mac, .. } => Some(*mac),
        _ => None,
    });
    if mac.is_some() {
        announce(sides, &pod, nic).map_err(refused)?;
    }
    Ok(mac)
}

/// The sysctls of the pod; those of the node are nobody's business.
pub(crate) fn settings(config: &Config, way: Way, ends: &Ends, pod: &Pod, nic: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut names = vec!["all", nic];
    for name in [config.first_nic.as_str(), ends.pod.name.as_str()] {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if let Some(value) = config.rp_filter {
        // The kernel takes the larger of all and the interface's own.
        settings.extend(names.iter().map(|name| Setting::new(Family::V4, name, "rp_filter", value)));
    }
    let speaks_v6 = |name: &str| pod.link(name).is_some_and(|link| pod.speaks(link.index, Family::V6));
    if way != Way::Overlay && (speaks_v6(nic) || speaks_v6(&config.first_nic)) {
        settings.push(Setting::new(Family::V6, &ends.pod.name, "disable_ipv6", 0));
    }
    settings
}

pub(crate) fn families(pod: &Pod, nic: &str) -> Vec<Family> {
    let Some(link) = pod.link(nic) else { return Vec::new() };
    Family::BOTH.into_iter().filter(|family| pod.speaks(link.index, *family)).collect()
}

/// Neighbours remember the old MAC address otherwise.
fn announce(sides: &Sides, pod: &Pod, nic: &str) -> Result<(), netlink::Error> {
    let Some(index) = pod.link(nic).map(|link| link.index) else { return Ok(()) };
    let addresses: Vec<_> = pod.addresses_of(index).map(|it| it.address).collect();
    sides.in_pod(|| match Link::find(nic)? {
        Some(link) => netlink::announce(&link, &addresses),
        None => Ok(()),
    })?
}

/// The result tells of the new MAC address.
fn rename(success: &mut Success, nic: &str, mac: Mac) {
    let own = success.interfaces.iter_mut().filter(|it| it.name == nic && it.sandbox.is_some());
    own.for_each(|interface| interface.mac = Some(mac.to_string()));
}

fn interface<'a>(pod: &'a Pod, nic: &str) -> Result<&'a Link, Error> {
    pod.link(nic).ok_or_else(|| {
        unfit(Unfit(format!(
            "the pod has no interface {nic}: the plugin before the coordinator in the chain must make it"
        )))
    })
}

pub(crate) fn closed(closed: Closed) -> Error {
    match closed {
        Closed::Gone(error) => Error::new(
            Code::InvalidEnvironment,
            format!("{error}: the sandbox is gone, or CNI_NETNS is wrong; see the runtime's log"),
        ),
        Closed::Unfit(Unfit(why)) => Error::new(UNFIT, why),
    }
}

pub(crate) fn no_cable(no: NoCable) -> Error {
    match no {
        NoCable::Kernel(error) => refused(error),
        NoCable::Unfit(why) => unfit(why),
    }
}

pub(crate) fn misplaced(Unfit(why): Unfit) -> Error {
    Error::new(WRONG_PLACE, why)
}

pub(crate) fn unfit(Unfit(why): Unfit) -> Error {
    Error::new(UNFIT, why)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn refused(error: netlink::Error) -> Error {
    Error::new(NOT_MADE, error.to_string())
}
