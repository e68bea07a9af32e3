use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::{env, fs, io::Write};

use ifacer::assert::Places;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::space::Space;

/// The runtime's calls for one network, and what the plugin leaves on a node's disk.
pub(crate) struct Runtime {
    folder: TempDir,
    /// Keys of the network configuration.
    pub(crate) network: Value,
}

/// What the runtime sees of a call.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) succeeded: bool,
    pub(crate) stdout: Value,
}

impl Runtime {
    /// With the keys that a generated configuration has.
    pub(crate) fn new(keys: Value) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), network: keys }
    }

    pub(crate) fn places(&self) -> Places {
        Places { records: self.folder.path().join("state"), lock: self.folder.path().join("run/lock") }
    }

    /// The names of what is recorded.
    pub(crate) fn records(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.places().records) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn stdin(&self) -> Value {
        let mut network = self.network.clone();
        for (key, value) in [
            ("cniVersion", json!("1.1.0")),
            ("name", json!("net")),
            ("type", json!("ifacer")),
            ("stateDir", json!(self.places().records)),
            ("lockFile", json!(self.places().lock)),
            ("logOptions", json!({ "logFile": self.folder.path().join("log"), "logLevel": "debug" })),
        ] {
            if network.get(key).is_none() {
                network[key] = value;
            }
        }
        network
    }

    /// Starts the binary on the node, with nothing in its environment but CNI's: no PATH, so no program can be found.
    fn start(node: &Space, verb: &str, stdin: &str) -> Child {
        let program = env::var_os("SPIDERPOOL_IFACER")
            .map_or_else(|| env!("CARGO_BIN_EXE_ifacer").into(), PathBuf::from);
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "pod")
            .env("CNI_IFNAME", "eth0")
            // The pod's, which is none of ifacer's business.
            .env("CNI_NETNS", "/nonexistent")
            .env("CNI_PATH", "/opt/cni/bin")
            .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = node.inside(|| command.spawn()).unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap_or_default();
        child
    }

    pub(crate) fn begin(&self, node: &Space, verb: &str) -> Child {
        Self::start(node, verb, &self.stdin().to_string())
    }

    pub(crate) fn run_text(node: &Space, verb: &str, stdin: &str) -> Told {
        let output = Self::start(node, verb, stdin).wait_with_output().unwrap();
        assert!(output.status.code().is_some_and(|code| code <= 1), "{output:?}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let stdout = match output.stdout.as_slice() {
            [] => Value::Null,
            text => serde_json::from_slice(text).unwrap(),
        };
        Told { succeeded: output.status.success(), stdout }
    }

    fn run(&self, node: &Space, verb: &str) -> Told {
        let mut stdin = self.stdin();
        if verb == "CHECK" && stdin.get("prevResult").is_none() {
            stdin["prevResult"] = json!({ "cniVersion": "1.1.0" });
        }
        Self::run_text(node, verb, &stdin.to_string())
    }

    /// Runs a verb that must succeed.
    pub(crate) fn must(&self, node: &Space, verb: &str) -> Value {
        let told = self.run(node, verb);
        assert!(told.succeeded, "{verb}: {told:?}\n{}", self.log());
        told.stdout
    }

    /// Runs a verb that must fail, and returns its code and message.
    pub(crate) fn fails(&self, node: &Space, verb: &str) -> (u64, String) {
        let told = self.run(node, verb);
        assert!(!told.succeeded, "{verb}: {told:?}");
        (told.stdout["code"].as_u64().unwrap(), told.stdout["msg"].as_str().unwrap().to_owned())
    }
}
