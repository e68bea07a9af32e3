//! A control plane of its own, a simulated cloud, and the controller as a process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::SpiderIPPool;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Config};
use serde_json::json;
use tempfile::TempDir;
use testbed::ControlPlane;
use testbed::aliyun::{Budget, KEY, SECRET, Simulator, Topology};

/// Longest wait for anything that a bench waits for.
const PATIENCE: Duration = Duration::from_mins(8);

pub(crate) struct Stage {
    pub(crate) plane: ControlPlane,
    pub(crate) sim: Simulator,
    pub(crate) client: Client,
    vpc: String,
    dir: TempDir,
}

impl Stage {
    /// A control plane with our CRDs, the cloud, and a Node for every instance.
    pub(crate) async fn new(topology: Topology) -> Self {
        let plane = tokio::task::spawn_blocking(|| {
            let plane = ControlPlane::start().unwrap();
            plane.apply_crds().unwrap();
            plane
        })
        .await
        .unwrap();
        let kubeconfig = kube::config::Kubeconfig::read_from(plane.kubeconfig()).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let client =
            Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap()).unwrap();
        let (vpc, nodes) = (topology.vpc().to_owned(), topology.nodes());
        let sim = Simulator::start().await.unwrap();
        sim.edit(|cloud| {
            // The number of calls is asserted; how long the cloud would make us wait is not what is measured here.
            cloud.throttle.set_all(Budget::Unlimited);
            topology.build(cloud)
        })
        .unwrap();
        let stage = Self { plane, sim, client, vpc, dir: tempfile::tempdir().unwrap() };
        stage.join(nodes).await;
        stage
    }

    /// Creates Nodes, 32 at once: name and provider id of each.
    pub(crate) async fn join(&self, nodes: Vec<(String, String)>) {
        let api: Api<Node> = Api::all(self.client.clone());
        let created = nodes.into_iter().map(async |(name, provider_id)| {
            let node = json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name}, "spec": {"providerID": provider_id},
            });
            api.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        });
        stream::iter(created).buffer_unordered(32).collect::<Vec<()>>().await;
    }

    /// Starts the controller with this much time between two listings.
    pub(crate) fn controller(&self, resync: &str) -> Controller {
        let config = self.dir.path().join("cloud.yaml");
        let endpoints = self.sim.endpoints();
        let text = format!(
            "resync: {resync}\nproviders:\n  - name: hz\n    type: aliyun\n    region: cn-hangzhou\n    vpcID: {}\n    \
             endpoints: {{ecs: \"{}\", vpc: \"{}\", sts: \"{}\", metadata: \"{}\"}}\n    \
             multusName: default/ipvlan-{{interface}}\n",
            self.vpc, endpoints.ecs, endpoints.vpc, endpoints.sts, endpoints.metadata
        );
        std::fs::write(&config, text).unwrap();
        let log = self.dir.path().join(format!("{}.log", testbed::unique("controller")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_spiderpool-controller"));
        command
            .args(["--listen", "127.0.0.1:0", "--namespace", "default", "--config"])
            .arg(&config)
            .env("KUBECONFIG", self.plane.kubeconfig())
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY)
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        Controller { begun: Instant::now(), child: command.spawn().unwrap(), log }
    }

    /// How many pools the API server holds, without reading them.
    pub(crate) async fn pools(&self) -> usize {
        let api: Api<SpiderIPPool> = Api::all(self.client.clone());
        let list = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
        let more = usize::try_from(list.metadata.remaining_item_count.unwrap_or_default()).unwrap();
        list.items.len() + more
    }

    /// Seconds of processor time that each part of the control plane has used.
    pub(crate) fn used(&self) -> Vec<(&'static str, f64)> {
        self.plane.processes().into_iter().map(|(name, pid)| (name, processor_time(pid))).collect()
    }
}

/// Waits until `look` sees something, looking as often as `every`.
pub(crate) async fn eventually<T>(what: &str, every: Duration, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(every).await;
    }
}

/// A running controller. Dropping it kills it.
pub(crate) struct Controller {
    pub(crate) begun: Instant,
    child: Child,
    log: PathBuf,
}

impl Controller {
    /// The value of a metric, summed over its labels; zero while nobody counted it.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with(name));
        // The sum of no numbers is -0, which reads oddly.
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .fold(0.0, |sum, value| sum + value)
    }

    /// The lines of the metrics that begin so.
    pub(crate) async fn metrics(&self, name: &str) -> Vec<String> {
        self.get("/metrics").await.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    }

    async fn get(&self, path: &str) -> String {
        let address = eventually("the controller listens", Duration::from_millis(20), async || {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let line = log.lines().find(|line| line.contains("\"listening\""))?;
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["address"].as_str().map(str::to_owned)
        })
        .await;
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Resident memory in KiB: now, and at most so far.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let figure = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        (figure("VmRSS:"), figure("VmHWM:"))
    }

    pub(crate) fn processor_time(&self) -> f64 {
        processor_time(self.child.id())
    }

    /// Ends it as a Deployment does, and returns how long that took.
    pub(crate) async fn stop(mut self) -> Duration {
        let begun = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "the controller does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Seconds of user and system time of a process.
fn processor_time(pid: u32) -> f64 {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap();
    // The second field, in parentheses, may hold blanks; utime and stime are the 14th and 15th (proc_pid_stat(5)), in
    // ticks of which Linux shows 100 a second.
    let (_, rest) = text.rsplit_once(')').unwrap();
    let ticks: f64 = rest.split_whitespace().skip(11).take(2).map(|word| word.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}
