//! What the `SpiderCoordinator` says of the node's side.

use api::{SpiderCoordinator, SpiderCoordinatorSpec, SpiderCoordinatorStatus};
use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use netlink::Block;
use tokio::sync::watch;
use tracing::warn;

use crate::coordinator::{HOST_TABLE, NAME, SYNCED};

/// What was said last. An object that goes, or is not ready any more, takes nothing back: the pods that were made by it run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Whether the API server was heard at all.
    pub(super) known: bool,
    /// Where services are, if that was ever found out.
    pub(super) services: Option<Vec<Block>>,
    /// The table on the node in which the ways to pods are.
    pub(super) table: u32,
}

impl Default for Said {
    fn default() -> Self {
        Self { known: false, services: None, table: table(None) }
    }
}

/// Follows the object for as long as it is polled.
pub(super) async fn follow(client: Client, say: watch::Sender<Said>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let api: Api<SpiderCoordinator> = Api::all(client);
    let mut stream = watcher::watcher(api, config)
        .inspect_err(|error| warn!(kind = "SpiderCoordinator", "watch interrupted, going on: {error}"))
        .default_backoff()
        .boxed();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                say.send_if_modified(|said| replace(said, &object.spec, object.status));
            }
            Ok(Event::InitDone) => {
                say.send_if_modified(|said| !std::mem::replace(&mut said.known, true));
            }
            // An error is said above, and the watcher goes on by itself.
            Ok(Event::Init | Event::Delete(_)) | Err(_) => {}
        }
    }
}

/// Whether it says something else than before.
fn replace(said: &mut Said, spec: &SpiderCoordinatorSpec, status: Option<SpiderCoordinatorStatus>) -> bool {
    let SpiderCoordinatorStatus { phase, service_cidr, .. } = status.unwrap_or_default();
    let services = (phase == SYNCED).then(|| blocks(&service_cidr));
    let new = Said {
        known: said.known,
        services: services.or_else(|| said.services.clone()),
        table: table(spec.host_rule_table),
    };
    let changed = *said != new;
    *said = new;
    changed
}

fn blocks(texts: &[String]) -> Vec<Block> {
    let block = |text: &String| {
        let net: Option<IpNet> = text.parse().ok();
        let block = net.and_then(|net| Block::holding(net.addr(), net.prefix_len()));
        if block.is_none() {
            warn!(
                text,
                "serviceCIDR of the SpiderCoordinator's status has something that is no block: ignored"
            );
        }
        block
    };
    texts.iter().filter_map(block).collect()
}

/// Zero is the default, as the plugin has it.
fn table(said: Option<i64>) -> u32 {
    let said = said.filter(|table| *table != 0).unwrap_or(HOST_TABLE);
    // What is no table's number is refused by the plugin: there is no pod with it.
    u32::try_from(said).unwrap_or(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(table: i64) -> SpiderCoordinatorSpec {
        SpiderCoordinatorSpec { host_rule_table: Some(table), ..SpiderCoordinatorSpec::default() }
    }

    #[test]
    fn what_was_found_stays_until_something_else_is_found() {
        let mut said = Said::default();
        let mut says = |table: i64, phase: &str, services: &[&str]| {
            let status = SpiderCoordinatorStatus {
                phase: phase.to_owned(),
                service_cidr: services.iter().map(|text| (*text).to_owned()).collect(),
                ..SpiderCoordinatorStatus::default()
            };
            let changed = replace(&mut said, &spec(table), Some(status));
            (changed, said.table, said.services.as_ref().map(Vec::len))
        };
        assert_eq!(says(0, "NotReady", &[]), (false, 500, None), "the defaults");
        let services = ["10.96.0.0/12", "fd00:96::/112", "nonsense"];
        assert_eq!(says(600, "Synced", &services), (true, 600, Some(2)));
        assert_eq!(says(600, "NotReady", &[]), (false, 600, Some(2)));
        assert_eq!(says(600, "Synced", &[]), (true, 600, Some(0)), "there are none");
        assert!(!replace(&mut said, &spec(600), None));
    }
}
