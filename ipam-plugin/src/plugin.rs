use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use cni::{Attachment, Cidr, Code, Error, Ip, Network, Plugin, Route, Success};
use serde_json::{Map, Value};
use wire::{AddReply, AddRequest, CheckRequest, DelRequest, GcRequest};

use crate::agent::{Agent, Call, Outcome, UNREACHABLE};
use crate::config::Config;
use crate::log::{Level, Log};
use crate::pod::Pod;
use crate::queue;

/// 102: the agent's answer has no address for this interface, or one that cannot be used.
const NO_ADDRESS: Code = Code::Plugin(102);
/// 103: CHECK found the attachment changed.
const CHANGED: Code = Code::Plugin(103);

/// As long as upstream's plugin waits: kubelet itself gives up after 120 s.
const ADD_PATIENCE: Duration = Duration::from_secs(100);
/// Shorter, since what is not done by then is kept in the queue.
const DEL_PATIENCE: Duration = Duration::from_secs(30);
/// The agent answers these from memory.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// The plugin; all that it knows comes with each call.
pub(crate) struct Spiderpool;

impl Plugin for Spiderpool {
    fn add(&self, attachment: &Attachment) -> Result<Success, Error> {
        let config = Config::read(&attachment.network)?;
        let log = log(&config, "ADD", attachment);
        let outcome = add(attachment, config, &log);
        match &outcome {
            Ok(success) => {
                let addresses: Value =
                    success.ips.iter().map(|ip| Value::from(ip.address.to_string())).collect();
                log.write(Level::Info, "gave addresses", &[("addresses", addresses)]);
            }
            Err(error) => failed(&log, error),
        }
        outcome
    }

    fn del(&self, attachment: &Attachment) -> Result<(), Error> {
        let config = Config::read(&attachment.network)?;
        let log = log(&config, "DEL", attachment);
        let outcome = del(attachment, &config, &log);
        if let Err(error) = &outcome {
            failed(&log, error);
        }
        outcome
    }

    fn check(&self, attachment: &Attachment, made: &Success) -> Result<(), Error> {
        let config = Config::read(&attachment.network)?;
        let log = log(&config, "CHECK", attachment);
        let outcome = check(attachment, made, config);
        if let Err(error) = &outcome {
            failed(&log, error);
        }
        outcome
    }

    fn status(&self, network: &Network) -> Result<(), Error> {
        let config = Config::read(network)?;
        let call = Call {
            method: "GET",
            path: wire::HEALTHY,
            purpose: "give addresses on this node",
            patience: ASK_PATIENCE,
        };
        Agent::at(config.socket)
            .must(call, &())
            .map(|_| ())
            .map_err(|error| Error { code: Code::NotAvailable, ..error })
    }

    fn gc(&self, network: &Network) -> Result<(), Error> {
        let config = Config::read(network)?;
        let attachments = network.valid_attachments()?.into_iter();
        let attachments = attachments
            .map(|(container_id, if_name)| wire::Attachment {
                container_id: container_id.to_string(),
                if_name: if_name.to_string(),
            })
            .collect();
        let call = Call {
            method: "POST",
            path: wire::GC,
            purpose: "free what no attachment holds",
            patience: DEL_PATIENCE,
        };
        match Agent::at(config.socket).call(call, &GcRequest { attachments })? {
            // Upstream's agent collects by itself only.
            Outcome::Done(_) | Outcome::Unsupported => Ok(()),
            Outcome::Refused(error) => Err(error),
        }
    }
}

fn add(attachment: &Attachment, config: Config, _log: &Log) -> Result<Success, Error> {
    let pod = Pod::required(&attachment.args)?;
    let Config { ipv4_pools, ipv6_pools, clean_gateway, match_master_subnet, socket, .. } = config;
    let request = AddRequest {
        container_id: attachment.container_id.to_string(),
        if_name: attachment.if_name.to_string(),
        net_namespace: netns(attachment),
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
        Call { method: "POST", path: wire::IP, purpose: "get addresses for the pod", patience: ADD_PATIENCE };
    let body = agent.must(call, &request)?;
    let reply: AddReply = serde_json::from_slice(&body)
        .map_err(|error| Error::new(UNREACHABLE, format!("cannot read the answer of spiderpool-agent: {error}: do the plugin and the agent have the same version?")))?;
    result(&reply, &request)
}

/// The addresses and routes of the interface asked for; the agent may tell of the pod's other interfaces, too.
fn result(reply: &AddReply, request: &AddRequest) -> Result<Success, Error> {
    let AddRequest { if_name, clean_gateway, .. } = request;
    let mut success = Success::default();
    for ip in reply.ips.iter().filter(|ip| ip.nic == *if_name) {
        let address: Cidr = ip.address.parse().map_err(|_| unusable("address", &ip.address))?;
        let gateway = (!ip.gateway.is_empty())
            .then(|| ip.gateway.parse::<IpAddr>())
            .transpose()
            .map_err(|_| unusable("gateway", &ip.gateway))?;
        if let (Some(gateway), false) = (gateway, clean_gateway) {
            let any: &str = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            success.routes.push(Route { dst: any.parse()?, gw: Some(gateway), other: Map::new() });
        }
        success.ips.push(Ip { address, gateway, interface: None, other: Map::new() });
    }
    if success.ips.is_empty() {
        return Err(Error::new(
            NO_ADDRESS,
            format!("spiderpool-agent gave no address for the interface {if_name}: see its log on this node"),
        ));
    }
    for route in reply.routes.iter().filter(|route| route.if_name == *if_name) {
        let dst = route.dst.parse().map_err(|_| unusable("route to", &route.dst))?;
        let gw = (!route.gw.is_empty())
            .then(|| route.gw.parse())
            .transpose()
            .map_err(|_| unusable("route by", &route.gw))?;
        success.routes.push(Route { dst, gw, other: Map::new() });
    }
    Ok(success)
}

fn unusable(what: &str, text: &str) -> Error {
    Error::new(
        NO_ADDRESS,
        format!(
            "spiderpool-agent gave the {what} {text:?}, which is malformed: do the plugin and the agent have the same version?"
        ),
    )
}

fn del(attachment: &Attachment, config: &Config, log: &Log) -> Result<(), Error> {
    let pod = Pod::known(&attachment.args);
    let request = DelRequest {
        container_id: attachment.container_id.to_string(),
        if_name: attachment.if_name.to_string(),
        net_namespace: netns(attachment),
        pod_namespace: pod.namespace.to_owned(),
        pod_name: pod.name.to_owned(),
        pod_uid: pod.uid.to_owned(),
    };
    let call = Call {
        method: "DELETE",
        path: wire::IP,
        purpose: "give back the pod's addresses",
        patience: DEL_PATIENCE,
    };
    let Err(error) = Agent::at(config.socket.clone()).must(call, &request) else {
        log.write(Level::Info, "gave addresses back", &[]);
        return Ok(());
    };
    // A DEL that fails would keep the pod from ending for as long as the agent is away.
    let folder = config.queue.display();
    queue::keep(&config.queue, request, SystemTime::now()).map_err(|unkept| {
        Error::new(
            error.code,
            format!("{}; and the DEL cannot be kept for later in {folder}: {unkept}", error.message),
        )
        .with_details(error.details.clone())
    })?;
    log.write(
        Level::Warn,
        "kept the DEL until the agent fetches it",
        &[("queue", folder.to_string().into()), ("error", error.to_string().into())],
    );
    Ok(())
}

fn check(attachment: &Attachment, made: &Success, config: Config) -> Result<(), Error> {
    let pod = Pod::known(&attachment.args);
    let request = CheckRequest {
        container_id: attachment.container_id.to_string(),
        if_name: attachment.if_name.to_string(),
        pod_namespace: pod.namespace.to_owned(),
        pod_name: pod.name.to_owned(),
        pod_uid: pod.uid.to_owned(),
        addresses: made.ips.iter().map(|ip| ip.address.address().to_string()).collect(),
    };
    let call = Call {
        method: "POST",
        path: wire::CHECK,
        purpose: "check the pod's addresses",
        patience: ASK_PATIENCE,
    };
    match Agent::at(config.socket).call(call, &request)? {
        // Upstream's agent does not check; its plugin says that all is well.
        Outcome::Done(_) | Outcome::Unsupported => Ok(()),
        Outcome::Refused(error) => Err(Error { code: CHANGED, ..error }),
    }
}

fn netns(attachment: &Attachment) -> String {
    attachment.netns.as_deref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

fn log(config: &Config, verb: &str, attachment: &Attachment) -> Log {
    let pod = Pod::known(&attachment.args);
    let subject = [
        ("verb", verb),
        ("container", attachment.container_id.as_str()),
        ("interface", attachment.if_name.as_str()),
        ("namespace", pod.namespace),
        ("pod", pod.name),
        ("uid", pod.uid),
        ("network", attachment.network.name()),
    ];
    Log::open(
        config.level,
        &config.rotation,
        subject.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect(),
    )
}

fn failed(log: &Log, error: &Error) {
    log.write(
        Level::Error,
        &error.message,
        &[("code", error.code.number().into()), ("details", error.details.as_str().into())],
    );
}
