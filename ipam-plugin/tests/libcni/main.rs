//! The real binary under upstream's own library and tools: their plugins call it for addresses, in real network namespaces.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's own functions may fail it")]

#[path = "../plugin/agent.rs"]
#[expect(dead_code, reason = "shared with the byte tests, which need more of it")]
mod agent;
#[path = "../../../netlink/tests/neighbours/pair.rs"]
#[expect(dead_code, reason = "shared with netlink's tests, which need more of it")]
mod pair;

use std::fs;
use std::path::Path;
use std::process::Command;

use agent::{ScriptedAgent, both_families, http};
use pair::{End, Pair};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::Plugins;

const ARGS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1";

/// A node and a sandbox, with an agent on the node.
struct Node {
    folder: TempDir,
    namespaces: Pair,
    programs: Plugins,
    agent: ScriptedAgent,
}

impl Node {
    fn new() -> Self {
        Self::answering(http(200, ""))
    }

    /// Where every call but ADD is answered so.
    fn answering(other: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let namespaces = Pair::new();
        namespaces.pod.ip("link delete pod");
        let add = http(200, &both_families().to_string().replace("\"pod\"", "\"eth0\""));
        let agent = ScriptedAgent::new(folder.path(), move |asked, mut stream| {
            let answer = if asked.what.starts_with("POST /v1/ipam/ip") { &add } else { &other };
            std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
        });
        Self { folder, namespaces, programs: Plugins::ensure().unwrap(), agent }
    }

    fn sandbox(&self) -> &End {
        &self.namespaces.pod
    }

    /// A configuration of one plugin, which has its addresses from ours or is ours.
    fn configure(&self, version: &str, plugin: &str) {
        let at = |name: &str| self.folder.path().join(name);
        let ipam = json!({
            "type": "spiderpool", "ipam_unix_socket_path": at("agent.sock"),
            "log_file_path": at("spiderpool.log"), "del_queue_dir": at("queue"),
        });
        let list = json!({ "cniVersion": version, "name": "net", "plugins": [{ "type": plugin, "ipMasq": false, "ipam": ipam }] });
        fs::write(at("net.conflist"), list.to_string()).unwrap();
    }

    fn search_path() -> String {
        let ours = Path::new(env!("CARGO_BIN_EXE_spiderpool")).parent().unwrap();
        format!("{}:{}", ours.display(), Plugins::upstream().unwrap().display())
    }

    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &self.namespaces.peer.pid().to_string(), "--"]);
        command
    }

    /// Runs a verb through libcni, and returns what it says.
    fn probe(&self, verb: &str, more: &[&str]) -> Value {
        let at = |name: &str| self.folder.path().join(name);
        let output = self
            .inside()
            .arg(self.programs.libcni_probe())
            .args(["-command", verb, "-container", "sandbox-1", "-args", ARGS, "-path", &Self::search_path()])
            .arg("-conf")
            .arg(at("net.conflist"))
            .arg("-cache")
            .arg(at("cache"))
            .arg("-netns")
            .arg(self.sandbox().path())
            .args(more)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    fn done(&self, verb: &str, more: &[&str]) -> Value {
        let said = self.probe(verb, more);
        assert!(said.get("error").is_none(), "{verb}: {said}");
        said["result"].clone()
    }
}

#[test]
fn upstreams_plugins_get_their_addresses_from_ours_in_every_version_they_speak() {
    for plugin in ["ptp", "bridge"] {
        for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
            let node = Node::new();
            node.configure(version, plugin);
            let result = node.done("ADD", &[]);
            let addresses: Vec<_> =
                result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap()).collect();
            assert_eq!(addresses, ["10.9.0.5/24", "fd00:9::5/64"], "{plugin} {version}: {result}");
            let configured = node.sandbox().ip("address show dev eth0");
            assert!(
                configured.contains("inet 10.9.0.5/24") && configured.contains("inet6 fd00:9::5/64"),
                "{configured}"
            );
            assert!(node.sandbox().ip("route show").contains("default via 10.9.0.1 dev eth0"));
            assert_eq!(node.agent.asked().what, "POST /v1/ipam/ip");

            if version >= "0.4.0" {
                node.done("CHECK", &[]);
                let asked = node.agent.asked();
                assert_eq!(
                    (asked.what.as_str(), &asked.body["addresses"]),
                    ("POST /v1/ipam/check", &json!(["10.9.0.5", "fd00:9::5"]))
                );
                node.sandbox().ip("address delete 10.9.0.5/24 dev eth0");
                let said = node.probe("CHECK", &[]);
                assert!(
                    said["error"]["msg"].as_str().is_some_and(|text| text.contains("10.9.0.5")),
                    "{said}"
                );
                node.agent.asked();
            }
            node.done("DEL", &[]);
            assert_eq!(node.agent.asked().what, "DELETE /v1/ipam/ip");
            assert!(!node.sandbox().ip("link show").contains("eth0"));
            // Again, as runtimes do.
            node.done("DEL", &[]);
        }
    }
}

#[test]
fn upstreams_library_speaks_every_verb_of_1_1_0_with_ours() {
    let node = Node::new();
    node.configure("1.1.0", "spiderpool");
    let versions = node.done("VERSION", &[]);
    assert_eq!(versions["spiderpool"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    node.done("STATUS", &[]);
    assert_eq!(node.agent.asked().what, "GET /v1/ipam/healthy");
    let result = node.done("ADD", &[]);
    assert_eq!(result["ips"][0]["address"], "10.9.0.5/24");
    assert_eq!(node.agent.asked().what, "POST /v1/ipam/ip");
    assert_eq!(node.done("CACHED", &[])["ips"], result["ips"]);
    // Without an interface there is nothing that could be right.
    let said = node.probe("CHECK", &[]);
    assert_eq!(said["error"]["code"], 103, "{said}");
    node.agent.asked();
    node.done("GC", &["-valid", "sandbox-1:eth0,other:net1"]);
    let asked = node.agent.asked();
    let valid = json!([{ "containerID": "sandbox-1", "ifName": "eth0" }, { "containerID": "other", "ifName": "net1" }]);
    assert_eq!((asked.what.as_str(), &asked.body["attachments"]), ("POST /v1/ipam/gc", &valid));
    // What is cached and no longer valid, the library deletes before it collects.
    node.done("GC", &[]);
    assert_eq!(node.agent.asked().what, "DELETE /v1/ipam/ip");
    assert_eq!(node.agent.asked().body["attachments"], json!([]));
}

#[test]
fn an_error_of_ours_reaches_the_runtime_with_its_code_through_upstreams_plugins() {
    let node = Node::answering(http(500, "\"no\""));
    node.configure("1.1.0", "spiderpool");
    let said = node.probe("STATUS", &[]);
    assert!(
        said["error"]["code"] == 50 && said["error"]["msg"].as_str().unwrap().contains("refused: no"),
        "{said}"
    );
    fs::remove_file(node.folder.path().join("agent.sock")).unwrap();
    node.configure("1.0.0", "ptp");
    let said = node.probe("ADD", &[]);
    assert!(
        said["error"]["code"] == 100 && said["error"]["msg"].as_str().unwrap().contains("does not exist"),
        "{said}"
    );
    // Nothing is left of the attempt, and the DEL waits for the agent.
    node.done("DEL", &[]);
    assert!(!node.sandbox().ip("link show").contains("eth0"));
    assert!(node.folder.path().join("queue/sandbox-1_eth0.json").exists());
}

#[test]
fn cnitool_adds_checks_and_deletes() {
    let node = Node::new();
    node.configure("1.0.0", "ptp");
    let cnitool = node.programs.cnitool();
    let (tool, netns) = (cnitool.display(), node.sandbox().path());
    // Its cache is always below /var/lib: one of its own for the three.
    let script =
        ["add", "check", "del"].map(|verb| format!("{tool} {verb} net {}", netns.display())).join(" && ");
    let output = node
        .inside()
        .args(["unshare", "--mount", "sh", "-c", &format!("mount -t tmpfs none /var/lib && {script}")])
        .env("NETCONFPATH", node.folder.path())
        .env("CNI_PATH", Node::search_path())
        .env("CNI_ARGS", ARGS)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["ips"][1]["address"], "fd00:9::5/64");
    for wanted in ["POST /v1/ipam/ip", "POST /v1/ipam/check", "DELETE /v1/ipam/ip"] {
        assert_eq!(node.agent.asked().what, wanted);
    }
}
