//! What each part is started with.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::pki::Pki;
use crate::place::Place;
use crate::programs::Programs;

/// The loopback ports of one control plane.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) peer: u16,
    pub(super) api: u16,
    pub(super) manager: u16,
    pub(super) scheduler: u16,
}

impl Ports {
    /// Chooses ports that are free now; all are held until all are chosen, so no two are the same.
    pub(super) fn choose() -> std::io::Result<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let held = [free()?, free()?, free()?, free()?, free()?];
        let [etcd, peer, api, manager, scheduler] =
            held.map(|socket| socket.local_addr().map(|address| address.port()));
        Ok(Self { etcd: etcd?, peer: peer?, api: api?, manager: manager?, scheduler: scheduler? })
    }
}

pub(super) fn etcd(programs: &Programs, pki: &Pki, ports: &Ports) -> Command {
    let (client, peer) =
        (format!("https://127.0.0.1:{}", ports.etcd), format!("https://127.0.0.1:{}", ports.peer));
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
    command.arg(format!("--listen-client-urls={client}")).arg(format!("--advertise-client-urls={client}"));
    command.arg(format!("--listen-peer-urls={peer}")).arg(format!("--initial-advertise-peer-urls={peer}"));
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

pub(super) fn apiserver(programs: &Programs, pki: &Pki, ports: &Ports, place: &Place) -> Command {
    let mut command = Command::new(&programs.kube_apiserver);
    match place {
        Place::Loopback => {
            command.args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                // It would publish a loopback address, which Kubernetes refuses, and log that every ten seconds.
                "--endpoint-reconciler-type=none",
            ]);
        }
        Place::Vpc { gateway, .. } => {
            command.args(["--bind-address=::".to_owned(), format!("--advertise-address={gateway}")]);
            // As whom it asks kubelets for logs and shells.
            file_flag(&mut command, "--kubelet-client-certificate", &pki.path("kubelet-client.crt"));
            file_flag(&mut command, "--kubelet-client-key", &pki.path("kubelet-client.key"));
        }
    }
    let services: Vec<String> = place.services().iter().map(ToString::to_string).collect();
    command.arg(format!("--service-cluster-ip-range={}", services.join(",")));
    command.args([
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
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

pub(super) fn manager(programs: &Programs, cluster: &Cluster, port: u16) -> Result<Command, Error> {
    let mut command = Command::new(&programs.kube_controller_manager);
    let kubeconfig = cluster.kubeconfig_for("system:kube-controller-manager", None)?;
    component_flags(&mut command, cluster.pki(), &kubeconfig, port);
    // The default of 20 a second makes deleting a few thousand objects take minutes.
    command.args(["--use-service-account-credentials=true", "--kube-api-qps=500", "--kube-api-burst=1000"]);
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

pub(super) fn scheduler(programs: &Programs, cluster: &Cluster, port: u16) -> Result<Command, Error> {
    let mut command = Command::new(&programs.kube_scheduler);
    let kubeconfig = cluster.kubeconfig_for("system:kube-scheduler", None)?;
    component_flags(&mut command, cluster.pki(), &kubeconfig, port);
    Ok(command)
}

fn component_flags(command: &mut Command, pki: &Pki, kubeconfig: &Path, port: u16) {
    command.args(["--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false"]);
    command.arg(format!("--secure-port={port}"));
    for flag in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
        file_flag(command, flag, kubeconfig);
    }
    file_flag(command, "--tls-cert-file", &pki.path("server.crt"));
    file_flag(command, "--tls-private-key-file", &pki.path("server.key"));
}

fn file_flag(command: &mut Command, flag: &str, file: &Path) {
    command.arg(format!("{flag}={}", file.display()));
}
