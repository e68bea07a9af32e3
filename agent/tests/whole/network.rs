//! The agent and the coordinator together: a node and pods of real network namespaces, which the agent looks after while the node
//! changes.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use coordinator::services::MASQUERADE_MARK;
use kube::Api;
use kube::api::{Patch, PatchParams};
use netlink::{Block, GROUP, Nftables, xtables};
use serde_json::{Value, json};

use crate::plugin::binary;
use crate::space::Space;
use crate::stage::{Agent, Guest, Stage, create, eventually};
use crate::world::World;

/// How soon a running pod follows its node: a second in which changes gather, and what a busy machine takes.
const SOON: Duration = Duration::from_secs(20);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn block(text: &str) -> Block {
    let (address, prefix) = text.split_once('/').expect("a block");
    Block::holding(ip(address), prefix.parse().expect("a length")).expect("a block")
}

/// Has the coordinator, which asks the agent, lay a pod's cable.
fn add(world: &World, space: &Space, pod: &Guest, agent: &Agent) {
    let network = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "coordinator", "agentSocketPath": agent.socket,
        "logOptions": {"logFile": agent.socket.with_extension("coordinator.log")},
        "prevResult": {
            "cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": space.path()}], "ips": [],
        },
    });
    let arguments =
        format!("K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={}", pod.namespace, pod.name, pod.uid);
    let mut command = Command::new(binary("coordinator", "coordinator"));
    command
        .env_clear()
        .envs([("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", &pod.name), ("CNI_IFNAME", "eth0")])
        .envs([("CNI_PATH", "/opt/cni/bin"), ("CNI_ARGS", &arguments)])
        .env("CNI_NETNS", space.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = world.node.inside(|| command.spawn()).expect("the coordinator");
    child.stdin.take().expect("its stdin").write_all(network.to_string().as_bytes()).expect("a reader");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Waits until something is seen, and no longer than is promised.
async fn soon(what: &str, look: impl Fn() -> bool) {
    let begin = Instant::now();
    eventually(what, async || look().then_some(())).await;
    let took = begin.elapsed();
    assert!(took < SOON, "{what}: only after {took:?}");
}

/// How many blocks of services the node marks for kube-proxy, beside its own addresses; which of its packet filters does it is the kernel's matter.
fn marked(node: &Space, blocks: &[Block]) -> usize {
    let by_nftables = || {
        let mut nftables = Nftables::open().expect("an answer")?;
        nftables.rules("spiderpool-services").expect("an answer").map(|rules| rules - 1)
    };
    let by_mangle = || {
        let is = |block: &&Block| {
            let marks = xtables::Marks::Destinations {
                group: GROUP,
                blocks: std::slice::from_ref(*block),
                own: xtables::Own::Marked,
                mark: MASQUERADE_MARK,
            };
            xtables::is_marked(block.family(), &marks).expect("an answer") == Some(true)
        };
        blocks.iter().filter(is).count()
    };
    node.inside(|| by_nftables().unwrap_or_else(by_mangle))
}

async fn coordinator_says(stage: &Stage, services: &[&str]) {
    let api: Api<api::SpiderCoordinator> = Api::all(stage.client.clone());
    let status = json!({"status": {"phase": "Synced", "serviceCIDR": services, "overlayPodCIDR": []}});
    api.patch_status("default", &PatchParams::default(), &Patch::Merge(&status)).await.expect("a status");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_pods_follow_their_node_and_services_are_masqueraded_as_long_as_the_agent_is_there() {
    let stage = Stage::on_a_plane_of_its_own().await;
    let api: Api<api::SpiderCoordinator> = Api::all(stage.client.clone());
    create(&api, json!({"metadata": {"name": "default"}, "spec": {"podCIDRType": "none"}})).await;
    coordinator_says(&stage, &["10.96.0.0/12"]).await;
    stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let world = World::new();
    let (web, other, foreign) = (world.pod(5), world.pod(6), world.pod(7));
    std::fs::create_dir(stage.netns()).expect("a folder");
    let keep = |name: &str, at: &Path| symlink(at, Path::new(&stage.netns()).join(name)).expect("a link");
    keep("cni-other", &other.path());
    keep("cni-foreign", &foreign.path());
    keep("node", &world.node.path());
    std::fs::write(Path::new(&stage.netns()).join("cni-left-behind"), "").expect("a file");
    let before = foreign.all();

    let agent = stage.launch_on("a", &world.node.path());
    agent.serves().await;
    let pods = [stage.pod("web", "a", json!({})).await, stage.pod("other", "a", json!({})).await];
    // Only of one of them the agent learns by an ADD where it is; the other is in the runtime's folder.
    let mut request = pods[0].request("web", "eth0");
    request["netNamespace"] = json!(web.path());
    assert_eq!(agent.call("POST", "/v1/ipam/ip", Some(&request)).await.0, 200);
    add(&world, &web, &pods[0], &agent);
    add(&world, &other, &pods[1], &agent);

    let blocks = [block("10.96.0.0/12"), block("fd00:96::/112")];
    soon("services are masqueraded", || marked(&world.node, &blocks) == 1).await;
    coordinator_says(&stage, &["10.96.0.0/12", "fd00:96::/112"]).await;
    soon("both blocks of services are", || marked(&world.node, &blocks) == 2).await;

    let reaches = |pod: &Space, address: &str| {
        pod.ip("route show table main").contains(&format!("{address} dev veth0"))
    };
    assert!(reaches(&web, "10.9.1.2") && !reaches(&web, "10.9.1.77"));
    world.node.ip("address add 10.9.1.77/24 dev eth1");
    soon("a pod has a way to the new address", || reaches(&web, "10.9.1.77")).await;
    soon("so has one that is known by its namespace only", || reaches(&other, "10.9.1.77")).await;
    world.node.serve("10.9.1.77:80");
    assert_eq!(web.call("10.9.1.77:80"), Some(ip("10.9.0.5")));
    assert_eq!(other.call("10.9.1.77:80"), Some(ip("10.9.0.6")));
    let line = agent.says(&format!("brought up to date\",\"pod\":\"{}/web\"", stage.name)).await;
    assert!(line.contains("10.9.1.77") && line.contains(&web.path().display().to_string()), "{line}");
    world.node.ip("address del 10.9.1.77/24 dev eth1");
    soon("nothing leads to the address that is gone", || {
        !reaches(&web, "10.9.1.77") && !reaches(&other, "10.9.1.77")
    })
    .await;

    // As a restart of systemd-networkd does.
    world.node.ip("rule del table 500");
    soon("the node has its rule again", || world.node.ip("rule show").contains("lookup 500")).await;

    // The kernel refuses a way through an end that has no IPv6; the pod is nobody's but its own trouble.
    world.node.set("ipv6/conf/vethweb/disable_ipv6", "1");
    world.node.ip("address add 10.9.2.77/24 dev eth2");
    soon("a pod that fails is no other's matter", || reaches(&other, "10.9.2.77")).await;
    agent.says("pod's ways not brought up to date: ").await;
    let count = async |outcome: &str| {
        agent.metric(&format!("spiderpool_node_refreshes_total{{outcome=\"{outcome}\"}}")).await
    };
    assert!(count("failed").await > 0.5 && count("changed").await > 3.5 && count("unchanged").await > 0.5);
    assert!(agent.metric("spiderpool_node_masquerades_total{outcome=\"done\"}").await > 1.5);
    assert_eq!(foreign.all(), before, "a namespace that the coordinator never served is not touched");
    assert!(world.node.ip("route show table main").contains("default via 10.9.0.1"), "nor is the node's own");

    // Nobody takes anything away when the agent goes.
    agent.signal("TERM");
    let mut agent = agent;
    assert_eq!(agent.ended().await, 0);
    assert!(reaches(&web, "10.9.1.2") && marked(&world.node, &blocks) == 2);
    // What changed meanwhile is made good by the next.
    world.node.ip("address add 10.9.1.78/24 dev eth1");
    let _agent = stage.launch_on("a", &world.node.path());
    soon("the next agent looks at once", || reaches(&other, "10.9.1.78")).await;
}

/// Starts a program on a kernel without packet filters, as far as that program sees: netlink knows no netfilter, and sockets know
/// no tables of iptables.
fn without_filters(program: &str) -> Command {
    let (prctl, socket, getsockopt, setsockopt) = match std::env::consts::ARCH {
        "aarch64" => (167, 198, 209, 208),
        _ => (157, 41, 55, 54),
    };
    // Loads the number or an argument of a call, compares, and returns, as classic BPF; jumps count what they leave out.
    let program_of: [(u16, u8, u8, u32); 14] = [
        (0x20, 0, 0, 0),
        (0x15, 0, 2, socket),
        (0x20, 0, 0, 32),
        (0x15, 7, 9, 12),
        (0x15, 1, 0, getsockopt),
        (0x15, 0, 7, setsockopt),
        (0x20, 0, 0, 24),
        (0x15, 1, 0, 0),
        (0x15, 0, 4, 41),
        (0x20, 0, 0, 32),
        (0x15, 1, 2, 64),
        // EPROTONOSUPPORT, ENOPROTOOPT, and "go on".
        (0x06, 0, 0, 0x0005_005d),
        (0x06, 0, 0, 0x0005_005c),
        (0x06, 0, 0, 0x7fff_0000),
    ];
    let mut bytes = Vec::new();
    for (code, yes, no, value) in program_of {
        bytes.extend(code.to_ne_bytes());
        bytes.extend([yes, no]);
        bytes.extend(value.to_ne_bytes());
    }
    let filter: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    // PR_SET_SECCOMP with a filter.
    let script = format!(
        "my $filter = pack('C*', split(',', shift)); my $program = pack('S x6 P', length($filter) / 8, $filter); \
         syscall({prctl}, 22, 2, $program) == 0 or die \"seccomp: $!\"; exec @ARGV or die $!"
    );
    let mut perl = Command::new("perl");
    perl.args(["-e", &script, &filter.join(","), program]);
    perl
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_have_services_masqueraded_says_so_on_the_coordinator_and_takes_it_back() {
    let mut stage = Stage::on_a_plane_of_its_own().await;
    stage.with_shipped_rights();
    let api: Api<api::SpiderCoordinator> = Api::all(stage.client.clone());
    create(&api, json!({"metadata": {"name": "default"}, "spec": {"podCIDRType": "none"}})).await;
    let foreign = json!({
        "type": "ServiceCIDRKnown", "status": "True", "reason": "Explicit", "message": "from spec.serviceCIDR",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = json!({"status": {
        "phase": "Synced", "serviceCIDR": ["10.96.0.0/12", "fd00:96::/112"], "conditions": [foreign],
    }});
    api.patch_status("default", &PatchParams::default(), &Patch::Merge(&status)).await.expect("a status");
    let says = async |letter: &str| {
        let kind = api::service_replies(&stage.node(letter));
        let status = api.get("default").await.expect("the object").status.expect("a status");
        assert!(status.conditions.iter().any(|condition| condition.type_ == "ServiceCIDRKnown"));
        status.conditions.into_iter().find(|condition| condition.type_ == kind)
    };
    let node = Space::new();
    let agent = env!("CARGO_BIN_EXE_spiderpool-agent");

    let old = stage.launch_beside(without_filters(agent), "a", &node.path());
    old.serves().await;
    let said = eventually("the node says so", async || says("a").await).await;
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("False", "KernelCannotMark"));
    for part in [stage.node("a").as_str(), "nf_tables", "clusterCIDR", "not contain the pods' addresses"] {
        assert!(said.message.contains(part), "{part}: {}", said.message);
    }
    assert!(old.metric("spiderpool_node_masquerades_total{outcome=\"impossible\"}").await > 0.5);
    // As the controller does, which writes the whole of what it read.
    let all = api.get("default").await.expect("the object").status.expect("a status").conditions;
    let whole = json!({"status": {"conditions": all}});
    api.patch_status("default", &PatchParams::default(), &Patch::Merge(&whole)).await.expect("a status");

    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--bounding-set=-net_admin,-sys_admin", "--inh-caps=-net_admin,-sys_admin", agent]);
    let weak = stage.launch_beside(setpriv, "b", &node.path());
    let said = eventually("one without the rights says so", async || says("b").await).await;
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("Unknown", "NotMarked"));
    assert!(said.message.contains("NET_ADMIN and SYS_ADMIN"), "{}", said.message);
    drop(weak);

    // The node gets another kernel.
    drop(old);
    let new = stage.launch_on("a", &node.path());
    eventually("it is taken back", async || says("a").await.is_none().then_some(())).await;
    assert!(says("b").await.is_some(), "what another node says is its own matter");
    assert!(new.metric("spiderpool_node_masquerades_total{outcome=\"done\"}").await > 0.5);
    let blocks = [block("10.96.0.0/12"), block("fd00:96::/112")];
    assert_eq!(marked(&node, &blocks), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_that_pods_stand_on_are_there_again_after_a_reboot() {
    let stage = Stage::open().await;
    let world = World::new();
    let records = stage.dir.path().join("ifacer");
    let network = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "ifacer", "interfaces": ["eth2"], "mtu": 1600,
        "stateDir": records, "lockFile": stage.dir.path().join("ifacer.lock"),
        "logOptions": {"logFile": stage.dir.path().join("ifacer.log")},
    });
    let mut command = Command::new(binary("ifacer", "ifacer"));
    command
        .env_clear()
        .envs([("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "pod"), ("CNI_IFNAME", "eth0")])
        .envs([("CNI_PATH", "/opt/cni/bin"), ("CNI_NETNS", "/nonexistent")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = world.node.inside(|| command.spawn()).expect("the ifacer");
    child.stdin.take().expect("its stdin").write_all(network.to_string().as_bytes()).expect("a reader");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let nic = || world.node.ip("-o link show eth2");
    assert!(nic().contains("mtu 1600") && nic().contains(",UP"), "{}", nic());
    // The same disk, and a kernel that has forgotten; and a record of a NIC that was taken out.
    world.node.ip("link set eth2 down mtu 1500");
    let gone = r#"{"format": 1, "asked": {"interfaces": ["eth9"]}}"#;
    std::fs::write(records.join("eth9.json"), gone).expect("a record");

    let agent = stage.launch_on("a", &world.node.path());
    let line = agent.says("interface is there again").await;
    assert!(
        line.contains("eth2") && nic().contains("mtu 1600") && nic().contains(",UP"),
        "{line}: {}",
        nic()
    );
    agent.says("interface cannot be had again: ").await;
    agent.serves().await;
    for (outcome, expected) in [("changed", 1.0), ("failed", 1.0), ("unchanged", 0.0)] {
        let count = agent.metric(&format!("spiderpool_node_interfaces_total{{outcome=\"{outcome}\"}}")).await;
        assert!((count - expected).abs() < 0.5, "{outcome}: {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_the_rights_or_the_flag_says_so_and_serves() {
    let stage = Stage::open().await;
    let node = Space::new();
    let mut setpriv = Command::new("setpriv");
    setpriv
        .args(["--bounding-set=-net_admin,-sys_admin", "--inh-caps=-net_admin,-sys_admin"])
        .arg(env!("CARGO_BIN_EXE_spiderpool-agent"));
    let agent = stage.launch_beside(setpriv, "a", &node.path());
    agent.serves().await;
    let line = agent.says("the node's network is not looked after").await;
    let said: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(said["level"], "WARN");
    assert!(line.contains("NET_ADMIN and SYS_ADMIN"), "{line}");
    let gone = stage.launch_on("b", Path::new("/nowhere"));
    gone.serves().await;
    gone.says("cannot enter the network namespace /nowhere").await;
    drop(gone);
    let plain = stage.agent("b").await;
    assert!(!plain.log().contains("the node's network"), "{}", plain.log());
    assert!(plain.metric("spiderpool_node_refreshes_total").await < 0.5);
}
