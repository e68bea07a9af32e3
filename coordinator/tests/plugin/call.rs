use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::space::Space;

/// The runtime's calls for one pod, and the agent that the plugin asks.
pub(crate) struct Runtime {
    folder: TempDir,
    answer: Arc<Mutex<(u16, String)>>,
    /// The plugin.
    pub(crate) program: PathBuf,
    /// Where it finds programs, if anywhere.
    pub(crate) search_path: Option<&'static str>,
    pub(crate) container: String,
    pub(crate) interface: String,
    pub(crate) netns: PathBuf,
    /// Keys of the network configuration.
    pub(crate) network: Value,
}

/// What the runtime sees of a call.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) succeeded: bool,
    pub(crate) stdout: Value,
}

pub(crate) fn cluster() -> Value {
    json!({
        "mode": "auto", "overlayPodCIDR": null, "serviceCIDR": ["10.96.0.0/12", "fd00:96::/112"],
        "tunePodRoutes": true, "hostRuleTable": 500, "podRPFilter": 0,
    })
}

impl Runtime {
    pub(crate) fn new(pod: &Space, container: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
        let answer = Arc::new(Mutex::new((200, cluster().to_string())));
        let shared = Arc::clone(&answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut line, mut length, mut is_chunked) = (String::new(), 0, false);
                while line != "\r\n" {
                    line.clear();
                    if reader.read_line(&mut line).unwrap() == 0 {
                        break;
                    }
                    if let Some(text) = line.strip_prefix("Content-Length: ") {
                        length = text.trim().parse().unwrap();
                    }
                    // As upstream's client sends what it asks.
                    is_chunked |= line == "Transfer-Encoding: chunked\r\n";
                }
                reader.read_exact(&mut vec![0; length]).unwrap();
                while is_chunked && line != "0\r\n" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                let (status, body) = shared.lock().unwrap().clone();
                let kind = "Content-Type: application/json";
                let head = format!("HTTP/1.1 {status} X\r\n{kind}\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).unwrap_or_default();
            }
        });
        let network = json!({
            "agentSocketPath": folder.path().join("agent.sock"),
            "logOptions": { "logFile": folder.path().join("log"), "logLevel": "debug" },
        });
        Self {
            folder,
            answer,
            program: env!("CARGO_BIN_EXE_coordinator").into(),
            search_path: None,
            container: container.to_owned(),
            interface: "eth0".to_owned(),
            netns: pod.path(),
            network,
        }
    }

    /// The agent's next answers.
    pub(crate) fn agent_says(&self, status: u16, body: &Value) {
        *self.answer.lock().unwrap() = (status, body.to_string());
    }

    /// One key of the cluster's configuration.
    pub(crate) fn cluster_with(&self, key: &str, value: Value) {
        let mut cluster = cluster();
        cluster[key] = value;
        self.agent_says(200, &cluster);
    }

    pub(crate) fn with_interface(mut self, name: &str) -> Self {
        name.clone_into(&mut self.interface);
        self
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What the plugin before made, as a runtime hands it on.
    pub(crate) fn previous(&self) -> Value {
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                { "name": self.interface, "mac": "02:00:00:00:00:99", "sandbox": self.netns, "x-kept": true },
            ],
            "ips": [{ "address": "10.9.0.5/24", "gateway": "10.9.0.1", "interface": 0 }],
            "routes": [{ "dst": "0.0.0.0/0" }],
            "dns": { "nameservers": ["10.96.0.10"] },
        })
    }

    fn stdin(&self) -> Value {
        let mut network = self.network.clone();
        for (key, value) in [
            ("cniVersion", json!("1.0.0")),
            ("name", json!("net")),
            ("type", json!("coordinator")),
            ("prevResult", self.previous()),
        ] {
            if network.get(key).is_none() {
                network[key] = value;
            }
        }
        network
    }

    /// Starts the binary on the node, with nothing in its environment but CNI's: no PATH, unless it is told one, so no program can be found.
    pub(crate) fn start(&self, node: &Space, verb: &str) -> Child {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_IFNAME", &self.interface)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_PATH", "/opt/cni/bin")
            .envs(self.search_path.map(|path| ("PATH", path)))
            .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = node.inside(|| command.spawn()).unwrap();
        child.stdin.take().unwrap().write_all(self.stdin().to_string().as_bytes()).unwrap_or_default();
        child
    }

    pub(crate) fn run(&self, node: &Space, verb: &str) -> Told {
        let output = self.start(node, verb).wait_with_output().unwrap();
        assert!(output.status.code().is_some_and(|code| code <= 1), "{output:?}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let stdout = match output.stdout.as_slice() {
            [] => Value::Null,
            text => serde_json::from_slice(text).unwrap(),
        };
        Told { succeeded: output.status.success(), stdout }
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
