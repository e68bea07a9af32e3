//! Clients that do to an agent what a kubelet, its runtime and the plugin do, the odd ways too.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::agents::Agent;
use crate::world::{Guest, PATIENCE, World};

/// The plugin's own patience.
const ADD: Duration = Duration::from_secs(100);
const DEL: Duration = Duration::from_secs(30);

/// One who starts and ends pods on a node, one after the other and always under the same name.
pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) agent: Arc<Agent>,
    /// The number of its node.
    pub(crate) at: usize,
    pub(crate) name: String,
}

/// How a pod's life goes.
#[derive(Clone, Copy)]
enum Life {
    /// Address, work, termination, DEL, gone.
    Plain,
    /// The runtime repeats its ADD.
    Repeated,
    /// The sandbox dies while the pod lives, and another is made.
    Restarted,
    /// The same, and the DEL of the first comes when the second is there already.
    RestartedLate,
    /// The plugin is killed while it waits for the answer, and the runtime tries again.
    Cancelled,
    /// The same, and the pod is deleted before anybody tries again.
    Abandoned,
    /// The pod is gone from the API before its DEL comes.
    Forced,
    /// The pod goes while its ADD is under way.
    Raced,
    /// The containers end well; the sandbox goes, and the pod later.
    Finished,
    /// The node forgets the pod: no DEL ever comes.
    Forgotten,
}

/// The share of each, in percent.
const LIVES: [(Life, u8); 10] = [
    (Life::Plain, 46),
    (Life::Repeated, 10),
    (Life::Restarted, 8),
    (Life::RestartedLate, 8),
    (Life::Cancelled, 8),
    (Life::Abandoned, 3),
    (Life::Forced, 8),
    (Life::Raced, 5),
    (Life::Finished, 2),
    (Life::Forgotten, 2),
];

impl Client {
    /// Lets pods come and go until there were enough.
    pub(crate) async fn work(self) {
        while self.world.tally.done() < self.world.tally.total && !self.world.is_broken() {
            let guest = self.world.create(&self.name, &self.agent.node, self.wish()).await;
            self.live(life(), &guest).await;
        }
    }

    /// Chooses pools: the node's, the shared ones, or one after the other; of one family, or of both.
    fn wish(&self) -> Vec<Vec<String>> {
        let own = |family: u8| format!("v{family}-own-{}", self.at);
        let shared = |family: u8| format!("v{family}-shared");
        match fastrand::u8(0..10) {
            0..3 => vec![vec![own(4)]],
            3..5 => vec![vec![own(4)], vec![own(6)]],
            5..7 => vec![vec![shared(4)]],
            7 => vec![vec![shared(4)], vec![shared(6)]],
            8 => vec![vec![own(6), shared(6)]],
            _ => vec![vec![own(4), shared(4)], vec![shared(6)]],
        }
    }

    async fn live(&self, life: Life, guest: &Guest) {
        let first = container();
        match life {
            Life::Plain | Life::Forced | Life::Finished | Life::Forgotten => {
                let container = self.add(guest, first).await;
                pause(150).await;
                match life {
                    Life::Forced => {
                        self.world.remove(guest).await;
                        self.del(guest, &container).await;
                        return;
                    }
                    Life::Forgotten => {
                        self.world.oracle().gives_up(&guest.uid);
                        self.world.remove(guest).await;
                        return;
                    }
                    Life::Finished => self.world.succeed(guest).await,
                    _ => self.world.terminate(guest).await,
                }
                self.del(guest, &container).await;
            }
            Life::Repeated => {
                let container = self.add(guest, first).await;
                pause(50).await;
                let container = self.add(guest, container).await;
                pause(50).await;
                self.world.terminate(guest).await;
                self.del(guest, &container).await;
            }
            Life::Restarted => {
                let former = self.add(guest, first).await;
                self.del(guest, &former).await;
                pause(50).await;
                let container = self.add(guest, container()).await;
                self.world.terminate(guest).await;
                self.del(guest, &container).await;
            }
            Life::RestartedLate => {
                let former = self.add(guest, first).await;
                let container = self.add(guest, container()).await;
                self.send_del(guest, &former).await;
                pause(50).await;
                self.world.terminate(guest).await;
                self.del(guest, &container).await;
            }
            Life::Cancelled => {
                self.cancel(guest, &first).await;
                let container = self.add(guest, first).await;
                pause(50).await;
                self.world.terminate(guest).await;
                self.del(guest, &container).await;
            }
            Life::Abandoned => {
                self.cancel(guest, &first).await;
                self.world.terminate(guest).await;
                if fastrand::bool() {
                    self.del(guest, &first).await;
                }
            }
            Life::Raced => {
                let add = self.try_add(guest, &first, ADD);
                let remove = async {
                    pause(20).await;
                    self.world.remove(guest).await;
                };
                // Whether it still got an address is all the same.
                let (_, ()) = tokio::join!(add, remove);
                self.del(guest, &first).await;
                return;
            }
        }
        self.world.remove(guest).await;
    }

    /// Asks for addresses until there are some, now and then with a new sandbox as kubelet does; returns the sandbox.
    async fn add(&self, guest: &Guest, mut sandbox: String) -> String {
        let end = Instant::now() + PATIENCE;
        while let Err(why) = self.try_add(guest, &sandbox, ADD).await {
            assert!(Instant::now() < end, "{} gets no address: {why}", guest.name);
            pause(500).await;
            if fastrand::u8(0..3) == 0 {
                self.del(guest, &sandbox).await;
                sandbox = container();
            }
        }
        sandbox
    }

    async fn try_add(&self, guest: &Guest, sandbox: &str, patience: Duration) -> Result<(), String> {
        let answer = self.agent.ask("POST", &request(guest, sandbox), patience).await;
        let tally = &self.world.tally;
        match answer {
            Ok(reply) => {
                self.world.oracle().answered(&guest.uid, &guest.wish, &addresses(&reply));
                tally.adds.add();
                Ok(())
            }
            Err(why) => {
                tally.failed(format!("ADD: {why}"));
                Err(why)
            }
        }
    }

    /// Asks and goes away, whatever the agent is at then.
    async fn cancel(&self, guest: &Guest, sandbox: &str) {
        let patience = Duration::from_micros(fastrand::u64(0..30_000));
        // An answer that comes in time is not read by anybody.
        let _ = self.agent.ask("POST", &request(guest, sandbox), patience).await;
        self.world.tally.cancelled.add();
    }

    /// Gives a sandbox's addresses back, now and then twice.
    async fn del(&self, guest: &Guest, sandbox: &str) {
        self.world.oracle().gives_up(&guest.uid);
        self.send_del(guest, sandbox).await;
        if fastrand::u8(0..8) == 0 {
            self.send_del(guest, sandbox).await;
        }
    }

    /// Tells that a sandbox is gone: when the agent does not answer, by the queue as our plugin, or again as upstream's.
    async fn send_del(&self, guest: &Guest, sandbox: &str) {
        let (tally, end) = (&self.world.tally, Instant::now() + PATIENCE);
        let mut request = request(guest, sandbox);
        for key in ["cleanGateway", "matchMasterSubnet"] {
            request.as_object_mut().expect("an object").remove(key);
        }
        if fastrand::u8(0..20) == 0 {
            // Some runtimes say none.
            request["podUID"] = json!("");
        }
        while let Err(why) = self.agent.ask("DELETE", &request, DEL).await {
            tally.failed(format!("DEL: {why}"));
            if fastrand::bool() {
                self.agent.leave(&request);
                tally.queued.add();
                return;
            }
            assert!(Instant::now() < end, "{}: its address is not taken back: {why}", guest.name);
            pause(500).await;
        }
        tally.dels.add();
    }
}

fn life() -> Life {
    let mut at = fastrand::u8(0..LIVES.iter().map(|(_, share)| share).sum());
    for (life, share) in LIVES {
        match at.checked_sub(share) {
            Some(rest) => at = rest,
            None => return life,
        }
    }
    Life::Plain
}

/// A sandbox's identifier, as runtimes make them.
fn container() -> String {
    format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..))
}

fn request(guest: &Guest, sandbox: &str) -> Value {
    json!({
        "containerID": sandbox, "ifName": "eth0", "netNamespace": "/var/run/netns/none",
        "podNamespace": "default", "podName": guest.name, "podUID": guest.uid,
        "cleanGateway": false, "matchMasterSubnet": false,
    })
}

fn addresses(reply: &Value) -> BTreeSet<IpAddr> {
    let ips = reply["ips"].as_array().expect("addresses");
    let address = |ip: &Value| -> Option<IpAddr> { ip["address"].as_str()?.split('/').next()?.parse().ok() };
    ips.iter().map(|ip| address(ip).expect("an address")).collect()
}

/// Waits for up to so many milliseconds.
async fn pause(most: u64) {
    sleep(Duration::from_millis(fastrand::u64(0..most))).await;
}
