//! Real nodes in a simulated cloud: what runs on them, what the wire lets through, and that nothing of them is left.
//!
//! Needs root: guests have taps, and a network of their own.

#![expect(clippy::unwrap_used, reason = "all of this is test code, its fixtures too")]

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use testbed::aliyun::Topology;
use testbed::{Families, Guest, Machines, NAT_V4, Nodes, Setup, Signal, WORLD_V4, WORLD_V6, spawn_tied};

/// For a machine whose cores all do something else.
const PATIENCE: Duration = Duration::from_mins(3);

/// Guests without Kubernetes, shared by the tests that each use a NIC of their own.
fn machines() -> &'static Machines {
    static SHARED: OnceLock<Machines> = OnceLock::new();
    SHARED.get_or_init(|| Machines::start(Topology::seed(), Families::Dual).unwrap())
}

fn eventually(what: &str, holds: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
    begun.elapsed()
}

/// A network namespace in a guest that hangs on one of its NICs: what a pod is to the wire.
struct Pod<'a> {
    guest: &'a Guest,
    name: &'static str,
    nic: &'static str,
}

impl<'a> Pod<'a> {
    fn new(guest: &'a Guest, name: &'static str, nic: &'static str, link: &str) -> Self {
        let script = format!(
            "set -e\nip netns add {name}\nip link add link {nic} name {name} type {link}\nip link set {name} netns {name}\n\
             ip -n {name} link set {name} up"
        );
        guest.sh(&script).unwrap();
        Self { guest, name, nic }
    }

    /// Gives it an address, instead of those that it had.
    fn address(&self, address: &str) -> &Self {
        let (name, family) = (self.name, if address.contains(':') { "-6" } else { "-4" });
        let (length, gateway, flag) = match (self.nic, family) {
            ("eth0", "-4") => (20, "172.31.207.253", ""),
            ("eth1", "-4") => (24, "192.168.0.253", ""),
            ("eth0", _) => (64, "2001:db8:31:c0ac:ffff:ffff:ffff:fff7", "nodad"),
            _ => (64, "2001:db8:31:c0c0:ffff:ffff:ffff:fff7", "nodad"),
        };
        let script = format!(
            "set -e\nip -n {name} {family} addr flush dev {name} scope global\n\
             ip -n {name} addr add {address}/{length} dev {name} {flag}\nip -n {name} {family} route replace default via {gateway}"
        );
        self.guest.sh(&script).unwrap();
        self
    }

    /// As whom the world sees it; `None` when nothing comes back.
    fn seen_by(&self, world: impl Into<IpAddr>) -> Option<IpAddr> {
        let script = format!("ip netns exec {} busybox nc -w 2 {} 7", self.name, world.into());
        self.guest.run(&script).unwrap().stdout.trim().parse().ok()
    }
}

#[test]
fn a_frame_enters_only_with_the_nics_mac_and_an_address_assigned_to_it() {
    let guest = machines().guest("master");
    let pod = Pod::new(guest, "spoof", "eth1", "ipvlan mode l2");
    assert_eq!(pod.address("192.168.0.156").seen_by(WORLD_V4), Some(NAT_V4.into()), "an assigned address");
    assert_eq!(pod.address("192.168.0.99").seen_by(WORLD_V4), None, "an address that nobody has");
    assert_eq!(pod.address("192.168.0.161").seen_by(WORLD_V4), None, "an address of another node's NIC");
    let own = "2001:db8:31:c0c0::156";
    assert_eq!(pod.address(own).seen_by(WORLD_V6), Some(own.parse().unwrap()), "an assigned IPv6 address");
    assert_eq!(
        pod.address("2001:db8:31:c0c0::99").seen_by(WORLD_V6),
        None,
        "an IPv6 address that nobody has"
    );
    // The test of the test: nothing was broken meanwhile.
    assert_eq!(pod.address("192.168.0.156").seen_by(WORLD_V4), Some(NAT_V4.into()));

    let stranger = Pod::new(guest, "stranger", "eth0", "macvlan mode bridge");
    assert_eq!(
        stranger.address("172.31.199.186").seen_by(WORLD_V4),
        None,
        "an assigned address on another MAC"
    );
    guest.sh("ip -n stranger link del stranger; ip netns del stranger").unwrap();
    let native = Pod::new(guest, "native", "eth0", "ipvlan mode l2");
    assert_eq!(
        native.address("172.31.199.186").seen_by(WORLD_V4),
        Some(NAT_V4.into()),
        "only the MAC was wrong"
    );
}

#[test]
fn the_wire_follows_the_cloud_by_itself() {
    let machines = machines();
    let (nic, ip, pod) = (
        "eni-bp1worker1",
        "192.168.0.162",
        Pod::new(machines.guest("worker"), "moved", "eth1", "ipvlan mode l2"),
    );
    pod.address(ip);
    let address = [ip.parse().unwrap()];
    assert_eq!(pod.seen_by(WORLD_V4), Some(NAT_V4.into()));
    machines.cloud().edit(|cloud| cloud.unassign(nic, &address)).unwrap();
    let stopped = eventually("what was taken away stops", || pod.seen_by(WORLD_V4).is_none());
    machines.cloud().edit(|cloud| cloud.assign(nic, &address)).unwrap();
    let flows = eventually("what was put back flows", || pod.seen_by(WORLD_V4).is_some());
    // A look that finds nothing takes two seconds by itself.
    assert!(stopped + flows < Duration::from_secs(20), "{stopped:?} {flows:?}");

    pod.address("192.168.0.215");
    assert_eq!(pod.seen_by(WORLD_V4), None);
    machines.edit(|cloud| cloud.assign_prefix(nic, "192.168.0.208/28".parse().unwrap())).unwrap().unwrap();
    assert_eq!(pod.seen_by(WORLD_V4), Some(NAT_V4.into()), "an address of an assigned prefix");
}

#[test]
fn a_guest_asks_the_metadata_service_and_learns_who_it_is() {
    for (node, instance) in [("master", "i-bp1master"), ("worker", "i-bp1worker")] {
        for service in ["100.100.100.200", "169.254.169.254"] {
            let ask = format!(
                "exec 3<>/dev/tcp/{service}/80\nprintf 'GET /latest/meta-data/instance-id HTTP/1.0\\r\\n\\r\\n' >&3\ncat <&3"
            );
            let answer = machines().guest(node).sh(&ask).unwrap();
            assert!(answer.ends_with(instance), "{answer}");
        }
    }
}

#[test]
fn commands_in_a_guest_run_side_by_side_and_say_how_they_ended() {
    let guest = machines().guest("master");
    let begun = Instant::now();
    thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || {
                let output =
                    guest.run(&format!("sleep 2; echo out {n}; echo err {n} >&2; exit {n}")).unwrap();
                assert_eq!(
                    (output.status, output.stdout, output.stderr),
                    (n, format!("out {n}\n"), format!("err {n}\n"))
                );
            });
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(8), "four times two seconds one after the other");
    let error = guest.sh("echo why >&2; false").unwrap_err().to_string();
    assert!(error.contains("why") && error.contains("status 1"), "{error}");
    // What a guest writes stays in it.
    guest.sh("echo here > /etc/spiderpool-was-here; grep here /etc/spiderpool-was-here").unwrap();
    assert!(!Path::new("/etc/spiderpool-was-here").exists());
}

#[test]
fn two_worlds_with_the_same_addresses_do_not_meet() {
    let other = Machines::start(Topology::seed(), Families::V4).unwrap();
    let listen = "setsid busybox nc -l -p 999 -e echo other < /dev/null > /dev/null 2>&1 &";
    other.guest("worker").sh(listen).unwrap();
    let ask = "busybox nc -w 5 172.31.199.184 999";
    let heard = || other.guest("master").run(ask).unwrap().stdout;
    assert_eq!(machines().guest("master").run(ask).unwrap().stdout, "", "nobody listens in this world");
    assert!(eventually("heard in its own world", || heard() == "other\n") < PATIENCE);
}

/// The addresses that a Node says it has.
fn addresses(nodes: &Nodes, node: &str) -> Vec<IpAddr> {
    let path = r#"jsonpath={range .status.addresses[?(@.type=="InternalIP")]}{.address}{"\n"}{end}"#;
    let text = nodes.kubectl(&["get", "node", node, "-o", path]).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// Runs a pod, looks into it, and has it ask the API server through its service.
fn a_pod_works(nodes: &Nodes) {
    let kubectl = |args: &[&str]| nodes.kubectl(args).unwrap();
    let image = "--image=docker.io/library/busybox:latest";
    eventually("the account", || nodes.kubectl(&["get", "serviceaccount", "default"]).is_ok());
    kubectl(&[
        "run",
        "p",
        image,
        "--image-pull-policy=IfNotPresent",
        "--",
        "sh",
        "-c",
        "echo hello; sleep 10000",
    ]);
    kubectl(&["wait", "--for=condition=Ready", "pod/p", "--timeout=180s"]);
    assert_eq!(kubectl(&["logs", "p"]), "hello\n");
    assert_eq!(kubectl(&["exec", "p", "--", "echo", "inside"]), "inside\n");
    let service = kubectl(&["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"]);
    // A server of TLS answers a request without TLS in plain words.
    let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {service} 443");
    eventually("the API server through its service", || {
        nodes.kubectl(&["exec", "p", "--", "sh", "-c", &ask]).is_ok_and(|said| said.contains("HTTP"))
    });
}

#[test]
fn nodes_of_both_families_are_ready_and_kubectl_looks_into_their_pods() {
    let nodes = Setup::new(Topology::seed()).start().unwrap();
    let own = ["172.31.199.183", "2001:db8:31:c0ac::1000"].map(|text| text.parse::<IpAddr>().unwrap());
    assert_eq!(addresses(&nodes, "master"), own);
    let ids = nodes.kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].spec.providerID}"]).unwrap();
    assert_eq!(ids, "cn-hangzhou.i-bp1master cn-hangzhou.i-bp1worker");
    a_pod_works(&nodes);
}

#[test]
fn nodes_may_have_one_family_only() {
    let v4 = Setup::new(Topology::large(1, 1, 2)).families(Families::V4).start().unwrap();
    assert!(addresses(&v4, "node-00000").iter().all(IpAddr::is_ipv4));
    a_pod_works(&v4);
    drop(v4);
    let v6 = Setup::new(Topology::large(1, 2, 2)).families(Families::V6).start().unwrap();
    assert!(addresses(&v6, "node-00000").iter().all(IpAddr::is_ipv6));
    assert_eq!(v6.guest("node-00000").sh("ip -4 -o addr show dev eth0").unwrap(), "");
    a_pod_works(&v6);
    let pod = v6.kubectl(&["get", "pod", "p", "-o", "jsonpath={.status.podIPs[*].ip}"]).unwrap();
    assert!(pod.parse::<IpAddr>().unwrap().is_ipv6(), "{pod}");
}

/// The program under test.
fn testbed() -> Command {
    Command::new(env!("CARGO_BIN_EXE_testbed"))
}

/// Processes with a path below `folder` in their command line, and those in a network namespace with one of these.
fn processes_of(folder: &Path) -> Vec<String> {
    let needle = format!("{}/", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&needle) {
            found.push(line);
        }
    }
    found
}

/// The network namespaces of all processes, but for our own.
fn namespaces() -> Vec<PathBuf> {
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let links =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|e| fs::read_link(e.path().join("ns/net")).ok());
    links.filter(|link| *link != own).collect()
}

fn namespace_of(folder: &Path) -> PathBuf {
    let pid = fs::read_to_string(folder.join("nodes/master/pid")).unwrap();
    fs::read_link(format!("/proc/{pid}/ns/net")).unwrap()
}

fn nothing_is_left(folder: &Path, namespace: &PathBuf) {
    eventually("all is gone", || {
        processes_of(folder).is_empty() && !folder.exists() && !namespaces().contains(namespace)
    });
}

#[test]
fn a_killed_world_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().canonicalize().unwrap().join("world");
    let mut command = testbed();
    command.args(["cluster", "--bare", "--dir"]).arg(&folder).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut world: Child = spawn_tied(command, Signal::KILL).unwrap();
    eventually("the guests boot", || folder.join("nodes/worker/pid").exists());
    eventually("and run", || {
        processes_of(&folder).iter().filter(|line| line.contains("linux.uml")).count() >= 4
    });
    let namespace = namespace_of(&folder);
    world.kill().unwrap();
    world.wait().unwrap();
    nothing_is_left(&folder, &namespace);
}

#[test]
fn a_detached_cluster_stays_until_it_is_told_to_go() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().canonicalize().unwrap().join("world");
    let up = || {
        let output =
            testbed().args(["cluster", "--bare", "--detach", "--dir"]).arg(&folder).output().unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{out}{err}");
        let last = out.lines().last().unwrap().to_owned();
        assert_eq!(last, format!("export KUBECONFIG={}", folder.join("kubeconfig").display()));
        err
    };
    let said = up();
    assert!(said.contains("booting the nodes") && said.contains("2 nodes Ready"), "{said}");
    let namespace = namespace_of(&folder);
    assert!(up().contains("up already"));

    let kubeconfig = folder.join("kubeconfig");
    let kubectl = testbed::Programs::ensure()
        .unwrap()
        .paths()
        .into_iter()
        .find(|it| it.0 == "kubectl")
        .unwrap()
        .1
        .to_owned();
    let get = Command::new(kubectl).args(["get", "nodes"]).env("KUBECONFIG", &kubeconfig).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&get.stdout).matches(" Ready ").count(), 2);
    let sh = testbed()
        .args(["sh", "--dir"])
        .arg(&folder)
        .args(["worker", "--", "echo", "it's", "$HOME"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&sh.stdout), "it's $HOME\n");
    let failed = testbed().args(["sh", "--dir"]).arg(&folder).args(["worker", "exit 3"]).status().unwrap();
    assert_eq!(failed.code(), Some(3));

    for _ in 0..2 {
        assert!(testbed().arg("down").arg("--dir").arg(&folder).status().unwrap().success());
        nothing_is_left(&folder, &namespace);
    }
}
