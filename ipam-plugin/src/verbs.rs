use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use cni::{Attachment, Code, Error, Network, Plugin, Success};
use netlink::Netns;
use plugin::{Agent, Call, Level, Log, Outcome, Pod};
use serde_json::Value;
use wire::{CheckRequest, DelRequest, GcRequest};

use crate::add::add;
use crate::config::Config;
use crate::neighbours;
use crate::queue;

/// 103: CHECK found the attachment changed.
const CHANGED: Code = Code::Plugin(103);

/// Shorter than ADD's, since what is not done by then is kept in the queue.
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
            Err(error) => log.failed(error),
        }
        outcome
    }

    fn del(&self, attachment: &Attachment) -> Result<(), Error> {
        let config = Config::read(&attachment.network)?;
        let log = log(&config, "DEL", attachment);
        let outcome = del(attachment, &config, &log);
        if let Err(error) = &outcome {
            log.failed(error);
        }
        outcome
    }

    fn check(&self, attachment: &Attachment, made: &Success) -> Result<(), Error> {
        let config = Config::read(&attachment.network)?;
        let log = log(&config, "CHECK", attachment);
        let outcome = check(attachment, made, config);
        if let Err(error) = &outcome {
            log.failed(error);
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

fn del(attachment: &Attachment, config: &Config, log: &Log) -> Result<(), Error> {
    let pod = Pod::known(&attachment.args);
    let request = DelRequest {
        container_id: attachment.container_id.to_string(),
        if_name: attachment.if_name.to_string(),
        net_namespace: netns_path(attachment),
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
        addresses: own(made, attachment.if_name.as_str()).map(|address| address.to_string()).collect(),
    };
    let call = Call {
        method: "POST",
        path: wire::CHECK,
        purpose: "check the pod's addresses",
        patience: ASK_PATIENCE,
    };
    match Agent::at(config.socket).call(call, &request)? {
        // Upstream's agent does not check; its plugin says that all is well.
        Outcome::Done(_) | Outcome::Unsupported => {}
        Outcome::Refused(error) => return Err(Error { code: CHANGED, ..error }),
    }
    let interface = attachment.if_name.as_str();
    let changed =
        |what: String| Error::new(CHANGED, format!("{what}: delete the pod, so that it is made anew"));
    let addresses: Vec<IpAddr> = own(made, interface).collect();
    let path = attachment.netns.as_deref().unwrap_or_else(|| "".as_ref());
    let missing = Netns::open(path)
        .and_then(|netns| neighbours::missing(netns, interface, &addresses))
        .map_err(|error| changed(error.to_string()))?;
    match missing.as_deref() {
        None => Err(changed(format!("the sandbox has no interface {interface}"))),
        Some([]) => Ok(()),
        Some([address, ..]) => {
            Err(changed(format!("the interface {interface} no longer has the address {address}")))
        }
    }
}

/// The addresses of one interface in a result; those of no interface are its, too, as IPAM plugins write them.
fn own<'a>(made: &'a Success, interface: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
    let is_own = move |ip: &&cni::Ip| {
        let index = ip.interface.and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| made.interfaces.get(index)).is_none_or(|found| found.name == interface)
    };
    made.ips.iter().filter(is_own).map(|ip| ip.address.address())
}

pub(crate) fn netns_path(attachment: &Attachment) -> String {
    attachment.netns.as_deref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

fn log(config: &Config, verb: &str, attachment: &Attachment) -> Log {
    Log::open(config.level, &config.rotation, verb, attachment)
}
