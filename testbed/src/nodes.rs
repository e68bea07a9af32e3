//! Real nodes: a simulated cloud, its network, and a guest per instance, with or without Kubernetes on them.

mod machines;
mod ranges;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::aliyun::{Cloud, Simulator, Topology};
use crate::control_plane::ControlPlane;
use crate::error::{Error, tail};
use crate::guest::{Guest, LocalTraffic, Software};
use crate::image::Archive;
use crate::place::Place;
use crate::plugins::Plugins;
use crate::product::{self, Controller, Product};
use crate::progress::say;
use crate::scratch::Scratch;
use crate::vpc::{Families, Switches};

pub use machines::Machines;
use machines::{Sky, regions_provider_id};
pub use ranges::Ranges;

/// Two nodes are Ready 6 s after their boot; this is for a machine whose cores all do something else.
const READY: Duration = Duration::from_mins(4);

/// What a cluster of real nodes is made of.
pub struct Setup {
    topology: Topology,
    families: Families,
    switches: Switches,
    ranges: Option<Ranges>,
    folder: Option<PathBuf>,
    plugins: Vec<PathBuf>,
    networks: Option<Vec<(String, Value)>>,
    product: Option<Product>,
}

impl Setup {
    /// A dual-stack cluster with a node per instance of `topology`.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            families: Families::Dual,
            switches: Switches::Cloud,
            ranges: None,
            folder: None,
            plugins: Vec::new(),
            networks: None,
            product: None,
        }
    }

    /// Which families nodes and services have.
    #[must_use]
    pub fn families(mut self, families: Families) -> Self {
        self.families = families;
        self
    }

    /// What the switches between its nodes let in, if it is not what a cloud's do.
    #[must_use]
    pub fn switches(mut self, switches: Switches) -> Self {
        self.switches = switches;
        self
    }

    /// Which addresses it takes to be its own, if they are not those of every other cluster.
    #[must_use]
    pub fn ranges(mut self, ranges: Ranges) -> Self {
        self.ranges = Some(ranges);
        self
    }

    /// Where its kubeconfig, data and logs shall be: a folder that does not exist or is empty. Otherwise a temporary one.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Puts CNI plugins into every node, beside upstream's and the stand-in for Multus.
    #[must_use]
    pub fn plugins(mut self, plugins: &[&Path]) -> Self {
        self.plugins.extend(plugins.iter().map(|path| (*path).to_owned()));
        self
    }

    /// Puts a file into every node's `/etc/cni/net.d`. With none, pods get addresses that exist on their node only.
    #[must_use]
    pub fn network(mut self, file: &str, network: Value) -> Self {
        self.networks.get_or_insert_default().push((file.to_owned(), network));
        self
    }

    /// Runs the product in it: the controller beside it, an agent and the CNI plugin on every node, behind the stand-in for Multus.
    #[must_use]
    pub fn product(mut self, product: Product) -> Self {
        self.product = Some(product);
        self
    }

    /// Starts all of it, and waits until every node is Ready (about 10 s).
    ///
    /// # Errors
    /// When a program cannot be had, the network cannot be made (it needs root), or a node does not become Ready.
    pub fn start(self) -> Result<Nodes, Error> {
        Nodes::start(self)
    }
}

/// A cluster of real nodes in a simulated cloud: ended, without trace, on drop and when this process ends.
#[derive(Debug)]
pub struct Nodes {
    // In the order in which they must end: each needs those after it.
    controller: Option<Controller>,
    machines: Machines,
    plane: ControlPlane,
    server: String,
    families: Families,
    product: Option<Product>,
}

impl Nodes {
    fn start(setup: Setup) -> Result<Self, Error> {
        let begun = Instant::now();
        let Setup { topology, families, switches, ranges, folder, plugins, mut networks, product } = setup;
        let ranges = ranges.unwrap_or_else(|| Ranges::usual(families));
        let vpc = topology.vpc().to_owned();
        let sky = Sky::start(topology, families)?;
        let images = vec![Archive::of_nodes()?];
        let mut all = files(&Plugins::upstream()?)?;
        all.push(Plugins::ensure()?.multus());
        all.extend(plugins);
        all.extend(product.iter().flat_map(|product| product.plugins.clone()));
        let mut machines = Machines::prepare(sky, switches)?;
        let gateway = machines.gateway(families)?;
        let site = Place::Vpc { netns: machines.netns().clone(), gateway, services: ranges.services.clone() };
        let plane = match &folder {
            Some(folder) => ControlPlane::start_with(|| Scratch::at(folder), &site)?,
            None => ControlPlane::start_with(Scratch::temporary, &site)?,
        };
        let server = format!("https://{}", SocketAddr::from((gateway, plane.port())));
        let controller = match &product {
            Some(product) => {
                Product::install(&plane)?;
                networks.get_or_insert_default().push(Product::network(&plane, &server, plane.folder())?);
                let endpoints = machines.cloud().endpoints();
                Some(product.start_controller(&plane, plane.folder(), endpoints, &vpc)?)
            }
            None => None,
        };
        say("booting the nodes");
        machines.boot(&plane.folder().join("nodes"), |instance, number| {
            // With the product services answer whatever kube-proxy believes, so each node's is made to believe something else.
            let local = match &product {
                Some(_) if number % 2 == 1 => LocalTraffic::ByInterface,
                _ => LocalTraffic::ByBlocks,
            };
            Some(Software {
                cluster: &plane,
                local,
                server: server.clone(),
                ranges: ranges.clone(),
                provider_id: regions_provider_id(instance),
                images: images.clone(),
                plugins: all.clone(),
                networks: networks.clone().unwrap_or_else(|| vec![node_local(number, families)]),
            })
        })?;
        let nodes = Self { controller, machines, plane, server, families, product };
        for guest in nodes.guests() {
            nodes.start_agent(guest)?;
        }
        nodes.wait_ready()?;
        nodes.wait_product()?;
        say(&format!("{} nodes Ready in {:.1} s", nodes.guests().len(), begun.elapsed().as_secs_f64()));
        Ok(nodes)
    }

    /// Waits until a pod that asks for nothing can get its addresses, if there are any before somebody writes pools.
    fn wait_product(&self) -> Result<(), Error> {
        if self.product.is_none() {
            return Ok(());
        }
        let timeout = format!("--timeout={}s", READY.as_secs());
        for guest in self.guests() {
            let node = format!("spidernodes/{}", guest.name());
            self.kubectl(&["wait", &timeout, "--for=create", &node])?;
            self.kubectl(&["wait", &timeout, "--for=condition=Synced=true", &node])?;
            let socket =
                "for _ in {1..600}; do [ -S /run/spidernet/spiderpool.sock ] && exit; sleep 0.1; done; false";
            if guest.run(socket)?.status != 0 {
                return Err(Error::Node {
                    node: guest.name().to_owned(),
                    wanted: "served by its agent",
                    seconds: 60,
                    tail: tail(&guest.log("agent"), 12),
                });
            }
        }
        match self.machines.switches() {
            Switches::Cloud => product::wait_network(&self.plane, &timeout),
            // Its networks are written by hand, later.
            Switches::DataCentre => Ok(()),
        }
    }

    /// Starts the agent of a node, if the product runs here; it is started already, unless [`Guest::end`] ended it.
    ///
    /// # Errors
    /// When the guest does not take the command.
    pub fn start_agent(&self, guest: &Guest) -> Result<(), Error> {
        let Some(product) = &self.product else { return Ok(()) };
        product.start_agent(&self.plane, &self.server, self.families, guest)
    }

    /// Cuts a node's power, and boots it with all that runs on it. Returns when its kernel is up and the rest is starting.
    ///
    /// Its disk has lost what containerd and kubelet wrote, and has what the product did.
    ///
    /// # Errors
    /// When the guest does not come up.
    pub fn reboot(&self, guest: &Guest) -> Result<(), Error> {
        self.machines.reboot(guest)?;
        self.start_agent(guest)
    }

    /// Joins the networks of two clusters: what is in the first subnet of one reaches what is in that of the other, over IPv4, and nothing
    /// else does. Those must be different blocks.
    ///
    /// # Errors
    /// When the kernel refuses: a cluster has one such line.
    pub fn join(&self, other: &Self) -> Result<(), Error> {
        self.machines.join(&other.machines)
    }

    /// Puts a load balancer before nodes: what those whom [`Nodes::place_on_router`] placed send to `address` goes to one of `nodes`
    /// after the other, each with a port of its own, and has its source.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn balance(&self, address: SocketAddr, nodes: &[SocketAddr]) -> Result<(), Error> {
        self.machines.balance(address, nodes)
    }

    /// The controller, if the product runs here.
    #[must_use]
    pub fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    fn wait_ready(&self) -> Result<(), Error> {
        let begun = Instant::now();
        let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        for guest in self.guests() {
            let get = ["get", "node", guest.name(), "--ignore-not-found", "-o", ready];
            while self.plane.kubectl(&get)? != "True" {
                if begun.elapsed() > READY {
                    return Err(Error::Node {
                        node: guest.name().to_owned(),
                        wanted: "Ready",
                        seconds: READY.as_secs(),
                        tail: ["software", "containerd", "kubelet"]
                            .map(|log| tail(&guest.log(log), 12))
                            .join("\n"),
                    });
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    /// Its control plane.
    #[must_use]
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Fails when a part of the control plane or the controller has ended, with the end of its log.
    ///
    /// # Errors
    /// [`Error::Ended`], naming the part.
    pub fn check(&mut self) -> Result<(), Error> {
        self.plane.check()?;
        self.controller.as_mut().map_or(Ok(()), Controller::check)
    }

    /// The API server as guests reach it; with [`ControlPlane::kubeconfig`] one reaches it from the machine.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Of which families nodes and services are.
    #[must_use]
    pub fn families(&self) -> Families {
        self.families
    }

    /// Writes a kubeconfig that works in guests: as `user` in `group`, by certificate, with what RBAC grants them.
    ///
    /// # Errors
    /// When the certificate cannot be signed or the file cannot be written.
    pub fn guest_kubeconfig(&self, guest: &Guest, user: &str, group: Option<&str>) -> Result<PathBuf, Error> {
        let path = guest.folder().join(format!("{}.kubeconfig", user.replace(['/', ':'], "-")));
        self.plane.write_kubeconfig(&path, &self.server, user, group)?;
        Ok(path)
    }

    /// Runs `kubectl` as the administrator, as [`Cluster::kubectl`](crate::Cluster::kubectl) does.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`](crate::Cluster::kubectl).
    pub fn kubectl(&self, args: &[&str]) -> Result<String, Error> {
        self.plane.kubectl(args)
    }

    /// The guests, in the order of their instances' ids.
    #[must_use]
    pub fn guests(&self) -> &[Guest] {
        self.machines.guests()
    }

    /// One guest.
    ///
    /// # Panics
    /// When no node has that name: a mistake in the test.
    #[must_use]
    pub fn guest(&self, name: &str) -> &Guest {
        self.machines.guest(name)
    }

    /// Makes `command` start in the VPC but on no node: where its gateways are, which is who others take it for.
    pub fn place_on_router(&self, command: &mut Command) {
        self.machines.netns().place(command);
    }

    /// The simulated cloud. The wire follows its changes within 200 ms; [`Nodes::edit`] does not return before it has.
    #[must_use]
    pub fn cloud(&self) -> &Simulator {
        self.machines.cloud()
    }

    /// Changes the cloud, and makes the wire agree before it returns.
    ///
    /// # Errors
    /// When the virtual switch does not take the change.
    pub fn edit<R>(&self, change: impl FnOnce(&mut Cloud) -> R) -> Result<R, Error> {
        self.machines.edit(change)
    }
}

/// A network that exists on its node only: enough for the node to be Ready.
fn node_local(number: usize, families: Families) -> (String, Value) {
    let number = number % 256;
    let (mut ranges, mut routes) = (Vec::new(), Vec::new());
    if families.has_v4() {
        ranges.push(json!([{"subnet": format!("10.245.{number}.0/24")}]));
        routes.push(json!({"dst": "0.0.0.0/0"}));
    }
    if families.has_v6() {
        ranges.push(json!([{"subnet": format!("fd00:10:245:{number:x}::/64")}]));
        routes.push(json!({"dst": "::/0"}));
    }
    let ipam = json!({"type": "host-local", "dataDir": "/run/cni-ipam", "ranges": ranges, "routes": routes});
    let plugins = json!([{"type": "ptp", "ipam": ipam}]);
    let network = json!({"cniVersion": "1.0.0", "name": "node-local", "plugins": plugins});
    ("10-node-local.conflist".to_owned(), network)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

/// Whether an address is of a family that there is.
fn wanted(families: Families, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => families.has_v4(),
        IpAddr::V6(_) => families.has_v6(),
    }
}
