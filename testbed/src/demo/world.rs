//! The demo's world: a control plane, a simulated VPC with the seed's nodes, and the controller between them.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;
use testbed::aliyun::{Addresses, NicSpec, Refusal, Simulator, Topology};
use testbed::{ControlPlane, Controller, Programs, cloud_configuration};

use super::pools::PoolWatch;
use crate::screen;

/// The product's binary, as cargo names it.
const CONTROLLER: &str = "spiderpool-controller";

/// Everything that runs. Fields in the order in which they end: each needs those after it.
pub(crate) struct World {
    pub(crate) watch: PoolWatch,
    pub(crate) controller: Controller,
    pub(crate) sim: Simulator,
    pub(crate) plane: ControlPlane,
    pub(crate) kubectl: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) metrics: String,
    /// When the controller was started.
    pub(crate) started: Instant,
}

impl World {
    /// Starts all of it on a control plane that is up.
    pub(crate) async fn start(plane: ControlPlane, controller: &Path) -> anyhow::Result<Self> {
        let kubectl = kubectl()?;
        let begun = Instant::now();
        plane.apply_crds().context("the API server refuses our CRDs")?;
        screen::timed("the CRDs of charts/spiderpool/crds are served", begun.elapsed());

        let control = Some(([127, 0, 0, 1], 0).into());
        let sim = Simulator::start_on(Addresses { control, ..Addresses::default() }).await?;
        let topology = Topology::seed();
        let (vpc, nodes) = (topology.vpc().to_owned(), topology.nodes());
        sim.edit(|cloud| topology.build(cloud))?;
        screen::note(&format!(
            "VPC {vpc}: 2 vSwitches, 2 instances, 2 NICs each, IPv4 and IPv6 (simulated Alibaba Cloud)"
        ));
        for ((name, provider_id), ip) in nodes.iter().zip(["172.31.199.183", "172.31.199.184"]) {
            create_node(&plane, name, provider_id, ip)?;
        }
        screen::note("Nodes master and worker, matched to their instances by spec.providerID");

        let config = plane.folder().join("cloud.yaml");
        let text = cloud_configuration(sim.endpoints(), &vpc);
        std::fs::write(&config, &text).with_context(|| format!("cannot write {}", config.display()))?;
        let watch = PoolWatch::start(&kubectl, plane.kubeconfig(), plane.folder())?;
        let started = Instant::now();
        let controller = Controller::start(controller, &config, plane.kubeconfig(), plane.folder())?;
        screen::command(&format!("cat {}", config.display()), &text);
        let mut world =
            Self { watch, controller, sim, plane, kubectl, config, metrics: String::new(), started };
        let address = world.controller.address().map_err(anyhow::Error::from);
        world.metrics = world.explain(address)?;
        Ok(world)
    }

    /// Runs kubectl and shows it.
    pub(crate) fn show(&self, typed: &str) -> anyhow::Result<()> {
        let args: Vec<&str> = typed.split_whitespace().skip(1).collect();
        screen::command(typed, &self.plane.kubectl(&args)?);
        Ok(())
    }

    /// Waits with kubectl for what the tables that follow shall show.
    pub(crate) fn wait(&self, what: &[&str]) -> anyhow::Result<()> {
        self.plane.kubectl(&[&["wait", "--timeout=30s"], what].concat())?;
        Ok(())
    }

    /// Adds the end of the controller's log to a failure: nearly always it says why.
    pub(crate) fn explain<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| {
            error.context(format!("the controller's log ends with\n{}\n", self.controller.log_tail()))
        })
    }
}

/// Creates a Node as its kubelet would: with the providerID and the address of its primary NIC.
pub(crate) fn create_node(
    plane: &ControlPlane,
    name: &str,
    provider_id: &str,
    ip: &str,
) -> anyhow::Result<()> {
    let addresses = json!([{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]);
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"providerID": provider_id},
        "status": {"addresses": addresses},
    });
    plane.kubectl_with(&["create", "-f", "-"], &node.to_string())?;
    Ok(())
}

/// A third instance beside the seed's two, in the same vSwitches.
pub(crate) struct Third;

impl Third {
    pub(crate) const NODE: &str = "worker-2";
    pub(crate) const INSTANCE: &str = "i-bp1worker2";
    pub(crate) const PROVIDER_ID: &str = "cn-hangzhou.i-bp1worker2";
    pub(crate) const IP: &str = "172.31.199.195";

    /// Makes the instance with two NICs, five IPv4 and three IPv6 addresses each.
    pub(crate) fn launch(sim: &Simulator) -> anyhow::Result<()> {
        let eth0 = NicSpec::primary("eni-bp1worker20", "vsw-bp1seed0").primary_ip(Self::IP.parse()?);
        let eth1 = NicSpec::secondary("eni-bp1worker21", "vsw-bp1seed1").device_index(Some(1));
        let eth1 = eth1.primary_ip("192.168.0.166".parse()?);
        let (mut ips0, mut ips1) = (Vec::new(), Vec::new());
        for n in 1..=5 {
            ips0.push(format!("172.31.199.{}", 195 + n).parse()?);
            ips1.push(format!("192.168.0.{}", 166 + n).parse()?);
        }
        for n in 195..=197 {
            ips0.push(format!("2001:db8:31:c0ac::{n}").parse()?);
            ips1.push(format!("2001:db8:31:c0c0::{n}").parse()?);
        }
        sim.edit(|cloud| {
            cloud.add_instance(Self::INSTANCE, Self::NODE, "ecs.g7.xlarge", "vsw-bp1seed0")?;
            cloud.attach(Self::INSTANCE, eth0.ips(ips0))?;
            cloud.attach(Self::INSTANCE, eth1.ips(ips1))?;
            Ok::<_, Refusal>(())
        })?;
        Ok(())
    }
}

fn kubectl() -> anyhow::Result<PathBuf> {
    let programs = Programs::ensure()?;
    let path = programs.paths().into_iter().find(|(name, _)| *name == "kubectl");
    Ok(path.context("the testbed has no kubectl")?.1.to_owned())
}

/// Finds the controller: the one that was named, or the one that cargo put beside this program.
pub(crate) fn find_controller(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let path = match named {
        Some(path) => path,
        None => beside(CONTROLLER)?,
    };
    if !path.is_file() {
        bail!(
            "{} is not there; build it with `cargo build -p controller`, or use `make demo`",
            path.display()
        );
    }
    std::path::absolute(&path).with_context(|| format!("cannot resolve {}", path.display()))
}

/// The path of another program of this workspace: cargo puts them all in one folder.
pub(crate) fn beside(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find where this program is")?;
    Ok(own.with_file_name(program))
}
