//! The walkthrough for Alibaba Cloud on real nodes, step by step: each command as one would type it, and what it shows.
//!
//! A step that does not show what it should ends the tour, and the exit code says so.

mod apps;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use testbed::aliyun::Topology;
use testbed::{NAT_V4, Nodes, PEER_V4, Plugins, Product, Setup, WORLD_V4, WORLD_V6};

use serde_json::{Value, json};

use crate::screen;
use apps::{App, Pod};

/// What people apply.
const MANIFESTS: &str = include_str!("tour/manifests.yaml");
const ENTRY: &str = include_str!("tour/entry.yaml");
const BALANCED: &str = include_str!("tour/balanced.yaml");
/// Those services, and what the walkthrough's cloud gave each load balancer.
const BALANCERS: [(&str, Ipv4Addr, u16); 2] = [
    ("http-service", Ipv4Addr::new(121, 41, 165, 119), 80),
    ("tcp-service", Ipv4Addr::new(47, 98, 137, 75), 999),
];
/// What comes about in seconds may take so long on a machine whose cores all do something else.
const PATIENCE: Duration = Duration::from_mins(4);
const NODES: [&str; 2] = ["master", "worker"];

struct Tour {
    nodes: Nodes,
    number: u32,
}

/// Takes the tour with the product's programs in `folder`, or else in that of this program.
pub(crate) fn tour(folder: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    screen::step(1, "Two nodes with two NICs each in a VPC, and Spiderpool on them");
    let folder = match folder {
        Some(folder) => std::path::absolute(folder)?,
        None => std::env::current_exe()?.parent().context("this program is in no folder")?.to_owned(),
    };
    let begun = Instant::now();
    let nodes = Setup::new(Topology::seed()).product(Product::in_folder(&folder)?).start()?;
    screen::timed("control plane, cloud, two nodes, controller and agents are up", begun.elapsed());
    let mut tour = Tour { nodes, number: 1 };
    tour.show("kubectl get nodes -o wide")?;
    tour.steps().inspect_err(|_| eprint!("{}", tour.ends_of_logs()))?;
    screen::gap();
    screen::note("That was all of it. Everything is taken down.");
    Ok(ExitCode::SUCCESS)
}

impl Tour {
    fn steps(&mut self) -> anyhow::Result<()> {
        self.nobody_wrote_a_pool()?;
        let [first, second] = self.apps()?;
        self.pods_and_nodes(&first)?;
        self.pods_and_pods(&first, &second)?;
        self.services(&first, &second)?;
        self.the_world(&first, &second)?;
        self.entry_from_outside(&first)?;
        self.entry_by_load_balancer(&second)
    }

    fn nobody_wrote_a_pool(&mut self) -> anyhow::Result<()> {
        self.step("Every NIC has its pool, and nobody wrote one");
        let pools = self.show("kubectl get spiderippools")?;
        for pool in ["master-eth0-v4", "master-eth1-v4", "worker-eth0-v4", "worker-eth1-v4", "worker-eth1-v6"]
        {
            ensure!(pools.contains(pool), "there is no pool {pool}");
        }
        self.show("kubectl get spidermultusconfigs -n kube-system")?;
        let networks = self.show("kubectl get network-attachment-definitions -n kube-system")?;
        ensure!(
            ["ipvlan-eth0", "ipvlan-eth1"].iter().all(|name| networks.contains(name)),
            "networks are missing"
        );
        Ok(())
    }

    fn apps(&mut self) -> anyhow::Result<[App; 2]> {
        self.step("An application on the first NICs, one on the second, and a service");
        let begun = Instant::now();
        let said = self.nodes.plane().kubectl_with(&["apply", "-f", "-"], MANIFESTS)?;
        screen::command("kubectl apply -f manifests.yaml", &said);
        for app in ["test-app-1", "test-app-2"] {
            let timeout = format!("--timeout={}s", PATIENCE.as_secs());
            self.nodes.kubectl(&["rollout", "status", &format!("daemonset/{app}"), &timeout])?;
        }
        screen::timed("all four pods run", begun.elapsed());
        self.show("kubectl get pods -o wide")?;
        self.show("kubectl get spiderippools")?;
        let apps =
            [App::read(&self.nodes, "test-app-1", "eth0")?, App::read(&self.nodes, "test-app-2", "eth1")?];
        for app in &apps {
            app.check_pools(&self.nodes)?;
        }
        screen::note("Each pod's addresses are held in the pool of its own node and NIC.");
        Ok(apps)
    }

    fn pods_and_nodes(&mut self, app: &App) -> anyhow::Result<()> {
        self.step("Pods reach their own node, which ipvlan alone does not let them, and the others");
        for node in NODES {
            self.ping(app.on("master")?, apps::node_address(&self.nodes, node)?)?;
        }
        let pod = app.on("worker")?;
        let script = format!("busybox ping -c 2 -w 20 {}", pod.v4);
        let said = self.nodes.guest("worker").sh(&script)?;
        screen::command(&format!("# on worker: {script}"), &said);
        ensure!(said.contains(" 0% packet loss"), "the node does not reach its pod");
        Ok(())
    }

    fn pods_and_pods(&mut self, first: &App, second: &App) -> anyhow::Result<()> {
        self.step("Pods reach pods: on the other node, in the other subnet, and both");
        let from = first.on("master")?;
        for to in [first.on("worker")?, second.on("master")?, second.on("worker")?] {
            self.ping(from, to.v4)?;
        }
        self.ping(from, second.on("worker")?.v6)
    }

    fn services(&mut self, first: &App, second: &App) -> anyhow::Result<()> {
        self.step("Services: by ClusterIP, from the pods of either NIC on either node");
        self.show("kubectl get service test-svc")?;
        let address =
            self.nodes.kubectl(&["get", "service", "test-svc", "-o", "jsonpath={.spec.clusterIP}"])?;
        for pod in [second.on("master")?, second.on("worker")?, first.on("worker")?] {
            let said = self.web(pod, &format!("http://{address}/"))?;
            let name = said["answer"]["hostname"].as_str().unwrap_or_default();
            ensure!(name.starts_with("test-app-1-"), "no pod of test-app-1 answers");
        }
        Ok(())
    }

    fn the_world(&mut self, first: &App, second: &App) -> anyhow::Result<()> {
        self.step("To the world: through the VPC's NAT over IPv4, as itself over IPv6");
        for pod in [first.on("master")?, second.on("worker")?] {
            let said = self.web(pod, &format!("http://{WORLD_V4}/"))?;
            ensure!(is(&said["answer"], NAT_V4.into()), "the world does not see the NAT's address");
            let said = self.web(pod, &format!("http://[{WORLD_V6}]/"))?;
            ensure!(is(&said["answer"], pod.v6), "the world does not see the pod's own address");
        }
        self.ping(second.on("master")?, WORLD_V6.into())
    }

    fn entry_from_outside(&mut self, first: &App) -> anyhow::Result<()> {
        self.step("From outside: where externalTrafficPolicy is Local, the pod sees who comes");
        let said = self.nodes.plane().kubectl_with(&["apply", "-f", "-"], ENTRY)?;
        screen::command("kubectl apply -f entry.yaml", &said);
        self.show("kubectl get services entry-cluster entry-local")?;
        let here = &first.on("worker")?.name;
        for policy in ["cluster", "local"] {
            let name = format!("entry-{policy}");
            let url =
                format!("http://{}:{}/", apps::node_address(&self.nodes, "worker")?, self.node_port(&name)?);
            let Answer { seen, name } = self.heard_outside(&url)?;
            ensure!(policy == "cluster" || seen == PEER_V4.to_string(), "{PEER_V4} is seen as {seen}");
            ensure!(policy == "cluster" || name == *here, "{name} answers, which is not on this node");
        }
        Ok(())
    }

    fn entry_by_load_balancer(&mut self, second: &App) -> anyhow::Result<()> {
        self.step("Through load balancers, which the cloud puts before both nodes: the pods see who comes");
        let said = self.nodes.plane().kubectl_with(&["apply", "-f", "-"], BALANCED)?;
        screen::command("kubectl apply -f balanced.yaml", &said);
        for (service, address, port) in BALANCERS {
            let node_port = self.node_port(service)?;
            let node = |node| Ok(SocketAddr::new(apps::node_address(&self.nodes, node)?, node_port));
            let nodes = NODES.into_iter().map(node).collect::<anyhow::Result<Vec<_>>>()?;
            self.nodes.balance(SocketAddr::from((address, port)), &nodes)?;
            // As the cloud's controller does when the load balancer is there.
            let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}).to_string();
            let patch = ["patch", "service", service, "--subresource=status", "--type=merge", "-p", &status];
            self.nodes.kubectl(&patch)?;
        }
        self.show("kubectl get services tcp-service http-service")?;
        for (service, address, port) in BALANCERS {
            let mut names = BTreeSet::new();
            // In turn, but for a node that does not know the service yet.
            for _ in 0..4 * NODES.len() {
                let Answer { seen, name } = self.heard_outside(&format!("http://{address}:{port}/"))?;
                ensure!(seen == PEER_V4.to_string(), "{PEER_V4} is seen as {seen} by {service}");
                names.insert(name);
                if names.len() == NODES.len() {
                    break;
                }
            }
            for node in NODES {
                let name = &second.on(node)?.name;
                ensure!(names.contains(name), "{name} on {node} does not answer by {service}: {names:?}");
            }
        }
        Ok(())
    }

    fn node_port(&self, service: &str) -> anyhow::Result<u16> {
        let said =
            self.nodes.kubectl(&["get", "service", service, "-o", "jsonpath={.spec.ports[0].nodePort}"])?;
        said.parse().with_context(|| format!("{service} has no NodePort: {said:?}"))
    }

    /// Shows what a host of a network that the VPC is connected with is answered.
    fn heard_outside(&self, url: &str) -> anyhow::Result<Answer> {
        let said = self.ask_from_outside(url)?;
        screen::command(&format!("# on {PEER_V4}, a host of a connected network: probe get {url}"), &said);
        Answer::read(&said)
    }

    fn step(&mut self, title: &str) {
        self.number += 1;
        screen::step(self.number, title);
    }

    /// Shows a command of kubectl and what it says.
    fn show(&self, typed: &str) -> anyhow::Result<String> {
        let args: Vec<&str> = typed.split_whitespace().skip(1).collect();
        let said = self.nodes.kubectl(&args)?;
        screen::command(typed, &said);
        Ok(said)
    }

    fn ping(&self, pod: &Pod, to: IpAddr) -> anyhow::Result<()> {
        let said = self.show(&format!("kubectl exec {} -- ping -c 2 -w 20 {to}", pod.name))?;
        ensure!(said.contains(" 0% packet loss"), "{} does not reach {to}", pod.name);
        Ok(())
    }

    /// Asks a web server from a pod.
    fn web(&self, pod: &Pod, url: &str) -> anyhow::Result<Value> {
        let said = self.show(&format!("kubectl exec {} -- probe get --timeout 20s {url}", pod.name))?;
        Ok(serde_json::from_str(&said)?)
    }

    /// Asks as a host of a network that the VPC is connected with; kube-proxy may need a moment to know a new service.
    fn ask_from_outside(&self, url: &str) -> anyhow::Result<String> {
        let probe = Plugins::ensure()?.probe();
        let begun = Instant::now();
        loop {
            let mut command = Command::new(&probe);
            command.args(["get", "--from", &PEER_V4.to_string(), "--timeout", "10s", url]);
            self.nodes.place_on_router(&mut command);
            let output = command.output().context("cannot run the probe")?;
            if output.status.success() {
                return Ok(String::from_utf8(output.stdout)?);
            }
            if begun.elapsed() > PATIENCE {
                bail!("{url} does not answer: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    /// What nearly always says why.
    fn ends_of_logs(&self) -> String {
        let end = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(12)..].join("\n")
        };
        let of =
            |node: &str, log: &str| format!("{log} on {node}:\n{}\n", end(&self.nodes.guest(node).log(log)));
        NODES.iter().flat_map(|node| ["agent", "kubelet"].map(|log| of(node, log))).collect()
    }
}

/// What the probe tells of an answer.
struct Answer {
    /// As whom the pod sees who asks.
    seen: String,
    /// The pod.
    name: String,
}

impl Answer {
    fn read(said: &str) -> anyhow::Result<Self> {
        let said: Value = serde_json::from_str(said)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let host =
            |value: &Value| text(value).rsplit_once(':').map(|(host, _)| host.to_owned()).unwrap_or_default();
        let answer = &said["answer"];
        Ok(Self { seen: host(&answer["source"]), name: text(&answer["hostname"]) })
    }
}

/// Whether a text is this address.
fn is(text: &Value, address: IpAddr) -> bool {
    text.as_str().and_then(|text| text.trim().parse().ok()) == Some(address)
}
