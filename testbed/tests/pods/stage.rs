//! The one cluster that all tests are in: some side by side, those that change the nodes or count what is on them alone.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use testbed::aliyun::Topology;
use testbed::{Controller, Guest, Nodes, Product, Setup};
use tokio::runtime::{Builder, Runtime};

use crate::built::product;

/// The network on the nodes' second NIC.
pub(crate) const SECOND_NETWORK: &str = "kube-system/ipvlan-eth1";
/// That on their third.
pub(crate) const THIRD_NETWORK: &str = "kube-system/ipvlan-eth2";
/// What comes about in seconds may take so long on a machine whose cores all do something else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
/// Beyond the seed's few: so many addresses of each family has the first NIC of each node.
const CROWD: u16 = 110;

/// The path of all pools.
pub(crate) const POOLS: &str = "/apis/spiderpool.spidernet.io/v2beta1/spiderippools";

/// Nodes with Multus and agents, and the controller beside them.
pub(crate) struct Stage {
    pub(crate) nodes: Nodes,
    reader: Reader,
}

/// Reads from the API server. Tests look often, and a kubectl for each look would take time from what they wait for.
struct Reader {
    runtime: Runtime,
    client: kube::Client,
}

/// Brought up for the first test, and ends with the process.
fn cluster() -> &'static RwLock<Stage> {
    static STAGE: OnceLock<RwLock<Stage>> = OnceLock::new();
    STAGE.get_or_init(|| RwLock::new(Stage::start()))
}

/// The cluster, for a test that minds its own pods only.
pub(crate) fn stage() -> RwLockReadGuard<'static, Stage> {
    // A test that failed has said so; the others find the cluster as it is.
    cluster().read().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no other test is in the cluster, and keeps them out: for one that disturbs the nodes, or looks at all that is on them.
pub(crate) fn stage_alone() -> RwLockWriteGuard<'static, Stage> {
    cluster().write().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    fn start() -> Self {
        let programs = product("spiderpool-agent");
        let product = Product::in_folder(programs.parent().unwrap()).unwrap();
        let nodes = Setup::new(Topology::seed().with_third_nic()).product(product).start().unwrap();
        nodes.edit(more_addresses).unwrap();
        let stage = Self::of(nodes);
        stage.eventually("twelve pools offer all that the cloud gives", || {
            let pools = stage.pools();
            let large = pools.iter().filter(|pool| pool.total > usize::from(CROWD)).count();
            if (pools.len(), large) == (12, 4) { Ok(()) } else { Err(format!("{pools:?}")) }
        });
        stage
    }

    /// Looks at a cluster.
    pub(crate) fn of(nodes: Nodes) -> Self {
        let reader = Reader::new(nodes.plane().kubeconfig());
        Self { nodes, reader }
    }

    /// One value of the metrics of a node's agent; a counter that is not there has counted nothing.
    pub(crate) fn metric(&self, node: &str, name: &str) -> f64 {
        let text = self.guest(node).sh("curl -sf --max-time 20 http://127.0.0.1:5710/metrics").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Runs kubectl, which must succeed.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.kubectl_now(args).unwrap_or_else(|error| panic!("{error}\n{}", self.logs()))
    }

    /// Runs kubectl, which may fail.
    pub(crate) fn kubectl_now(&self, args: &[&str]) -> Result<String, String> {
        self.nodes.kubectl(args).map_err(|error| error.to_string())
    }

    /// Reads the objects of a path.
    pub(crate) fn get(&self, path: &str) -> Vec<Value> {
        self.reader.list(path).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.logs()))
    }

    /// Reads all pools.
    pub(crate) fn pools(&self) -> Vec<Pool> {
        self.get(POOLS).iter().map(Pool::read).collect()
    }

    /// The pool of a node's NIC.
    pub(crate) fn pool(&self, node: &str, interface: &str, like: IpAddr) -> Pool {
        let found = self.pools().into_iter().find(|pool| pool.is_of(node, interface, like));
        found.unwrap_or_else(|| panic!("no pool of {interface} on {node}\n{}", self.logs()))
    }

    /// A node's own addresses, IPv4 first.
    pub(crate) fn node_addresses(&self, node: &str) -> Vec<IpAddr> {
        let path = r#"jsonpath={range .status.addresses[?(@.type=="InternalIP")]}{.address}{"\n"}{end}"#;
        let text = self.kubectl(&["get", "node", node, "-o", path]);
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    pub(crate) fn guest(&self, node: &str) -> &Guest {
        self.nodes.guest(node)
    }

    /// Looks until it succeeds, and fails with the last reason and with what the parts say of themselves.
    pub(crate) fn eventually<T>(&self, what: &str, look: impl FnMut() -> Result<T, String>) -> T {
        self.within(PATIENCE, what, look)
    }

    pub(crate) fn within<T>(
        &self,
        patience: Duration,
        what: &str,
        mut look: impl FnMut() -> Result<T, String>,
    ) -> T {
        let begun = Instant::now();
        loop {
            match look() {
                Ok(found) => return found,
                Err(reason) if begun.elapsed() > patience => {
                    panic!("not within {} s: {what}: {reason}\n{}", patience.as_secs(), self.logs());
                }
                Err(_) => thread::sleep(Duration::from_millis(250)),
            }
        }
    }

    /// The ends of the logs that most often say why.
    pub(crate) fn logs(&self) -> String {
        let end = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        };
        let controller = self.nodes.controller().map(Controller::log_tail).unwrap_or_default();
        let mut text = format!("== the controller\n{controller}\n");
        for guest in self.nodes.guests() {
            for log in ["agent", "kubelet", "console"] {
                // Writing into a String cannot fail.
                let _ = writeln!(text, "== {log} on {}\n{}", guest.name(), end(&guest.log(log)));
            }
        }
        let events = ["get", "events", "-A", "--sort-by=.lastTimestamp"];
        let events = self.kubectl_now(&events).unwrap_or_default();
        let _ = writeln!(text, "== events\n{}", end(&events));
        text
    }
}

impl Reader {
    fn new(kubeconfig: &Path) -> Self {
        // A second installation is no matter: the first one serves.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let file = Kubeconfig::read_from(kubeconfig).unwrap();
        let client = runtime.block_on(async {
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
            kube::Client::try_from(config).unwrap()
        });
        Self { runtime, client }
    }

    fn list(&self, path: &str) -> Result<Vec<Value>, kube::Error> {
        let request = hyper::Request::get(path).body(Vec::new()).unwrap();
        let list: Value = self.runtime.block_on(self.client.request(request))?;
        Ok(list["items"].as_array().unwrap().clone())
    }
}

/// One `SpiderIPPool`.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) interface: String,
    pub(crate) version: u64,
    total: usize,
    pub(crate) held: Vec<Record>,
}

/// Who holds an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) address: IpAddr,
    pub(crate) pod: String,
    pub(crate) uid: String,
}

impl Pool {
    pub(crate) fn read(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let held = object["status"]["allocatedIPs"].as_str().unwrap_or_default();
        let held: Value = if held.is_empty() { Value::Null } else { serde_json::from_str(held).unwrap() };
        let held = held.as_object().into_iter().flatten().map(|(address, record)| Record {
            address: address.parse().unwrap(),
            pod: text(&record["pod"]),
            uid: text(&record["podUid"]),
        });
        let meta = &object["metadata"];
        Self {
            name: text(&meta["name"]),
            node: texts(&object["spec"]["nodeName"]).join(","),
            interface: text(&meta["labels"]["cloud.spidernet.io/interface"]),
            version: object["spec"]["ipVersion"].as_u64().unwrap_or_default(),
            total: usize::try_from(object["status"]["totalIPCount"].as_u64().unwrap_or_default()).unwrap(),
            held: held.collect(),
        }
    }

    fn is_of(&self, node: &str, interface: &str, like: IpAddr) -> bool {
        let version = if like.is_ipv4() { 4 } else { 6 };
        self.node == node && self.interface == interface && self.version == version
    }
}

/// Gives each node's first NIC addresses for a crowd, and its second one more of IPv6 than the seed has.
fn more_addresses(cloud: &mut testbed::aliyun::Cloud) {
    for (node, block) in [("master", 200_u8), ("worker", 201)] {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for n in 1..=CROWD {
            let [_, last] = n.to_be_bytes();
            first.push(IpAddr::V4(Ipv4Addr::new(172, 31, block, last)));
            first.push(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0xc0ac, 0, 0, u16::from(block), n)));
        }
        for n in 1..=10 {
            second.push(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0xc0c0, 0, 0, u16::from(block), n)));
        }
        cloud.assign(&format!("eni-bp1{node}0"), &first).unwrap();
        cloud.assign(&format!("eni-bp1{node}1"), &second).unwrap();
    }
}
