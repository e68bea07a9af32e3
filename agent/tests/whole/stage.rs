//! A stage for one test: a namespace and nodes of its own in the shared cluster, pools, pods, and agents.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use api::{Allocation, SpiderEndpoint, SpiderEndpointStatus, SpiderIPPool, allocations, labels};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The namespace where pods and pools of a test are; also the prefix of all its other names.
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) dir: TempDir,
    net: u8,
    kubeconfig: PathBuf,
    /// Its own control plane, where it has one.
    plane: Option<Box<testbed::ControlPlane>>,
}

impl Stage {
    /// A namespace and the nodes `a` and `b`.
    pub(crate) async fn open() -> Self {
        let kubeconfig = tokio::task::spawn_blocking(|| {
            let cluster = testbed::shared();
            cluster.apply_crds().expect("the CRDs");
            cluster.kubeconfig().to_owned()
        });
        Self::on(kubeconfig.await.expect("a control plane"), None).await
    }

    /// As [`Stage::open`], on a control plane that no other test sees, for what is of a whole cluster.
    pub(crate) async fn on_a_plane_of_its_own() -> Self {
        let plane = tokio::task::spawn_blocking(|| {
            let plane = testbed::ControlPlane::start().expect("a control plane");
            plane.apply_crds().expect("the CRDs");
            Box::new(plane)
        });
        let plane = plane.await.expect("a control plane");
        Self::on(plane.kubeconfig().to_owned(), Some(plane)).await
    }

    async fn on(kubeconfig: PathBuf, plane: Option<Box<testbed::ControlPlane>>) -> Self {
        static NETS: AtomicU8 = AtomicU8::new(1);
        let net = NETS.fetch_add(1, Ordering::Relaxed);
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = client(&kubeconfig).await;
        let stage = Self {
            name: testbed::unique("agent"),
            client,
            dir: tempfile::tempdir().expect("a folder"),
            net,
            kubeconfig,
            plane,
        };
        let api: Api<Namespace> = Api::all(stage.client.clone());
        create(&api, json!({"metadata": {"name": stage.name}})).await;
        for letter in ["a", "b"] {
            let api: Api<Node> = Api::all(stage.client.clone());
            let name = stage.node(letter);
            create(&api, json!({"metadata": {"name": name, "labels": {"zone": letter}}})).await;
        }
        stage
    }

    pub(crate) fn node(&self, letter: &str) -> String {
        format!("{}-{letter}", self.name)
    }

    /// The name of a pool.
    pub(crate) fn pool_name(&self, short: &str) -> String {
        format!("{}-{short}", self.name)
    }

    /// An IPv4 address of the stage's own subnet number `subnet`.
    pub(crate) fn v4(&self, subnet: u8, host: u8) -> IpAddr {
        format!("10.{}.{subnet}.{host}", self.net).parse().expect("an address")
    }

    pub(crate) fn v6(&self, subnet: u8, host: u8) -> IpAddr {
        format!("fd00:{:x}:{subnet:x}::{host:x}", self.net).parse().expect("an address")
    }

    /// Creates a pool of the subnet's addresses from `first` to `last`, for one family, with what `more` says.
    pub(crate) async fn pool(
        &self,
        short: &str,
        version: u8,
        subnet: u8,
        hosts: (u8, u8),
        more: Value,
    ) -> String {
        let name = self.pool_name(short);
        let address = |host| if version == 4 { self.v4(subnet, host) } else { self.v6(subnet, host) };
        let (net, prefix) = (address(0), if version == 4 { 24 } else { 64 });
        let mut spec = json!({
            "ipVersion": version,
            "subnet": format!("{net}/{prefix}"),
            "ips": [format!("{}-{}", address(hosts.0), address(hosts.1))],
            "gateway": address(254),
        });
        merge(&mut spec, more);
        let annotations = spec.as_object_mut().and_then(|spec| spec.remove("annotations"));
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        let metadata = json!({"name": name, "labels": {"stage": self.name}, "annotations": annotations});
        create(&api, json!({"metadata": metadata, "spec": spec})).await;
        name
    }

    /// Creates a pool for one node, as the controller makes them.
    pub(crate) async fn node_pool(
        &self,
        short: &str,
        letter: &str,
        version: u8,
        subnet: u8,
        hosts: (u8, u8),
    ) -> String {
        let node = self.node(letter);
        let name =
            self.pool(short, version, subnet, hosts, json!({"nodeName": [node], "default": true})).await;
        let labels = json!({"metadata": {"labels": {
            labels::MANAGED_BY: labels::MANAGER, labels::NODE: labels::label_value(&node),
        }}});
        self.patch_pool(&name, labels).await;
        name
    }

    pub(crate) async fn patch_pool(&self, name: &str, patch: Value) {
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a patched pool");
    }

    /// Who holds what of a pool.
    pub(crate) async fn records(&self, pool: &str) -> BTreeMap<IpAddr, Allocation> {
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        let status = api.get(pool).await.expect("the pool").status.unwrap_or_default();
        let records = allocations(status.allocated_ips.as_deref()).expect("readable records");
        assert_eq!(status.allocated_ip_count.unwrap_or_default(), i64::try_from(records.len()).expect("few"));
        records
    }

    pub(crate) async fn is_empty_soon(&self, pool: &str) {
        eventually(&format!("pool {pool} is empty"), async || {
            self.records(pool).await.is_empty().then_some(())
        })
        .await;
    }

    /// Creates a pod that is bound to a node; returns it with its UID.
    pub(crate) async fn pod(&self, name: &str, letter: &str, more: Value) -> Guest {
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {
                "nodeName": self.node(letter),
                "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "c", "image": "busybox"}],
            },
        });
        merge(&mut pod, more);
        let pod = create(&self.pods(), pod).await;
        Guest { namespace: self.name.clone(), name: name.to_owned(), uid: pod.uid().expect("a UID") }
    }

    pub(crate) async fn annotated(&self, name: &str, letter: &str, annotations: Value) -> Guest {
        self.pod(name, letter, json!({"metadata": {"annotations": annotations}})).await
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Deletes a pod as `kubectl delete` does: with its grace period, during which the object stays.
    pub(crate) async fn delete(&self, pod: &Guest) {
        self.pods().delete(&pod.name, &DeleteParams::default()).await.expect("a deleted pod");
    }

    /// Deletes a pod at once, as kubelet does at the end of its grace period.
    pub(crate) async fn remove(&self, pod: &Guest) {
        let params = DeleteParams::default().grace_period(0);
        self.pods().delete(&pod.name, &params).await.expect("a deleted pod");
    }

    /// Writes a pod's phase, as kubelet does.
    pub(crate) async fn phase(&self, pod: &Guest, phase: &str) {
        let status = json!({"status": {"phase": phase}});
        self.pods()
            .patch_status(&pod.name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .expect("a pod's phase");
    }

    pub(crate) async fn endpoint(&self, name: &str) -> Option<SpiderEndpoint> {
        let api: Api<SpiderEndpoint> = Api::namespaced(self.client.clone(), &self.name);
        api.get_opt(name).await.expect("an answer")
    }

    /// Waits until the endpoint of a name says something that `look` looks for.
    pub(crate) async fn endpoint_says<T>(
        &self,
        name: &str,
        look: impl Fn(&SpiderEndpointStatus) -> Option<T>,
    ) -> T {
        eventually(&format!("the endpoint of {name} says so"), async || {
            self.endpoint(name).await.and_then(|endpoint| look(&endpoint.status?))
        })
        .await
    }

    pub(crate) async fn no_endpoint_soon(&self, name: &str) {
        eventually(&format!("{name} has no endpoint"), async || {
            self.endpoint(name).await.is_none().then_some(())
        })
        .await;
    }

    /// Lets the agents that start from now on be another user.
    pub(crate) fn as_user(&mut self, kubeconfig: &Path) {
        kubeconfig.clone_into(&mut self.kubeconfig);
    }

    /// Lets the agents that start from now on have the rights of `rbac.yaml` and no others.
    pub(crate) fn with_shipped_rights(&mut self) {
        // Only the names are the stage's own: the rules are the shipped ones.
        let rbac = include_str!("../../rbac.yaml")
            .replace("kube-system", &self.name)
            .replace("name: spiderpool-agent", &format!("name: {}", self.name));
        let cluster: &testbed::Cluster = match &self.plane {
            Some(plane) => plane,
            None => testbed::shared(),
        };
        cluster.kubectl_with(&["apply", "-f", "-"], &rbac).expect("rights");
        let account = format!("system:serviceaccount:{0}:{0}", self.name);
        cluster.wait_granted(&account, &[&["list", "spiderippools"]]).expect("rights that count");
        let kubeconfig = cluster.kubeconfig_for(&account, None).expect("a kubeconfig");
        self.as_user(&kubeconfig);
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Starts the agent of a node and waits until it serves.
    pub(crate) async fn agent(&self, letter: &str) -> Agent {
        let agent = self.launch(letter, "addressRestSeconds: 1\n");
        agent.serves().await;
        agent
    }

    /// Starts the agent of a node with this configuration file.
    pub(crate) fn launch(&self, letter: &str, config: &str) -> Agent {
        self.launch_with(letter, config, &[])
    }

    /// Starts the agent of a node with this configuration file and these variables.
    pub(crate) fn launch_with(&self, letter: &str, config: &str, environment: &[(&str, &str)]) -> Agent {
        let agent = Command::new(env!("CARGO_BIN_EXE_spiderpool-agent"));
        self.launch_as(agent, letter, config, environment, &[])
    }

    /// Starts the agent of a node, on which it is, to look after that node's network and what is in the stage's folder `netns`.
    pub(crate) fn launch_on(&self, letter: &str, node: &Path) -> Agent {
        let agent = Command::new(env!("CARGO_BIN_EXE_spiderpool-agent"));
        self.launch_beside(agent, letter, node)
    }

    /// The same by a program that starts the agent.
    pub(crate) fn launch_beside(&self, by: Command, letter: &str, node: &Path) -> Agent {
        let flags = [
            format!("--node-network={}", node.display()),
            format!("--netns-dir={}", self.netns()),
            format!("--ifacer-dir={}", self.dir.path().join("ifacer").display()),
        ];
        self.launch_as(by, letter, "addressRestSeconds: 1\n", &[], &flags)
    }

    /// Where the runtime keeps the network namespaces of pods.
    pub(crate) fn netns(&self) -> String {
        self.dir.path().join("netns").display().to_string()
    }

    fn launch_as(
        &self,
        mut command: Command,
        letter: &str,
        config: &str,
        environment: &[(&str, &str)],
        flags: &[String],
    ) -> Agent {
        let file = |suffix: &str| self.dir.path().join(format!("{letter}{suffix}"));
        let log = self.dir.path().join(format!("{}.log", testbed::unique("log")));
        std::fs::write(file(".yml"), config).expect("a configuration file");
        command
            .args(["--listen", "127.0.0.1:0", "--log", "info,agent=debug", "--node-name", &self.node(letter)])
            .args(["--namespace", &self.name])
            .arg("--socket")
            .arg(file(".sock"))
            .arg("--config")
            .arg(file(".yml"))
            .arg("--del-queue")
            .arg(file(".del"))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(flags)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"));
        Agent { child: command.spawn().expect("an agent"), socket: file(".sock"), queue: file(".del"), log }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.plane.is_some() {
            return;
        }
        let (selector, namespace) = (format!("stage={}", self.name), self.name.clone());
        let nodes = [self.node("a"), self.node("b")];
        let kubectl = |args: &[&str]| {
            // The cluster is shared: what is left behind would be other tests' foreign objects.
            let _ = testbed::shared().kubectl(args);
        };
        kubectl(&["delete", "spiderippools", "-l", &selector, "--wait=false"]);
        kubectl(&["delete", "nodes", &nodes[0], &nodes[1], "--wait=false"]);
        kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    }
}

/// A pod as its runtime knows it.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Guest {
    /// What the plugin says of one interface of one sandbox.
    pub(crate) fn request(&self, container: &str, nic: &str) -> Value {
        json!({
            "containerID": container,
            "ifName": nic,
            "netNamespace": "/var/run/netns/none",
            "podNamespace": self.namespace,
            "podName": self.name,
            "podUID": self.uid,
            "cleanGateway": false,
            "matchMasterSubnet": false,
        })
    }
}

/// A running agent. Dropping it kills it.
pub(crate) struct Agent {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
    pub(crate) queue: PathBuf,
    log: PathBuf,
}

impl Agent {
    pub(crate) async fn serves(&self) {
        eventually("the agent serves", async || {
            let answered = self.try_call("GET", "/v1/ipam/healthy", None).await;
            answered.is_some_and(|(status, _)| status == 200).then_some(())
        })
        .await;
    }

    /// Sends a request and returns the answer's status and body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.try_call(method, path, body).await.expect("an answer")
    }

    async fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        self.raw(format!("{head}{body}").as_bytes()).await
    }

    /// Sends bytes, and returns the answer's status and body.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Option<(u16, Value)> {
        let mut stream = UnixStream::connect(&self.socket).await.ok()?;
        stream.write_all(bytes).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).unwrap_or_else(|_| json!(body))
        };
        Some((status, body))
    }

    /// Asks for addresses, and returns the reply.
    pub(crate) async fn add(&self, pod: &Guest, container: &str, nic: &str) -> Value {
        let (status, reply) = self.call("POST", "/v1/ipam/ip", Some(&pod.request(container, nic))).await;
        assert_eq!(status, 200, "{reply}");
        reply
    }

    /// Asks for addresses, and returns them in the order of the reply.
    pub(crate) async fn addresses(&self, pod: &Guest, container: &str, nic: &str) -> Vec<IpAddr> {
        let reply = self.add(pod, container, nic).await;
        let ips = reply["ips"].as_array().expect("addresses");
        let address = |ip: &Value| ip["address"].as_str()?.split('/').next()?.parse().ok();
        ips.iter().map(|ip| address(ip).expect("an address")).collect()
    }

    /// Asks for addresses, and returns the only one.
    pub(crate) async fn address(&self, pod: &Guest, container: &str, nic: &str) -> IpAddr {
        let addresses = self.addresses(pod, container, nic).await;
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        addresses[0]
    }

    /// Asks for addresses that are not given, and returns the sentence.
    pub(crate) async fn refused(&self, pod: &Guest, container: &str, nic: &str) -> String {
        let (status, reply) = self.call("POST", "/v1/ipam/ip", Some(&pod.request(container, nic))).await;
        assert_eq!(status, 500, "{reply}");
        reply.as_str().expect("a sentence").to_owned()
    }

    pub(crate) async fn del(&self, pod: &Guest, container: &str, nic: &str) {
        let (status, reply) = self.call("DELETE", "/v1/ipam/ip", Some(&pod.request(container, nic))).await;
        assert_eq!((status, reply), (200, Value::Null));
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    /// Waits for a line of the log that contains `text`, and returns it.
    pub(crate) async fn says(&self, text: &str) -> String {
        eventually(&format!("the log says {text:?}"), async || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }

    /// Asks on the TCP side.
    pub(crate) async fn get(&self, path: &str) -> String {
        let line = self.says("\"listening\"").await;
        let line: Value = serde_json::from_str(&line).expect("a line of JSON");
        let address = line["address"].as_str().expect("an address");
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("a listening agent");
        let request = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().expect("kill").success());
    }

    /// Waits for its end and returns its exit status; -1: by a signal.
    pub(crate) async fn ended(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- the agent's log ends with");
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a valid one");
    Client::try_from(config).expect("a client")
}

pub(crate) async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object = serde_json::from_value(object).expect("an object of its kind");
    api.create(&PostParams::default(), &object).await.expect("a created object")
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

/// Puts the keys of one object into another.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
