//! A namespace of one test, with its pods.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Output, Plugins, unique};

use crate::pod::{Draft, Pod};
use crate::stage::{PATIENCE, Stage};

/// Where the probe of every pod answers HTTP.
pub(crate) const PORT: u16 = 8080;

/// A namespace: with its pods gone at the latest on drop.
pub(crate) struct Space<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) name: String,
}

impl<'a> Space<'a> {
    pub(crate) fn new(stage: &'a Stage, name: &str) -> Self {
        let name = unique(name);
        stage.kubectl(&["create", "namespace", &name]);
        let account = ["get", "serviceaccount", "default", "-n", &name, "-o", "name"];
        stage.eventually("the namespace has its account", || stage.kubectl_now(&account));
        Self { stage, name }
    }

    /// Creates pods, and does not wait for them.
    pub(crate) fn create(&self, drafts: &[Draft]) {
        let pods: Vec<Value> = drafts.iter().map(|draft| draft.manifest(&self.name)).collect();
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": pods}));
    }

    pub(crate) fn apply(&self, object: &Value) {
        self.stage.nodes.plane().kubectl_with(&["create", "-f", "-"], &object.to_string()).unwrap();
    }

    /// Creates pods and waits until all run; returns them in the same order.
    pub(crate) fn run<const N: usize>(&self, drafts: [Draft; N]) -> [Pod; N] {
        self.create(&drafts);
        drafts.map(|draft| self.running(&draft.name))
    }

    pub(crate) fn pods(&self) -> Vec<Pod> {
        self.stage.get(&format!("/api/v1/namespaces/{}/pods", self.name)).iter().map(Pod::read).collect()
    }

    pub(crate) fn pod(&self, name: &str) -> Option<Pod> {
        self.pods().into_iter().find(|pod| pod.name == name)
    }

    /// Waits until a pod runs, its addresses are known, and its probe answers.
    pub(crate) fn running(&self, name: &str) -> Pod {
        let pod = self.stage.eventually(&format!("{name} runs"), || match self.pod(name) {
            Some(pod) if pod.phase == "Running" && !pod.ips.is_empty() => Ok(pod),
            Some(pod) => Err(format!("it is {} with {:?}", pod.phase, pod.ips)),
            None => Err("it is not there".to_owned()),
        });
        self.serving(name, PORT);
        pod
    }

    /// Waits until a pod's web server answers in the pod itself.
    pub(crate) fn serving(&self, pod: &str, port: u16) {
        self.stage
            .eventually(&format!("{pod} serves"), || self.ask(pod, &format!("http://127.0.0.1:{port}/"), 5));
    }

    /// Waits until all pods run, however one learns of them.
    pub(crate) fn all_running(
        &self,
        count: usize,
        patience: Duration,
        learn: impl Fn() -> Vec<Pod>,
    ) -> Vec<Pod> {
        self.stage.within(patience, &format!("{count} pods run"), || {
            let pods = learn();
            let running = pods.iter().filter(|pod| pod.phase == "Running" && !pod.ips.is_empty()).count();
            if running == count { Ok(pods) } else { Err(format!("{running} do")) }
        })
    }

    pub(crate) fn delete(&self, pods: &[&str]) {
        let args = ["delete", "pods", "-n", &self.name, "--wait=false"];
        self.stage.kubectl(&[&args, pods].concat());
    }

    /// Deletes what is left, and waits until the pods are gone and none of their addresses is held.
    pub(crate) fn clear(&self, patience: Duration) {
        self.stage.kubectl(&["delete", "pods", "--all", "-n", &self.name, "--wait=false"]);
        self.all_gone(patience, || self.pods());
    }

    /// Waits until the pods are gone and none of their addresses is held.
    pub(crate) fn all_gone(&self, patience: Duration, learn: impl Fn() -> Vec<Pod>) {
        self.stage.within(patience, "all pods are gone", || match learn().len() {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        });
        self.stage.within(PATIENCE, "none of the pods' addresses is held", || match self.held() {
            held if held.is_empty() => Ok(()),
            held => Err(format!("{held:?}")),
        });
    }

    /// The addresses that the pools' records say this namespace's pods hold.
    pub(crate) fn held(&self) -> Vec<(IpAddr, String)> {
        let records = self.stage.pools().into_iter().flat_map(|pool| pool.held);
        let ours = records.filter(|record| record.pod.starts_with(&format!("{}/", self.name)));
        ours.map(|record| (record.address, record.pod)).collect()
    }

    /// Runs a command in a pod.
    pub(crate) fn exec(&self, pod: &str, command: &[&str]) -> Result<String, String> {
        let args = ["exec", "-n", &self.name, pod, "--"];
        self.stage.kubectl_now(&[&args, command].concat())
    }

    /// Runs the probe in a pod's network namespace; fails with what it says then.
    pub(crate) fn probe(&self, pod: &str, arguments: &[&str]) -> Result<String, String> {
        let found = self.pod(pod).ok_or("it is not there")?;
        let program = Plugins::ensure().unwrap().probe();
        let quoted = arguments.iter().fold(String::new(), |all, argument| all + " '" + argument + "'");
        let command = format!("'{}'{quoted}", program.display());
        let output = self.stage.guest(&found.node).run_in_pod(&found.uid, &command);
        let Output { status, stdout, stderr } = output.map_err(|error| error.to_string())?;
        if status == 0 { Ok(stdout) } else { Err(stderr) }
    }

    /// Asks a web server from a pod, from a given address of it if that matters.
    pub(crate) fn ask(&self, pod: &str, target: &str, seconds: u32) -> Result<Value, String> {
        let text = self.probe(pod, &["get", "--timeout", &format!("{seconds}s"), target])?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Makes sure that packets come and go: `from` reaches the address of `to`, which sees it as `source`.
    pub(crate) fn reaches(&self, from: &Pod, source: IpAddr, to: &Pod, address: IpAddr) {
        let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        let target = format!("http://{host}:{PORT}/");
        let answer = self.ask(&from.name, &target, 20).unwrap_or_else(|error| {
            panic!("{} does not reach {} at {target}: {error}\n{}", from.name, to.name, self.stage.logs())
        });
        let seen = answer["answer"]["source"].as_str().unwrap_or_default();
        let seen = seen.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']'])).unwrap_or_default();
        assert_eq!(seen, source.to_string(), "{} at {target}: {answer}", from.name);
        assert_eq!(answer["answer"]["hostname"], to.name.as_str(), "{target}");
    }

    /// Asks the world as whom it sees the pod.
    pub(crate) fn seen_by(&self, pod: &Pod, world: IpAddr) -> String {
        let host = if world.is_ipv6() { format!("[{world}]") } else { world.to_string() };
        let answer = self.ask(&pod.name, &format!("http://{host}/"), 20).unwrap_or_else(|error| {
            panic!("{} does not reach {world}: {error}\n{}", pod.name, self.stage.logs())
        });
        answer["answer"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        drop(self.stage.kubectl_now(&["delete", "namespace", &self.name, "--wait=false"]));
    }
}
