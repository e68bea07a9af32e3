use std::net::IpAddr;
use std::time::Duration;

use cni::{Attachment, Cidr, Code, Error, Ip, Route, Success};
use netlink::Netns;
use plugin::{Agent, Call, Level, Log, Outcome, Pod, UNREACHABLE};
use serde_json::{Map, Value};
use wire::{AddReply, AddRequest, ReleaseRequest};

use crate::config::Config;
use crate::neighbours::{self, Finding, Questions};
use crate::verbs::netns_path;

/// 102: the agent's answer has no address for this interface, or one that cannot be used.
const NO_ADDRESS: Code = Code::Plugin(102);
/// 104: somebody else answers for the address.
const CONFLICT: Code = Code::Plugin(104);
/// 105: the gateway does not answer.
const SILENT_GATEWAY: Code = Code::Plugin(105);
/// 106: the neighbours could not be asked.
const NOT_ASKED: Code = Code::Plugin(106);

/// As long as upstream's plugin waits: kubelet itself gives up after 120 s.
const PATIENCE: Duration = Duration::from_secs(100);
/// Only a courtesy before an ADD that fails anyway.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);

/// Gets the addresses of one interface.
pub(crate) fn add(attachment: &Attachment, config: Config, log: &Log) -> Result<Success, Error> {
    let pod = Pod::required(&attachment.args)?;
    // Before an address is taken for a sandbox that is gone.
    let path = attachment.netns.as_deref().unwrap_or_else(|| "".as_ref());
    let netns = Netns::open(path).map_err(|error| {
        Error::new(
            Code::InvalidEnvironment,
            format!("{error}: the sandbox is gone, or CNI_NETNS is wrong; see the runtime's log"),
        )
    })?;
    let Config {
        ipv4_pools,
        ipv6_pools,
        clean_gateway,
        match_master_subnet,
        socket,
        level: _,
        rotation: _,
        queue: _,
    } = config;
    let request = AddRequest {
        container_id: attachment.container_id.to_string(),
        if_name: attachment.if_name.to_string(),
        net_namespace: netns_path(attachment),
        pod_namespace: pod.namespace.to_owned(),
        pod_name: pod.name.to_owned(),
        pod_uid: pod.uid.to_owned(),
        default_ipv4_pools: ipv4_pools,
        default_ipv6_pools: ipv6_pools,
        clean_gateway,
        match_master_subnet,
    };
    let agent = Agent::at(socket);
    let call =
        Call { method: "POST", path: wire::IP, purpose: "get addresses for the pod", patience: PATIENCE };
    let body = agent.must(call, &request)?;
    let reply: AddReply = serde_json::from_slice(&body).map_err(|error| {
        Error::new(UNREACHABLE, format!("cannot read the answer of spiderpool-agent: {error}: do the plugin and the agent have the same version?"))
    })?;
    let success = result(&reply, &request.if_name)?;
    let questions = questions(&reply, &success, &request.if_name);
    if questions.is_empty() {
        return Ok(success);
    }
    let refusal = match neighbours::ask(netns, &request.if_name, &questions) {
        Ok(Finding::Fine) => return Ok(success),
        Ok(Finding::NoInterface) => {
            log.write(Level::Debug, "asked no neighbours: the interface is not there yet", &[]);
            return Ok(success);
        }
        Err(error) => Error::new(
            NOT_ASKED,
            format!(
                "cannot find out whether the pod's addresses are free: {error}: switch the detection off, or see why the kernel refuses"
            ),
        ),
        Ok(Finding::Conflict(found)) => Error::new(
            CONFLICT,
            format!(
                "the address {} given to the pod is in use by the MAC address {}: free it there, or exclude it from the pool",
                found.address, found.mac
            ),
        ),
        Ok(Finding::SilentGateway(gateway)) => Error::new(
            SILENT_GATEWAY,
            format!(
                "the gateway {gateway} of the pod's address does not answer on the interface {}: correct the pool's gateway or VLAN, or see whether the gateway is up",
                request.if_name
            ),
        ),
    };
    Err(release(&agent, request, log, refusal))
}

/// Gives the addresses back, so that the next try may get others. The ADD has failed in any case.
fn release(agent: &Agent, request: AddRequest, log: &Log, refusal: Error) -> Error {
    let AddRequest { container_id, net_namespace, pod_namespace, pod_name, pod_uid, .. } = request;
    // A silent gateway says nothing against the address.
    let conflict = refusal.code == CONFLICT;
    let request = ReleaseRequest { container_id, net_namespace, pod_namespace, pod_name, pod_uid, conflict };
    let call = Call {
        method: "DELETE",
        path: wire::IPS,
        purpose: "give back the pod's addresses",
        patience: RELEASE_PATIENCE,
    };
    let kept = match agent.call(call, &request) {
        Ok(Outcome::Done(_)) => return refusal,
        Ok(Outcome::Unsupported) => "this agent cannot take addresses back".to_owned(),
        Ok(Outcome::Refused(error)) | Err(error) => error.message,
    };
    log.write(Level::Warn, "the pod keeps the addresses", &[("error", Value::from(kept.as_str()))]);
    refusal.with_details(format!("the next try gets the same addresses: {kept}"))
}

/// The addresses and routes of the interface asked for; the agent may tell of the pod's other interfaces, too.
fn result(reply: &AddReply, if_name: &str) -> Result<Success, Error> {
    let mut success = Success::default();
    for ip in reply.ips.iter().filter(|ip| ip.nic == if_name) {
        let address: Cidr = ip.address.parse().map_err(|_| unusable("address", &ip.address))?;
        success.ips.push(Ip {
            address,
            gateway: optional("gateway", &ip.gateway)?,
            interface: None,
            other: Map::new(),
        });
    }
    if success.ips.is_empty() {
        return Err(Error::new(
            NO_ADDRESS,
            format!("spiderpool-agent gave no address for the interface {if_name}: see its log on this node"),
        ));
    }
    // The default route is among them: whether there is one, the agent knows, which sees all interfaces of the pod.
    for route in reply.routes.iter().filter(|route| route.if_name == if_name) {
        let dst = route.dst.parse().map_err(|_| unusable("route to", &route.dst))?;
        success.routes.push(Route { dst, gw: optional("route by", &route.gw)?, other: Map::new() });
    }
    Ok(success)
}

fn optional(what: &str, text: &str) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| unusable(what, text)) }
}

fn unusable(what: &str, text: &str) -> Error {
    Error::new(
        NO_ADDRESS,
        format!(
            "spiderpool-agent gave the {what} {text:?}, which is malformed: do the plugin and the agent have the same version?"
        ),
    )
}

fn questions(reply: &AddReply, success: &Success, if_name: &str) -> Questions {
    let mut questions = Questions::default();
    // Both lists are the interface's addresses in the same order.
    for (asked, given) in reply.ips.iter().filter(|ip| ip.nic == if_name).zip(&success.ips) {
        let address = given.address.address();
        questions.addresses.push(address);
        if asked.enable_ip_conflict_detection {
            questions.exclusive.push(address);
        }
        if let (true, Some(gateway)) = (asked.enable_gateway_detection, given.gateway) {
            questions.gateways.push((address, gateway));
        }
    }
    questions
}
