//! A stage for one test: a cloud of its own, nodes and names of its own in the shared cluster, and the controller.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use api::{SpiderIPPool, SpiderMultusConfig, SpiderNode, labels};
use ipnet::{Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use tempfile::TempDir;
use testbed::aliyun::{KEY, NicSpec, SECRET, Simulator};

/// The label that selects a stage's nodes.
const STAGE: &str = "test.spidernet.io/stage";

/// How often the controller lists the cloud: the shortest that the configuration takes.
pub(crate) const RESYNC: Duration = Duration::from_secs(1);

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) sim: Simulator,
    pub(crate) client: Client,
    pub(crate) dir: TempDir,
    net: u8,
    kubeconfig: PathBuf,
    secret: &'static str,
}

impl Stage {
    /// A VPC with two vSwitches, dual stack, and no node.
    pub(crate) async fn empty() -> Self {
        let kubeconfig = tokio::task::spawn_blocking(|| {
            let cluster = testbed::shared();
            cluster.apply_crds().unwrap();
            cluster.kubeconfig().to_owned()
        })
        .await
        .unwrap();
        Self::on(kubeconfig).await
    }

    /// As [`Stage::empty`], on a control plane that no other test sees.
    pub(crate) async fn on_a_plane_of_its_own() -> (Self, testbed::ControlPlane) {
        let plane = tokio::task::spawn_blocking(|| {
            let plane = testbed::ControlPlane::start().unwrap();
            plane.apply_crds().unwrap();
            plane
        })
        .await
        .unwrap();
        (Self::on(plane.kubeconfig().to_owned()).await, plane)
    }

    async fn on(kubeconfig: PathBuf) -> Self {
        static NETS: AtomicU8 = AtomicU8::new(64);
        let net = NETS.fetch_add(1, Ordering::Relaxed);
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = client(&kubeconfig).await;
        let sim = Simulator::start().await.unwrap();
        sim.edit(|cloud| {
            cloud.add_key(KEY, SECRET);
            let (v4, v6) =
                (Ipv4Addr::new(10, net, 0, 0), Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, 0));
            cloud.add_vpc("vpc-1", Ipv4Net::new_assert(v4, 16), Some(Ipv6Net::new_assert(v6, 56)));
            for (n, prefix) in [(0u8, 20), (1, 24)] {
                let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, net, n * 16, 0), prefix);
                let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, net.into(), 0, n.into(), 0, 0, 0, 0), 64);
                cloud.add_vswitch(format!("vsw-{n}"), "vpc-1", "cn-hangzhou-i", v4, Some(v6));
            }
        });
        let name = testbed::unique("stage");
        let dir = tempfile::tempdir().unwrap();
        let stage = Self { name, sim, client, dir, net, kubeconfig, secret: SECRET };
        stage.configure("");
        stage
    }

    /// Two nodes, `a` and `b`, two NICs each, five IPv4 and two IPv6 addresses a NIC.
    pub(crate) async fn two_nodes() -> Self {
        let stage = Self::empty().await;
        stage.with_two_nodes().await;
        stage
    }

    /// Adds the two nodes.
    pub(crate) async fn with_two_nodes(&self) {
        for (at, letter) in ["a", "b"].into_iter().enumerate() {
            self.instance(letter, u8::try_from(at).unwrap());
            self.node(letter, Some(letter)).await;
        }
    }

    /// Creates an instance with two NICs; `place` keeps its addresses apart from those of others.
    pub(crate) fn instance(&self, letter: &str, place: u8) {
        let instance = self.instance_id(letter);
        self.sim
            .edit(|cloud| {
                cloud.add_instance(&instance, self.node_name(letter), "ecs.g7.xlarge", "vsw-0")?;
                for nic in 0..2u8 {
                    let (id, switch) = (self.nic_id(letter, nic), format!("vsw-{nic}"));
                    let spec = if nic == 0 {
                        NicSpec::primary(id, switch)
                    } else {
                        NicSpec::secondary(id, switch).device_index(Some(1))
                    };
                    let IpAddr::V4(own) = self.v4(nic, place * 10 + 10) else { unreachable!() };
                    let ips = (1..=5).map(|n| self.v4(nic, place * 10 + 10 + n));
                    let ips = ips.chain((1..=2).map(|n| self.v6(nic, u16::from(place) * 16 + n)));
                    cloud.attach(&instance, spec.primary_ip(own).ips(ips))?;
                }
                Ok::<_, testbed::aliyun::Refusal>(())
            })
            .unwrap();
    }

    /// Creates a Node object for an instance.
    pub(crate) async fn node(&self, letter: &str, instance: Option<&str>) {
        let provider_id = instance.map(|letter| format!("cn-hangzhou.{}", self.instance_id(letter)));
        self.node_named(&self.node_name(letter), provider_id, letter).await;
    }

    pub(crate) async fn node_named(&self, name: &str, provider_id: Option<String>, letter: &str) {
        let api: Api<Node> = Api::all(self.client.clone());
        let place = letter.bytes().next().unwrap() - b'a';
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {STAGE: self.name}},
            "spec": {"providerID": provider_id},
        });
        api.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        let status = json!({"status": {"addresses": [
            {"type": "InternalIP", "address": self.v4(0, place * 10 + 10)},
            {"type": "Hostname", "address": name},
        ]}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }

    pub(crate) async fn delete_node(&self, letter: &str) {
        let api: Api<Node> = Api::all(self.client.clone());
        api.delete(&self.node_name(letter), &DeleteParams::default()).await.unwrap();
    }

    pub(crate) fn node_name(&self, letter: &str) -> String {
        format!("{}-{letter}", self.name)
    }

    pub(crate) fn instance_id(&self, letter: &str) -> String {
        format!("i-{}{letter}", self.name.replace('-', ""))
    }

    pub(crate) fn nic_id(&self, letter: &str, nic: u8) -> String {
        format!("eni-{}{letter}{nic}", self.name.replace('-', ""))
    }

    pub(crate) fn v4(&self, switch: u8, host: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, self.net, switch * 16, host))
    }

    pub(crate) fn v6(&self, switch: u8, host: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0xfd00, self.net.into(), 0, switch.into(), 0, 0, 0, host))
    }

    /// Writes the configuration: the simulated cloud, and what `more` adds at the top level.
    pub(crate) fn configure(&self, more: &str) {
        let text = self.config(more);
        std::fs::write(self.config_path(), text).unwrap();
    }

    pub(crate) fn config(&self, more: &str) -> String {
        let name = &self.name;
        let endpoints = self.sim.endpoints();
        format!(
            "resync: 1s\nnodeSelector: {STAGE}={name}\njoinWindow: 100ms\n{more}\nproviders:\n  - name: {name}\n    \
             type: aliyun\n    region: cn-hangzhou\n    vpcID: vpc-1\n    endpoints: {{ecs: \"{}\", vpc: \"{}\", \
             sts: \"{}\", metadata: \"{}\"}}\n    multusName: {name}/ipvlan-{{interface}}\n",
            endpoints.ecs, endpoints.vpc, endpoints.sts, endpoints.metadata
        )
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.path().join("cloud.yaml")
    }

    /// Lets the controllers that start from now on sign with another secret.
    pub(crate) fn wrong_secret(&mut self) -> &'static str {
        self.secret = "not-the-secret-at-all";
        self.secret
    }

    /// Lets the controllers that start from now on be another user.
    pub(crate) fn as_user(&mut self, kubeconfig: &Path) {
        kubeconfig.clone_into(&mut self.kubeconfig);
    }

    /// Starts a controller; it elects itself in a namespace of the stage's own unless another of the stage runs.
    pub(crate) fn controller(&self) -> Controller {
        self.controller_with(&[])
    }

    /// As [`Stage::controller`], with further arguments.
    pub(crate) fn controller_with(&self, more: &[&str]) -> Controller {
        let log = self.dir.path().join(format!("{}.log", testbed::unique("log")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_spiderpool-controller"));
        command
            .args(["--listen", "127.0.0.1:0", "--log", "info,controller=debug", "--config"])
            .arg(self.config_path())
            // The cluster is shared: each stage's controller leaves the attachments and coordinators of others
            // alone.
            .args([
                "--namespace",
                &self.name,
                "--attachment-namespaces",
                &self.name,
                "--coordinator",
                &self.name,
            ])
            .args(more)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY)
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", self.secret)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        Controller { child: command.spawn().unwrap(), log }
    }

    /// Makes the namespace that the lease lives in.
    pub(crate) async fn namespace(&self) {
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}});
        api.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    }

    /// The namespace, and one controller that leads.
    pub(crate) async fn play(&self) -> Controller {
        self.namespace().await;
        self.controller()
    }

    /// The pools that the stage's provider generated, by name.
    pub(crate) async fn pools(&self) -> BTreeMap<String, SpiderIPPool> {
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        let params = ListParams::default().labels(&format!("{}={}", labels::PROVIDER, self.name));
        let list = api.list(&params).await.unwrap();
        list.items.into_iter().map(|pool| (pool.name_any(), pool)).collect()
    }

    /// The pool of one NIC and family.
    pub(crate) async fn pool(&self, letter: &str, nic: u8, family: &str) -> Option<SpiderIPPool> {
        let nic = self.nic_id(letter, nic);
        self.pools().await.into_values().find(|pool| {
            pool.annotations().get(labels::NIC_ID) == Some(&nic) && pool.labels()[labels::FAMILY] == family
        })
    }

    /// What the IPv4 pool of a NIC lists and excludes.
    pub(crate) async fn says(&self, letter: &str, nic: u8) -> (Vec<String>, Vec<String>) {
        let pool = self.pool(letter, nic, "v4").await;
        pool.map(|pool| (pool.spec.ips, pool.spec.exclude_ips)).unwrap_or_default()
    }

    pub(crate) async fn multus(&self, interface: &str) -> Option<SpiderMultusConfig> {
        let api: Api<SpiderMultusConfig> = Api::namespaced(self.client.clone(), &self.name);
        api.get_opt(&format!("ipvlan-{interface}")).await.unwrap()
    }

    /// A condition of a node: status, reason and message.
    pub(crate) async fn condition(&self, node: &str, kind: &str) -> Option<(String, String, String)> {
        let api: Api<SpiderNode> = Api::all(self.client.clone());
        let status = api.get_opt(node).await.unwrap()?.status?;
        let condition = status.conditions.into_iter().find(|c| c.type_ == kind)?;
        Some((condition.status, condition.reason, condition.message))
    }

    /// Waits until a node's condition has this status, and returns its message.
    pub(crate) async fn until(&self, letter: &str, kind: &str, status: &str) -> String {
        let node = self.node_name(letter);
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.condition(&node, kind).await;
            if let Some((now, _, message)) = &last
                && now == status
            {
                return message.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{kind} of {node} is not {status}: {last:?}");
    }

    /// Waits until every node of `letters` is synced.
    pub(crate) async fn synced(&self, letters: &[&str]) {
        for letter in letters {
            self.until(letter, "Synced", "True").await;
        }
    }

    /// Marks addresses of a pool as held by a pod, as the agent does.
    pub(crate) async fn allocate(&self, pool: &str, held: &[IpAddr]) {
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        let map: BTreeMap<String, _> = held
            .iter()
            .map(|ip| (ip.to_string(), json!({"pod": "default/web-0", "podUid": "6c1a8f0e"})))
            .collect();
        let text = (!map.is_empty()).then(|| serde_json::to_string(&map).unwrap());
        let status = json!({"status": {"allocatedIPs": text, "allocatedIPCount": held.len()}});
        api.patch_status(pool, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }

    /// Waits until the cloud was listed so many more times.
    pub(crate) async fn listings(&self, more: u64) {
        let goal = self.sim.calls().of("DescribeNetworkInterfaces") + more;
        eventually("the cloud is listed again", async || {
            (self.sim.calls().of("DescribeNetworkInterfaces") >= goal).then_some(())
        })
        .await;
        // The last of them still has to be answered, planned and applied.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let selector = format!("{STAGE}={}", self.name);
        let provider = format!("{}={}", labels::PROVIDER, self.name);
        // The cluster is shared: what is left behind would be other tests' foreign objects.
        let _ = testbed::shared().kubectl(&["delete", "nodes", "-l", &selector, "--wait=false"]);
        let _ = testbed::shared().kubectl(&["delete", "spiderippools", "-l", &provider, "--wait=false"]);
    }
}

pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Waits until `look` sees something.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A running controller. Dropping it kills it.
pub(crate) struct Controller {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Controller {
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a line of the log that contains `text`, and returns it.
    pub(crate) async fn says(&self, text: &str) -> String {
        eventually(&format!("the log says {text:?}"), async || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let line = self.says("\"listening\"").await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let mut stream = TcpStream::connect(line["address"].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// The sum of a counter over its labels.
    pub(crate) async fn counter(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end and returns its exit status.
    pub(crate) async fn ended(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- the controller's log ends with");
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}
