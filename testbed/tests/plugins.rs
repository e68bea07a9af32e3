//! The stand-in for Multus gives pods the networks that they name, takes them away again, and leaves nothing when it fails.
//!
//! Needs root: real plugins make real links in network namespaces of their own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is test code, its fixtures too")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Plugins, shared, unique};

const PATIENCE: Duration = Duration::from_secs(90);
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";
const DEFAULT: &str = "v1.multus-cni.io/default-network";

/// A plugin in shell that keeps a record of its calls, and fails where a file tells it to.
const RECORDER: &str = r#"#!/bin/sh
stdin=$(cat)
here=$(dirname "$0")
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS" >> "$here/calls"
echo "$stdin" > "$here/stdin-$CNI_COMMAND-$CNI_IFNAME"
if [ -e "$here/fail-$CNI_COMMAND-$CNI_IFNAME" ]; then
    echo '{"cniVersion":"1.1.0","code":11,"msg":"told to fail","details":"by the test"}'
    exit 1
fi
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}' ;;
ADD) echo '{"cniVersion":"1.1.0","interfaces":[{"name":"'$CNI_IFNAME'","mac":"02:00:00:00:00:01","sandbox":"'$CNI_NETNS'"}],"ips":[{"address":"10.9.0.7/24","interface":0}]}' ;;
esac
"#;

/// Runs a real plugin in the network namespace that stands for the node, while Multus itself stays where the API server is.
const IN_NODE: &str = "#!/bin/sh\nexec ip netns exec NODE PLUGIN\n";

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let Output { status, stdout, stderr } = output;
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn ip(args: &[&str]) -> String {
    run(Command::new("ip").args(args))
}

/// A network namespace by name, gone on drop.
struct Netns(String);

impl Netns {
    fn new() -> Self {
        let name = unique("mux");
        ip(&["netns", "add", &name]);
        Self(name)
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }

    /// The addresses of each interface, link-local ones left out.
    fn addresses(&self, interface: &str) -> Vec<String> {
        let text = ip(&["-n", &self.0, "-json", "address", "show", "dev", interface]);
        let links: Value = serde_json::from_str(&text).unwrap();
        let infos = links[0]["addr_info"].as_array().unwrap().iter();
        let global = infos.filter(|info| info["scope"] == "global");
        global.map(|info| info["local"].as_str().unwrap().to_owned()).collect()
    }

    fn interfaces(&self) -> Vec<String> {
        let text = ip(&["-n", &self.0, "-json", "link", "show"]);
        let links: Value = serde_json::from_str(&text).unwrap();
        let names = links.as_array().unwrap().iter();
        names.map(|link| link["ifname"].as_str().unwrap().to_owned()).filter(|name| name != "lo").collect()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // It may be the test that took it away.
        drop(Command::new("ip").args(["netns", "delete", &self.0]).output());
    }
}

/// Our probe, answering in a network namespace until it is dropped.
struct Server(Child);

impl Server {
    fn start(plugins: &Plugins, netns: &Netns) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &netns.0]).arg(plugins.probe()).args(["serve", "--port", "8080"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains("serving"), "{said}");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A namespace of Kubernetes, a folder of plugins, and Multus' configuration.
struct World {
    namespace: String,
    dir: tempfile::TempDir,
    plugins: Plugins,
}

/// What one CNI command came to.
struct Outcome(Value);

impl Outcome {
    #[track_caller]
    fn ok(self) -> Value {
        assert!(self.0.get("error").is_none(), "{}", self.0);
        self.0["result"].clone()
    }

    #[track_caller]
    fn error(self) -> Value {
        assert!(self.0.get("error").is_some(), "this should have failed: {}", self.0);
        self.0["error"].clone()
    }
}

impl World {
    fn new() -> Self {
        let cluster = shared();
        cluster.apply_crds().unwrap();
        let namespace = unique("multus");
        cluster.kubectl(&["create", "namespace", &namespace]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let world = Self { namespace, dir, plugins: Plugins::ensure().unwrap() };
        world.program("recorder", RECORDER);
        world.configure(cluster.kubeconfig());
        world.network("main", &json!({"cniVersion": "1.1.0", "type": "recorder"}));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path(name);
        // Not by this process: a child that another test forks meanwhile would have the file open for writing, and the
        // kernel then refuses to run it (ETXTBSY).
        let mut writer = Command::new("sh");
        writer.args(["-c", r#"cat > "$1" && chmod 755 "$1""#, "sh"]).arg(&path).stdin(Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
    }

    fn configure(&self, kubeconfig: &Path) {
        let conf = json!({
            "cniVersion": "1.1.0", "name": "multus-cni-network", "type": "multus",
            "kubeconfig": kubeconfig, "clusterNetwork": "main", "multusNamespace": self.namespace,
            "binDir": Plugins::upstream().unwrap(), "confDir": self.path("conf"), "cacheDir": self.path("cache"),
        });
        fs::write(self.path("multus.conf"), conf.to_string()).unwrap();
    }

    fn network(&self, name: &str, config: &Value) {
        let config = if config.is_null() { String::new() } else { config.to_string() };
        let definition = json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": {"config": config},
        });
        shared().kubectl_with(&["apply", "-f", "-"], &definition.to_string()).unwrap();
    }

    /// Creates a pod that no node ever runs, and returns its UID.
    fn pod(&self, name: &str, annotations: &Value) -> String {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "annotations": annotations},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "c.test/c:1"}]},
        });
        let begun = Instant::now();
        // The namespace's account comes a moment after the namespace.
        while let Err(error) = shared().kubectl_with(&["create", "-f", "-"], &pod.to_string()) {
            assert!(begun.elapsed() < PATIENCE, "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.of_pod(name, "{.metadata.uid}")
    }

    fn of_pod(&self, name: &str, path: &str) -> String {
        let output = format!("jsonpath={path}");
        shared().kubectl(&["get", "pod", "-n", &self.namespace, name, "-o", &output]).unwrap()
    }

    fn status(&self, pod: &str) -> Value {
        let text = self.of_pod(pod, r"{.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}");
        serde_json::from_str(&text).unwrap()
    }

    /// Runs Multus as a container runtime does.
    fn cni(&self, command: &str, container: &str, netns: &str, pod: &str, uid: &str) -> Outcome {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={pod};K8S_POD_UID={uid}",
            self.namespace
        );
        self.probe(&["-command", command, "-container", container, "-netns", netns, "-args", &args])
    }

    fn probe(&self, args: &[&str]) -> Outcome {
        let path = format!("{}:{}", self.plugins.folder().display(), self.dir.path().display());
        let output = Command::new(self.plugins.libcni_probe())
            .arg("-conf")
            .arg(self.path("multus.conf"))
            .arg("-cache")
            .arg(self.path("runtime-cache"))
            .args(["-path", &path])
            .args(args)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        Outcome(serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr));
        }))
    }

    /// Command, container and interface of each call of the recorder.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect()
    }

    fn fail(&self, command: &str, interface: &str) -> PathBuf {
        let path = self.path(&format!("fail-{command}-{interface}"));
        fs::write(&path, "").unwrap();
        path
    }

    fn stdin(&self, command: &str, interface: &str) -> Value {
        let path = self.path(&format!("stdin-{command}-{interface}"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    fn kept(&self) -> usize {
        fs::read_dir(self.path("cache/plans")).map_or(0, Iterator::count)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(shared().kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]));
    }
}

#[test]
fn a_pod_gets_the_links_and_addresses_of_its_networks_and_gives_them_back_after_it_is_gone() {
    let world = World::new();
    let (node, pod) = (Netns::new(), Netns::new());
    let upstream = Plugins::upstream().unwrap();
    for plugin in ["bridge", "ptp"] {
        let script =
            IN_NODE.replace("NODE", &node.0).replace("PLUGIN", &upstream.join(plugin).display().to_string());
        world.program(plugin, &script);
    }
    // A bridge without a MAC address of its own takes the lowest of its ports, so a further one may change it, which CHECK refuses.
    ip(&["-n", &node.0, "link", "add", "br0", "address", "02:00:00:82:00:01", "type", "bridge"]);
    let addresses = world.path("addresses");
    let ipam =
        |subnet: &str| json!({"type": "host-local", "dataDir": addresses, "ranges": [[{"subnet": subnet}]]});
    world.network("main", &json!({"cniVersion": "1.0.0", "type": "ptp", "ipam": ipam("10.81.0.0/24")}));
    let bridge = json!({"type": "bridge", "bridge": "br0", "ipam": ipam("10.82.0.0/24")});
    world.network("storage", &json!({"cniVersion": "1.0.0", "plugins": [bridge]}));
    let annotations = json!({NETWORKS: format!("storage, {}/storage@data0", world.namespace)});
    let uid = world.pod("p", &annotations);

    let result = world.cni("ADD", "c1", &pod.path(), "p", &uid).ok();
    assert_eq!(result["ips"][0]["address"], "10.81.0.2/24");
    assert_eq!(pod.addresses("eth0"), ["10.81.0.2"]);
    assert_eq!(pod.addresses("net1"), ["10.82.0.2"]);
    assert_eq!(pod.addresses("data0"), ["10.82.0.3"]);
    let status = world.status("p");
    let short = |n: usize| {
        let Value::Object(fields) = &status[n] else { panic!("{status}") };
        json!([fields["name"], fields["interface"], fields["ips"], fields.get("default")])
    };
    let name = |network: &str| format!("{}/{network}", world.namespace);
    assert_eq!(short(0), json!([name("main"), "eth0", ["10.81.0.2"], true]));
    assert_eq!(short(1), json!([name("storage"), "net1", ["10.82.0.2"], null]));
    assert_eq!(short(2), json!([name("storage"), "data0", ["10.82.0.3"], null]));
    assert_eq!(status[0]["gateway"], json!(["10.81.0.1"]));
    let mac = ip(&["-n", &pod.0, "-json", "link", "show", "dev", "eth0"]);
    assert!(mac.contains(status[0]["mac"].as_str().unwrap()), "{mac} {status}");
    let _server = Server::start(&world.plugins, &node);
    let from = |target: &str| -> Value {
        let probe = world.plugins.probe().display().to_string();
        let words = ["netns", "exec", &pod.0, &probe, "get", "--timeout", "10s", target];
        serde_json::from_str(&ip(&words)).unwrap()
    };
    for target in ["http://10.81.0.1:8080/", "tcp://10.81.0.1:8081", "udp://10.81.0.1:8080"] {
        let answer = from(target);
        assert!(answer["answer"]["source"].as_str().unwrap().starts_with("10.81.0.2:"), "{target}: {answer}");
    }
    world.cni("CHECK", "c1", &pod.path(), "p", &uid).ok();

    for kind in ["pod", "network-attachment-definition"] {
        let all = ["delete", kind, "--all", "-n", &world.namespace, "--grace-period=0", "--force"];
        shared().kubectl(&all).unwrap();
    }
    world.configure(Path::new("/nowhere"));
    world.cni("DEL", "c1", &pod.path(), "p", &uid).ok();
    assert_eq!(pod.interfaces(), Vec::<String>::new());
    for network in ["main", "storage"] {
        let taken = fs::read_dir(addresses.join(network)).unwrap().flatten();
        let taken: Vec<_> = taken
            .map(|entry| entry.file_name())
            .filter(|name| name.to_string_lossy().starts_with("10."))
            .collect();
        assert!(taken.is_empty(), "{network}: {taken:?}");
    }
    assert_eq!(world.kept(), 0);
    world.cni("DEL", "c1", &pod.path(), "p", &uid).ok();
}

#[test]
fn the_probe_counts_what_it_lost_and_how_long() {
    let plugins = Plugins::ensure().unwrap();
    let node = Netns::new();
    ip(&["-n", &node.0, "link", "set", "lo", "up"]);
    let server = Server::start(&plugins, &node);
    let mut looping = Command::new("ip");
    looping.args(["netns", "exec", &node.0]).arg(plugins.probe());
    looping.args(["loop", "--interval", "20ms", "--for", "2s", "[::1]:8080"]);
    let looping = looping.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    drop(server);
    let output = looping.wait_with_output().unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (sent, lost) = (seen["sent"].as_u64().unwrap(), seen["lost"].as_u64().unwrap());
    assert_eq!(sent, 100, "{seen}");
    assert!(lost > 10 && lost < 90, "{seen}");
    assert!(seen["longest_gap_ms"].as_f64().unwrap() > 300.0, "{seen}");
    assert!(output.status.success(), "a part of it was answered");
}

#[test]
fn an_add_that_fails_half_way_is_undone_in_the_reverse_order() {
    let world = World::new();
    let uid = world.pod("p", &json!({NETWORKS: "main,main,main"}));
    world.fail("ADD", "net2");
    let error = world.cni("ADD", "c1", "/run/netns/none", "p", &uid).error();
    assert_eq!(error["code"], 11, "{error}");
    let said = error["text"].as_str().unwrap();
    assert!(said.contains("/main on net2") && said.contains("told to fail"), "{said}");
    let expected = [
        "ADD c1 eth0",
        "ADD c1 net1",
        "ADD c1 net2",
        "DEL c1 net3",
        "DEL c1 net2",
        "DEL c1 net1",
        "DEL c1 eth0",
    ];
    assert_eq!(world.calls(), expected);
    assert_eq!(world.kept(), 0);
}

#[test]
fn a_del_that_fails_goes_on_with_the_others_and_can_be_repeated() {
    let world = World::new();
    let uid = world.pod("p", &json!({NETWORKS: "main,main"}));
    world.cni("ADD", "c1", "/run/netns/none", "p", &uid).ok();
    let fault = world.fail("DEL", "net1");
    world.cni("DEL", "c1", "", "p", &uid).error();
    assert_eq!(world.calls()[3..], ["DEL c1 net2", "DEL c1 net1", "DEL c1 eth0"]);
    assert_eq!(world.kept(), 1);
    fs::remove_file(fault).unwrap();
    world.cni("DEL", "c1", "", "p", &uid).ok();
    assert_eq!(world.kept(), 0);
}

#[test]
fn plugins_see_the_arguments_of_the_runtime_and_the_pods_wishes() {
    let world = World::new();
    let config =
        json!({"cniVersion": "1.1.0", "type": "recorder", "capabilities": {"ips": true, "mac": true}});
    world.network("wishes", &config);
    let networks = json!([{"name": "wishes", "namespace": world.namespace, "interface": "x0", "ips": ["10.9.0.7/24"], "mac": "02:00:00:00:00:09"}]);
    let uid = world.pod("p", &json!({NETWORKS: networks.to_string()}));
    world.cni("ADD", "c1", "/run/netns/none", "p", &uid).ok();
    let calls = fs::read_to_string(world.path("calls")).unwrap();
    assert!(calls.lines().all(|line| line.contains(&format!("K8S_POD_UID={uid}"))), "{calls}");
    let runtime = &world.stdin("ADD", "x0")["runtimeConfig"];
    assert_eq!(*runtime, json!({"ips": ["10.9.0.7/24"], "mac": "02:00:00:00:00:09"}));
    assert_eq!(world.stdin("ADD", "x0")["name"], "wishes");
}

#[test]
fn a_pod_can_choose_another_default_network_and_one_that_is_on_the_nodes_disk() {
    let world = World::new();
    world.network("disk", &Value::Null);
    fs::create_dir(world.path("conf")).unwrap();
    let list =
        json!({"cniVersion": "1.0.0", "name": "disk", "plugins": [{"type": "recorder", "from": "disk"}]});
    fs::write(world.path("conf/10-disk.conflist"), list.to_string()).unwrap();
    let uid = world.pod("p", &json!({DEFAULT: "disk"}));
    world.cni("ADD", "c1", "/run/netns/none", "p", &uid).ok();
    assert_eq!(world.stdin("ADD", "eth0")["from"], "disk");
    assert_eq!(world.status("p")[0]["name"], format!("{}/disk", world.namespace));
}

#[test]
fn what_the_stand_in_cannot_do_or_find_is_refused_before_any_plugin_runs() {
    let world = World::new();
    let cases = [
        ("absent", "absent"),
        (r#"[{"name":"main","default-route":["10.0.0.1"]}]"#, "default-route"),
        (r#"[{"name":"main"}"#, "cannot be read"),
        ("main@", "names no interface"),
        ("../main", "not a name of Kubernetes"),
        ("main@longer-than-links", "interface"),
        ("main@x,main@x", "two networks want the interface x"),
    ];
    for (n, (annotation, said)) in cases.into_iter().enumerate() {
        let pod = format!("p{n}");
        let uid = world.pod(&pod, &json!({NETWORKS: annotation}));
        let error = world.cni("ADD", "c1", "/run/netns/none", &pod, &uid).error();
        assert_eq!(error["code"], 7, "{annotation}: {error}");
        assert!(error["text"].as_str().unwrap().contains(said), "{annotation}: {error}");
    }
    assert_eq!(world.calls(), Vec::<String>::new());
    assert_eq!(world.kept(), 0);
}

#[test]
fn a_pod_that_was_replaced_by_one_of_its_name_gets_nothing() {
    let world = World::new();
    world.pod("p", &json!({}));
    let error = world.cni("ADD", "c1", "/run/netns/none", "p", "another").error();
    assert_eq!(error["code"], 3, "{error}");
    assert_eq!(world.calls(), Vec::<String>::new());
}

#[test]
fn gc_takes_away_what_is_stale_and_names_the_valid_ones_of_all_interfaces() {
    let world = World::new();
    let uid = world.pod("p", &json!({NETWORKS: "main"}));
    for container in ["c1", "c2"] {
        world.cni("ADD", container, "/run/netns/none", "p", &uid).ok();
    }
    world.probe(&["-command", "GC", "-valid", "c1:eth0"]).ok();
    let calls = world.calls();
    assert!(
        calls.contains(&"DEL c2 net1".to_owned()) && calls.contains(&"DEL c2 eth0".to_owned()),
        "{calls:?}"
    );
    assert!(!calls.iter().any(|call| call.starts_with("DEL c1")), "{calls:?}");
    let valid = &world.stdin("GC", "")["cni.dev/valid-attachments"];
    assert_eq!(
        *valid,
        json!([{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c1", "ifname": "net1"}])
    );
    assert_eq!(world.kept(), 1);
}

#[test]
fn status_is_that_of_the_clusters_network() {
    let world = World::new();
    world.probe(&["-command", "STATUS"]).ok();
    world.fail("STATUS", "");
    assert_eq!(world.probe(&["-command", "STATUS"]).error()["code"], 11);
    world.configure(Path::new("/nowhere"));
    assert_eq!(world.probe(&["-command", "STATUS"]).error()["code"], 50);
}

#[test]
fn cnitool_and_the_kept_result_agree_with_what_was_added() {
    let world = World::new();
    let uid = world.pod("p", &json!({}));
    let result = world.cni("ADD", "c1", "/run/netns/none", "p", &uid).ok();
    assert_eq!(world.cni("CACHED", "c1", "/run/netns/none", "p", &uid).ok(), result);
    let versions = world.probe(&["-command", "VERSION"]).ok();
    assert!(versions["multus"].as_array().unwrap().contains(&json!("1.1.0")), "{versions}");

    let pod = Netns::new();
    let path = format!("{}:{}", world.plugins.folder().display(), world.dir.path().display());
    let args = format!("K8S_POD_NAMESPACE={};K8S_POD_NAME=p;K8S_POD_UID={uid}", world.namespace);
    let cnitool = |command: &str| {
        let mut tool = Command::new(world.plugins.cnitool());
        tool.args([command, "multus-cni-network", &pod.path()]).env("NETCONFPATH", world.dir.path());
        run(tool.env("CNI_PATH", &path).env("CNI_ARGS", &args))
    };
    let said: Value = serde_json::from_str(&cnitool("add")).unwrap();
    assert_eq!(said["ips"], result["ips"]);
    cnitool("del");
    assert_eq!(world.kept(), 1, "only c1 is left");
}
