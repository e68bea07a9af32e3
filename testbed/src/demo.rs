//! The main job on show: a simulated VPC's NICs become pools on a real API server, and follow what happens in the cloud.

mod pools;
mod stay;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use testbed::ControlPlane;

use crate::screen;
use crate::up::Signals;
use pools::assigned;
use world::{Third, World};

/// What happens after the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It stays up for people to look around.
    Stay,
    /// It ends.
    Exit,
}

/// What pods can get where, for people.
const RANGES: &str =
    "kubectl get spiderippools -o custom-columns=NAME:.metadata.name,IPS:.spec.ips,GATEWAY:.spec.gateway";
const BRIEF: &str = "-o custom-columns=NAME:.metadata.name,IPS:.spec.ips,EXCLUDED:.spec.excludeIPs";

/// Where an address is added and one is removed.
const NIC: &str = "eni-bp1worker1";
const SELECT_NIC: &str = "-l cloud.spidernet.io/nic=eni-bp1worker1,cloud.spidernet.io/family=v4";
const NODE: &str = "worker";
const ADDED: &str = "192.168.0.200";
const REMOVED: &str = "192.168.0.163";

/// Runs the demo.
pub(crate) fn demo(controller: Option<PathBuf>, ending: Ending) -> anyhow::Result<ExitCode> {
    let controller = world::find_controller(controller)?;
    screen::step(1, "A Kubernetes control plane, a cloud, and the controller between them");
    let begun = Instant::now();
    // A signal that comes before we listen ends us at once, and what we started with us.
    let plane = ControlPlane::start()?;
    screen::timed("etcd, kube-apiserver, kube-controller-manager and kube-scheduler are up", begun.elapsed());
    // The simulator answers while kubectl is waited for.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let show = async {
            let mut world = World::start(plane, &controller).await?;
            let shown = steps(&mut world).await;
            world.explain(shown)?;
            anyhow::Ok(world)
        };
        let world = tokio::select! {
            world = show => world?,
            () = signals.wait() => {
                screen::note("ended by a signal; everything is taken down");
                return Ok(ExitCode::FAILURE);
            }
        };
        match ending {
            Ending::Exit => {
                screen::gap();
                screen::note("DEMO_EXIT is set: everything is taken down.");
            }
            Ending::Stay => stay::stay(world, &mut signals).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn steps(world: &mut World) -> anyhow::Result<()> {
    pools_appear(world).await?;
    a_node_joins(world).await?;
    an_address_is_added(world).await?;
    an_address_is_removed(world).await?;
    a_node_leaves(world).await
}

async fn pools_appear(world: &mut World) -> anyhow::Result<()> {
    screen::step(2, "Every node, NIC and family has its pool");
    let World { watch, controller, sim, started, .. } = world;
    let truth = sim.edit(|cloud| assigned(cloud));
    let took =
        watch.until("the seed's pools", *started, controller, |pools| pools.offered() == truth).await?;
    screen::timed("all pools are right, counted from the start of the controller", took);
    // Pools come first; what else the tables show follows within the same pass.
    world.wait(&["--for=create", "spidernodes/master", "spidernodes/worker"])?;
    world.wait(&["--for=condition=Synced=true", "spidernodes", "--all"])?;
    world.wait(&[
        "--for=create",
        "-n=kube-system",
        "spidermultusconfigs/ipvlan-eth0",
        "spidermultusconfigs/ipvlan-eth1",
    ])?;
    world.show("kubectl get spiderippools")?;
    world.show(RANGES)?;
    world.show("kubectl get spidernodes")?;
    world.show("kubectl get spidermultusconfigs -A")
}

async fn a_node_joins(world: &mut World) -> anyhow::Result<()> {
    screen::step(3, "A node joins");
    Third::launch(&world.sim)?;
    let since = Instant::now();
    world::create_node(&world.plane, Third::NODE, Third::PROVIDER_ID, Third::IP)?;
    let World { watch, controller, sim, .. } = world;
    let truth = sim.edit(|cloud| assigned(cloud));
    let took =
        watch.until("the new node's pools", since, controller, |pools| pools.offered() == truth).await?;
    screen::timed("instance i-bp1worker2 and Node worker-2 created; its four pools are right", took);
    world.show(&format!("kubectl get spiderippools -l cloud.spidernet.io/node={} {BRIEF}", Third::NODE))
}

async fn an_address_is_added(world: &mut World) -> anyhow::Result<()> {
    screen::step(4, "An address is added in the cloud");
    let since = Instant::now();
    world.sim.edit(|cloud| cloud.assign(NIC, &[ADDED.parse()?]).map_err(anyhow::Error::from))?;
    let World { watch, controller, sim, .. } = world;
    let truth = sim.edit(|cloud| assigned(cloud));
    let took = watch.until("the new address", since, controller, |pools| pools.offered() == truth).await?;
    screen::timed(&format!("{ADDED} assigned to {NIC}; pods can get it"), took);
    world.show(&format!("kubectl get spiderippools {SELECT_NIC} {BRIEF}"))
}

async fn an_address_is_removed(world: &mut World) -> anyhow::Result<()> {
    screen::step(5, "An address is removed in the cloud");
    let since = Instant::now();
    world.sim.edit(|cloud| cloud.unassign(NIC, &[REMOVED.parse()?]).map_err(anyhow::Error::from))?;
    let World { watch, controller, sim, .. } = world;
    let truth = sim.edit(|cloud| assigned(cloud));
    let took = watch.until("the denial", since, controller, |pools| pools.offered() == truth).await?;
    screen::timed(&format!("{REMOVED} taken from {NIC}; no pod gets it any more (excludeIPs)"), took);
    world.show(&format!("kubectl get spiderippools {SELECT_NIC} {BRIEF}"))?;
    screen::gap();
    let World { watch, controller, .. } = world;
    let place = (NODE.to_owned(), REMOVED.parse()?);
    let gone = |pools: &pools::Pools| !pools.listed().contains(&place) && pools.offered() == truth;
    let took = watch.until("the removal", since, controller, gone).await?;
    screen::timed("a second listing, one resync later, did not show it either: it is gone", took);
    world.show(&format!("kubectl get spiderippools {SELECT_NIC} {BRIEF}"))
}

async fn a_node_leaves(world: &mut World) -> anyhow::Result<()> {
    screen::step(6, "A node leaves");
    let since = Instant::now();
    world.sim.edit(|cloud| cloud.remove_instance(Third::INSTANCE));
    world.plane.kubectl(&["delete", "node", Third::NODE, "--wait=false"])?;
    let World { watch, controller, sim, .. } = world;
    let truth = sim.edit(|cloud| assigned(cloud));
    let right = |pools: &pools::Pools| pools.of_node(Third::NODE) == 0 && pools.offered() == truth;
    let took: Duration =
        watch.until("the pools of the node that left are gone", since, controller, right).await?;
    screen::timed("instance i-bp1worker2 and Node worker-2 deleted; its pools are gone", took);
    screen::note(
        "Its SpiderNode is the Node's own: Kubernetes' garbage collector takes it, within half a minute.",
    );
    world.show(&format!("kubectl get spiderippools {BRIEF}"))
}
