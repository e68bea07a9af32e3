//! kube-proxy itself in its nftables mode, which this machine's kernel may not be able to: in Debian's kernel for clouds, with a real
//! API server on this machine.
//!
//! Needs root. The test runs twice: here it makes what kube-proxy is to see, and boots the kernel; in there it does the rest.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

#[expect(dead_code, reason = "the tests of the plugin need more of it")]
#[path = "plugin/call.rs"]
mod call;
#[expect(dead_code, reason = "the tests of the plugin need more of it")]
#[path = "plugin/space.rs"]
mod space;
#[path = "plugin/world.rs"]
mod world;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use coordinator::services::{MASQUERADE_MARK, Marked, masquerade};
use netlink::Block;
use serde_json::{Value, json};
use testbed::kernels::{Kernel, OWN_ADDRESS, Program, Reach, THIS_MACHINE};
use testbed::{NodePrograms, shared, unique};

use call::Runtime;
use space::Space;
use world::World;

/// What the inner run is told: kube-proxy's configuration, the port of the API server here, and the service's address.
const CONFIG: &str = "SPIDERPOOL_KUBE_PROXY";
const PORT: &str = "SPIDERPOOL_API_PORT";
const SERVICE: &str = "SPIDERPOOL_SERVICE";
/// Where kube-proxy finds the API server, on the node.
const API: &str = "127.0.0.1:6443";
/// The service's endpoint, which is not on the node.
const ENDPOINT: &str = "10.9.0.77";
/// Emulated, on a machine whose cores all do something else.
const PATIENCE: Duration = Duration::from_mins(8);
/// For kube-proxy, in there.
const READY: Duration = Duration::from_mins(5);

#[test]
fn a_service_whose_endpoint_is_elsewhere_answers_with_kube_proxy_in_its_nftables_mode() {
    match env::var_os(CONFIG) {
        Some(config) => inside(Path::new(&config)),
        None => here(),
    }
}

fn here() {
    let cluster = shared();
    let node = unique("cloud");
    let create = |object: &Value| cluster.kubectl_with(&["create", "-f", "-"], &object.to_string()).unwrap();
    create(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}));
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.9.0.2"}]}});
    let patch = ["patch", "node", &node, "--subresource=status", "-p", &status.to_string()];
    cluster.kubectl(&patch).unwrap();
    create(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": node, "namespace": "default"},
        "spec": {"ports": [{"port": 80}]},
    }));
    create(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": node, "namespace": "default", "labels": {"kubernetes.io/service-name": node}},
        "endpoints": [{"addresses": [ENDPOINT], "conditions": {"ready": true}}], "ports": [{"port": 80, "name": ""}],
    }));
    let address = "jsonpath={.spec.clusterIP}";
    let service = cluster.kubectl(&["get", "service", &node, "-n", "default", "-o", address]).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let given = fs::read_to_string(cluster.kubeconfig_for("system:kube-proxy", None).unwrap()).unwrap();
    fs::write(&kubeconfig, given.replace(cluster.server(), &format!("https://{API}"))).unwrap();
    let config = folder.path().join("kube-proxy.yaml");
    let proxy = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "nftables", "hostnameOverride": node, "clientConnection": {"kubeconfig": kubeconfig},
        // So it takes the pods to be the cluster's own, and does not masquerade them by itself.
        "clusterCIDR": "10.9.0.0/16",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
    });
    fs::write(&config, proxy.to_string()).unwrap();

    let programs = NodePrograms::ensure().unwrap().paths();
    let program = |name: &str| programs.iter().find(|(it, _)| *it == name).unwrap().1.clone();
    let (own, kube_proxy, nft) = (env::current_exe().unwrap(), program("kube-proxy"), program("nft"));
    let search = format!("/sbin:/bin:{}:{}", parent(&kube_proxy).display(), parent(&nft).display());
    let port = cluster.server().rsplit_once(':').unwrap().1;
    let outcome = Kernel::Cloud
        .run(
            &Program {
                path: &own,
                arguments: &["--nocapture"],
                environment: &[
                    (CONFIG, config.to_str().unwrap()),
                    (PORT, port),
                    (SERVICE, service.trim()),
                    ("PATH", &search),
                    ("SPIDERPOOL_KERNEL", "ipvlan nftables"),
                ],
                beside: &[
                    Path::new(env!("CARGO_BIN_EXE_coordinator")),
                    &kube_proxy,
                    &nft,
                    &config,
                    &kubeconfig,
                ],
                reach: Reach::ThisMachine,
            },
            PATIENCE,
        )
        .unwrap();
    assert!(outcome.status == 0 && outcome.output.contains("1 passed"), "{}", outcome.output);
    for kind in ["service", "node"] {
        cluster.kubectl(&["delete", kind, &node, "-n", "default", "--wait=false"]).unwrap();
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap().to_owned()
}

fn inside(config: &Path) {
    for command in [
        "modprobe virtio_net".to_owned(),
        "ip link set eth0 up".to_owned(),
        format!("ip address add {OWN_ADDRESS}/24 dev eth0"),
    ] {
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
    }
    let world = World::new();
    relay(&world.node, SocketAddr::from((THIS_MACHINE, env::var(PORT).unwrap().parse().unwrap())));
    world.outside.ip(&format!("address add {ENDPOINT}/24 dev port0"));
    world.outside.serve(&format!("{ENDPOINT}:80"));
    let pod = world.pod(5);
    let runtime = Runtime::new(&pod, "pod5-of-this-test");
    let service = env::var(SERVICE).unwrap();
    runtime.cluster_with("serviceCIDR", json!([service]));
    runtime.must(&world.node, "ADD");
    let mut proxy = start(&world.node, config);
    mark(&world.node, &[&service]);

    let asked = format!("{service}:80");
    let begun = Instant::now();
    while pod.call_once(&asked).is_none() {
        assert_eq!(proxy.try_wait().unwrap(), None, "kube-proxy ended");
        assert!(begun.elapsed() < READY, "{asked} does not answer");
        thread::sleep(Duration::from_secs(1));
    }
    println!("kube-proxy serves after {} s", begun.elapsed().as_secs());
    assert_eq!(pod.call(&asked), Some("10.9.0.2".parse().unwrap()), "the endpoint sees the node");
    let rules = world.node.inside(|| Command::new("nft").args(["list", "ruleset"]).output()).unwrap();
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(rules.contains("table ip kube-proxy"), "{rules}");
    // Without the mark nobody masquerades, and the endpoint answers past the node.
    mark(&world.node, &[]);
    assert_eq!(pod.call_once(&asked), None);
    mark(&world.node, &[&service]);
    assert!(pod.call(&asked).is_some());
    proxy.kill().and_then(|()| proxy.wait()).unwrap();
}

/// What the agent has done on its node, for these addresses of services.
fn mark(node: &Space, services: &[&str]) {
    let block = |text: &&str| Block::holding(text.parse().unwrap(), 32).unwrap();
    let blocks: Vec<Block> = services.iter().map(block).collect();
    assert_eq!(node.inside(|| masquerade(&blocks, MASQUERADE_MARK)).unwrap(), Marked::Yes);
}

fn start(node: &Space, config: &Path) -> Child {
    let mut command = Command::new("kube-proxy");
    command.arg("--config").arg(config).stdin(Stdio::null());
    node.inside(|| command.spawn()).unwrap()
}

/// Passes what connects to the API server's place on the node on to it: the node itself has no way out of this kernel.
fn relay(node: &Space, server: SocketAddr) {
    let listener = node.inside(|| TcpListener::bind(API)).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            thread::spawn(move || -> io::Result<()> {
                let server = TcpStream::connect(server)?;
                let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
                thread::spawn(move || io::copy(&mut from, &mut to));
                let (mut from, mut to) = (server, client);
                io::copy(&mut from, &mut to).map(drop)
            });
        }
    });
}
