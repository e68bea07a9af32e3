//! An observer that trusts nobody: it follows pods and pools as the API shows them, and notes whatever must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use testbed::{Programs, Signal, spawn_tied};

use crate::pod::Pod;
use crate::stage::{Pool, Record, Stage};

/// Follows the cluster until it is dropped.
pub(crate) struct Oracle {
    watches: Vec<Child>,
    seen: Arc<Mutex<Seen>>,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    /// Pods by UID.
    pods: BTreeMap<String, Pod>,
    /// The record of each address, by address; an address is in one pool only.
    records: BTreeMap<IpAddr, (String, Record)>,
    wrongs: Vec<String>,
    /// Every pod that ever held each address.
    holders: BTreeMap<IpAddr, BTreeSet<String>>,
    most: usize,
}

impl Oracle {
    pub(crate) fn start(stage: &Stage) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let watches = [("pods", Seen::pod as fn(&mut Seen, &str, &Value)), ("spiderippools", Seen::pool)];
        let watches = watches.map(|(kind, note)| {
            let mut child = watch(stage, kind);
            let (stdout, seen) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&seen));
            thread::spawn(move || {
                let events = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
                for event in events.map_while(Result::ok) {
                    let kind = event["type"].as_str().unwrap_or_default();
                    note(&mut seen.lock().unwrap(), kind, &event["object"]);
                }
            });
            child
        });
        Self { watches: watches.into(), seen }
    }

    /// What must not be, and was.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.seen.lock().unwrap().wrongs.clone()
    }

    /// The pods of a namespace, as far as their watch has told.
    pub(crate) fn pods(&self, namespace: &str) -> Vec<Pod> {
        let seen = self.seen.lock().unwrap();
        seen.pods.values().filter(|pod| pod.namespace == namespace).cloned().collect()
    }

    /// The most addresses that were held at one moment, and how many different pods have held any.
    pub(crate) fn extent(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap();
        let pods: BTreeSet<&String> = seen.holders.values().flatten().collect();
        (seen.most, pods.len())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        for watch in &mut self.watches {
            drop(watch.kill());
            drop(watch.wait());
        }
    }
}

fn watch(stage: &Stage, kind: &str) -> Child {
    let programs = Programs::ensure().unwrap();
    let (_, kubectl) = programs.paths().into_iter().find(|(name, _)| *name == "kubectl").unwrap();
    let plane = stage.nodes.plane();
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(plane.kubeconfig());
    command.args(["get", kind, "--all-namespaces", "--watch", "--output-watch-events", "-o", "json"]);
    command.env("KUBECACHEDIR", plane.folder().join("oracle-cache"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    spawn_tied(command, Signal::KILL).unwrap()
}

impl Seen {
    fn pod(&mut self, kind: &str, object: &Value) {
        let pod = Pod::read(object);
        if kind == "DELETED" {
            self.pods.remove(&pod.uid);
            return;
        }
        if uses(&pod) {
            let others = self.pods.values().filter(|other| other.uid != pod.uid && uses(other));
            for other in others {
                if let Some(address) = pod.ips.iter().find(|address| other.ips.contains(address)) {
                    let wrong = format!("{address} is used by {} and by {}", name(&pod), name(other));
                    self.wrongs.push(wrong);
                }
            }
            for address in &pod.ips {
                self.holders.entry(*address).or_default().insert(pod.uid.clone());
            }
        }
        self.pods.insert(pod.uid.clone(), pod);
    }

    fn pool(&mut self, kind: &str, object: &Value) {
        let pool = Pool::read(object);
        let gone = kind == "DELETED";
        self.records.retain(|address, (of, _)| {
            *of != pool.name || !gone && pool.held.iter().any(|it| it.address == *address)
        });
        for record in pool.held {
            if let Some((of, before)) = self.records.get(&record.address) {
                if *of != pool.name {
                    self.wrongs.push(format!("{} is held in {of} and in {}", record.address, pool.name));
                } else if before.uid != record.uid {
                    // Between two pods an address rests, so there is a version of the pool in which nobody has it.
                    self.wrongs.push(format!(
                        "{} went from {} to {} in one step",
                        record.address, before.pod, record.pod
                    ));
                }
            }
            let user = self.pods.values().find(|pod| uses(pod) && pod.ips.contains(&record.address));
            if let Some(user) = user.filter(|user| user.uid != record.uid) {
                self.wrongs.push(format!(
                    "{} was given to {} while {} used it",
                    record.address,
                    record.pod,
                    name(user)
                ));
            }
            self.holders.entry(record.address).or_default().insert(record.uid.clone());
            self.records.insert(record.address, (pool.name.clone(), record));
        }
        self.most = self.most.max(self.records.len());
    }
}

/// Whether a pod's processes can send: it has addresses, and a container that has not ended.
fn uses(pod: &Pod) -> bool {
    pod.runs && !pod.ips.is_empty()
}

fn name(pod: &Pod) -> String {
    format!("{}/{} ({})", pod.namespace, pod.name, pod.uid)
}
