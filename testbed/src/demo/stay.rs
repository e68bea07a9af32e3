//! After the last step: what there is to look at, until a signal.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use testbed::aliyun::{KEY, SECRET};

use super::world::{World, beside};
use crate::screen::{self, note};
use crate::up::Signals;

/// How often we look whether all parts still run.
const POLL: Duration = Duration::from_millis(200);

/// Says how to look around, and stays until a signal. Everything is taken down when it returns.
pub(crate) async fn stay(mut world: World, signals: &mut Signals) -> anyhow::Result<()> {
    screen::step(7, "It stays up: look around from another terminal. Ctrl-C ends and removes everything");
    say(&world)?;
    while !signals.arrived(POLL).await {
        world.plane.check()?;
        let alive = world.controller.check().map_err(anyhow::Error::from);
        world.explain(alive)?;
    }
    screen::gap();
    note("Taking everything down.");
    Ok(())
}

/// One command a line; comments say what each shows.
fn say(world: &World) -> anyhow::Result<()> {
    let World { controller, sim, plane, kubectl, config, metrics, .. } = world;
    let control = sim.endpoints().control.as_deref().context("the simulator has no control port")?;
    note(&format!("export KUBECONFIG={}", plane.kubeconfig().display()));
    if let Some(folder) = kubectl.parent().filter(|folder| !on_path(folder)) {
        note(&format!("export PATH={}:$PATH", folder.display()));
    }
    note("kubectl get spiderippools -o wide");
    note("kubectl describe spidernode worker                # conditions, NICs, events");
    note("kubectl get events -A");
    screen::gap();
    note("# Change the cloud; the pools follow.");
    for (verb, ip) in [("assign", "192.168.0.201"), ("unassign", "192.168.0.200")] {
        note(&format!(
            "curl -s -d '{{\"nic\":\"{}\",\"ips\":[\"{ip}\"]}}' {control}/control/{verb}",
            super::NIC
        ));
    }
    note(&format!("curl -s {control}/control/state"));
    screen::gap();
    note("# What the controller says, counts, and would do.");
    note(&format!("tail {}", controller.log().display()));
    note(&format!("curl -s http://{metrics}/metrics"));
    let ctl = beside("spiderpoolctl")?;
    if ctl.is_file() {
        note(&format!("export ALIBABA_CLOUD_ACCESS_KEY_ID={KEY} ALIBABA_CLOUD_ACCESS_KEY_SECRET={SECRET}"));
        note(&format!("{} plan --config {} --all -o table", ctl.display(), config.display()));
        note(&format!("{} inventory --config {}", ctl.display(), config.display()));
    }
    Ok(())
}

fn on_path(folder: &Path) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|entry| entry == folder))
}
