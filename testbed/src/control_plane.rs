//! One real control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::Child;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::pki::Pki;
use crate::probe::Probe;
use crate::programs::Programs;
use crate::progress::say;
use crate::scratch::Scratch;

/// A busy machine of two cores has been seen to need 20 s for what takes 3 s on an idle one.
const PATIENCE: Duration = Duration::from_mins(2);
/// Another process can take a port between our choice and its use.
const TRIES: u32 = 3;

/// A running control plane of its own: ended, and its folder removed, on drop and when this process ends.
///
/// [`Deref`]s to the [`Cluster`] that it serves.
#[derive(Debug)]
pub struct ControlPlane {
    cluster: Cluster,
    // In the order in which they must end: each depends on those after it.
    scheduler: Child,
    controller_manager: Child,
    apiserver: Child,
    etcd: Child,
    scratch: Scratch,
}

impl ControlPlane {
    /// Starts a control plane in a temporary folder, and waits until all its parts are ready (about 3 s).
    ///
    /// # Errors
    /// When a program cannot be had ([`Programs::ensure`]) or does not become ready: with the end of its log.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(Scratch::temporary)
    }

    /// Starts a control plane in `dir`, which must not exist or be empty.
    ///
    /// # Errors
    /// As [`ControlPlane::start`], and when `dir` is in use.
    pub fn start_in(dir: &Path) -> Result<Self, Error> {
        Self::start_with(|| Scratch::at(dir))
    }

    fn start_with(scratch: impl Fn() -> Result<Scratch, Error>) -> Result<Self, Error> {
        let programs = Programs::ensure()?;
        let mut tries = 1;
        loop {
            match Self::try_start(&programs, scratch()?) {
                Err(Error::Ended { tail, .. })
                    if tries < TRIES && tail.contains("address already in use") =>
                {
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    fn try_start(programs: &Programs, scratch: Scratch) -> Result<Self, Error> {
        let begun = Instant::now();
        let dir = scratch.path();
        let pki = Pki::create(dir)?;
        let ports = Ports::choose().map_err(Error::file("find free ports for", dir))?;
        let probe = Probe::trusting(&pki.authority()?).map_err(Error::file("trust", &pki.path("ca.crt")))?;
        let cluster = Cluster::create(
            dir,
            &format!("https://127.0.0.1:{}", ports.api),
            pki,
            programs.kubectl.clone(),
        )?;

        let mut etcd = Child::start("etcd", etcd_command(programs, cluster.pki(), &ports), dir)?;
        let mut apiserver = Child::start(
            "kube-apiserver",
            apiserver_command(programs, cluster.pki(), &ports),
            dir,
        )?;
        wait_ready(
            &probe,
            ports.api,
            "/readyz",
            &mut [&mut apiserver, &mut etcd],
            begun,
        )?;
        let mut controller_manager = Child::start(
            "kube-controller-manager",
            manager_command(programs, &cluster, ports.manager)?,
            dir,
        )?;
        let mut scheduler = Child::start(
            "kube-scheduler",
            scheduler_command(programs, &cluster, ports.scheduler)?,
            dir,
        )?;
        wait_ready(
            &probe,
            ports.manager,
            "/healthz",
            &mut [&mut controller_manager],
            begun,
        )?;
        wait_ready(&probe, ports.scheduler, "/healthz", &mut [&mut scheduler], begun)?;
        wait_default_account(&cluster, &mut controller_manager, begun)?;

        say(&format!(
            "control plane up in {:.1} s: {}",
            begun.elapsed().as_secs_f64(),
            cluster.kubeconfig().display()
        ));
        Ok(Self {
            cluster,
            scheduler,
            controller_manager,
            apiserver,
            etcd,
            scratch,
        })
    }

    /// The folder with its kubeconfig and the log of each part.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The process ids of its parts, by name.
    #[must_use]
    pub fn processes(&self) -> [(&'static str, u32); 4] {
        let Self {
            cluster: _,
            scheduler,
            controller_manager,
            apiserver,
            etcd,
            scratch: _,
        } = self;
        [etcd, apiserver, controller_manager, scheduler].map(|child| (child.name(), child.id()))
    }

    /// Fails when one of its parts has ended, with the end of its log.
    ///
    /// # Errors
    /// [`Error::Ended`], naming the part.
    pub fn check(&mut self) -> Result<(), Error> {
        let Self {
            cluster: _,
            scheduler,
            controller_manager,
            apiserver,
            etcd,
            scratch: _,
        } = self;
        [etcd, apiserver, controller_manager, scheduler]
            .into_iter()
            .try_for_each(Child::check)
    }
}

impl Deref for ControlPlane {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

struct Ports {
    etcd: u16,
    peer: u16,
    api: u16,
    manager: u16,
    scheduler: u16,
}

impl Ports {
    /// Chooses ports that are free now; all are held until all are chosen, so no two are the same.
    fn choose() -> std::io::Result<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let held = [free()?, free()?, free()?, free()?, free()?];
        let [etcd, peer, api, manager, scheduler] =
            held.map(|socket| socket.local_addr().map(|address| address.port()));
        Ok(Self {
            etcd: etcd?,
            peer: peer?,
            api: api?,
            manager: manager?,
            scheduler: scheduler?,
        })
    }
}

fn etcd_command(programs: &Programs, pki: &Pki, ports: &Ports) -> Command {
    let (client, peer) = (
        format!("https://127.0.0.1:{}", ports.etcd),
        format!("https://127.0.0.1:{}", ports.peer),
    );
    let mut command = Command::new(&programs.etcd);
    command.args([
        "--name=testbed",
        "--data-dir=etcd",
        "--log-level=warn",
        "--client-cert-auth",
        "--peer-client-cert-auth",
    ]);
    // Nothing here outlives the machine, and syncing to disk is most of etcd's time.
    command.arg("--unsafe-no-fsync");
    command
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"));
    command
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"));
    command.arg(format!("--initial-cluster=testbed={peer}"));
    for (flag, file) in [
        ("--trusted-ca-file", "ca.crt"),
        ("--cert-file", "server.crt"),
        ("--key-file", "server.key"),
        ("--peer-trusted-ca-file", "ca.crt"),
        ("--peer-cert-file", "server.crt"),
        ("--peer-key-file", "server.key"),
    ] {
        file_flag(&mut command, flag, &pki.path(file));
    }
    command
}

fn apiserver_command(programs: &Programs, pki: &Pki, ports: &Ports) -> Command {
    let mut command = Command::new(&programs.kube_apiserver);
    command.args([
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        // It would publish a loopback address, which Kubernetes refuses, and log that every ten seconds.
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
        // Load tests are to meet the limits of our code, not those of a default meant for small masters.
        "--max-requests-inflight=3000",
        "--max-mutating-requests-inflight=1500",
    ]);
    command.arg(format!("--secure-port={}", ports.api));
    command.arg(format!("--etcd-servers=https://127.0.0.1:{}", ports.etcd));
    for (flag, file) in [
        ("--client-ca-file", "ca.crt"),
        ("--tls-cert-file", "server.crt"),
        ("--tls-private-key-file", "server.key"),
        ("--etcd-cafile", "ca.crt"),
        ("--etcd-certfile", "server.crt"),
        ("--etcd-keyfile", "server.key"),
        ("--service-account-key-file", "sa.pub"),
        ("--service-account-signing-key-file", "sa.key"),
    ] {
        file_flag(&mut command, flag, &pki.path(file));
    }
    command
}

fn manager_command(programs: &Programs, cluster: &Cluster, port: u16) -> Result<Command, Error> {
    let mut command = Command::new(&programs.kube_controller_manager);
    let kubeconfig = cluster.kubeconfig_for("system:kube-controller-manager", None)?;
    component_flags(&mut command, cluster.pki(), &kubeconfig, port);
    // The default of 20 a second makes deleting a few thousand objects take minutes.
    command.args([
        "--use-service-account-credentials=true",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]);
    for (flag, file) in [
        ("--service-account-private-key-file", "sa.key"),
        ("--root-ca-file", "ca.crt"),
        ("--cluster-signing-cert-file", "ca.crt"),
        ("--cluster-signing-key-file", "ca.key"),
    ] {
        file_flag(&mut command, flag, &cluster.pki().path(file));
    }
    Ok(command)
}

fn scheduler_command(programs: &Programs, cluster: &Cluster, port: u16) -> Result<Command, Error> {
    let mut command = Command::new(&programs.kube_scheduler);
    let kubeconfig = cluster.kubeconfig_for("system:kube-scheduler", None)?;
    component_flags(&mut command, cluster.pki(), &kubeconfig, port);
    Ok(command)
}

fn component_flags(command: &mut Command, pki: &Pki, kubeconfig: &Path, port: u16) {
    command.args([
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--profiling=false",
    ]);
    command.arg(format!("--secure-port={port}"));
    for flag in [
        "--kubeconfig",
        "--authentication-kubeconfig",
        "--authorization-kubeconfig",
    ] {
        file_flag(command, flag, kubeconfig);
    }
    file_flag(command, "--tls-cert-file", &pki.path("server.crt"));
    file_flag(command, "--tls-private-key-file", &pki.path("server.key"));
}

fn file_flag(command: &mut Command, flag: &str, file: &Path) {
    command.arg(format!("{flag}={}", file.display()));
}

/// Waits until the first of `needed` answers 200; gives up as soon as one of them ends.
fn wait_ready(
    probe: &Probe,
    port: u16,
    path: &str,
    needed: &mut [&mut Child],
    begun: Instant,
) -> Result<(), Error> {
    loop {
        let answer = match probe.get(port, path) {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => format!(
                "{} {}",
                answer.status,
                answer
                    .body
                    .lines()
                    .find(|line| line.starts_with("[-]"))
                    .unwrap_or_default()
            ),
            Err(error) => error.to_string(),
        };
        needed.iter_mut().try_for_each(|child| child.check())?;
        if begun.elapsed() > PATIENCE
            && let Some(child) = needed.first()
        {
            let (log, tail) = (child.log().to_owned(), child.log_tail());
            return Err(Error::NotReady {
                component: child.name(),
                seconds: PATIENCE.as_secs(),
                answer,
                log,
                tail,
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for the namespace `default` to have its account: before that, no pod can be created there.
fn wait_default_account(cluster: &Cluster, manager: &mut Child, begun: Instant) -> Result<(), Error> {
    while let Err(error) = cluster.kubectl(&["get", "serviceaccount", "default", "--output=name"]) {
        manager.check()?;
        if begun.elapsed() > PATIENCE {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
