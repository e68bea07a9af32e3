use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// One call of the real binary, as a runtime makes it.
pub(crate) struct Call {
    pub(crate) folder: TempDir,
    environment: Vec<(String, String)>,
    /// The whole network configuration.
    pub(crate) network: Value,
}

/// What the runtime sees of it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) succeeded: bool,
    /// Null when nothing was printed.
    pub(crate) stdout: Value,
}

impl Call {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let network = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "ipvlan",
            "ipam": {
                "type": "spiderpool", "ipam_unix_socket_path": at("agent.sock"), "log_level": "debug",
                "log_file_path": at("log/spiderpool.log"), "del_queue_dir": at("queue"),
            },
        });
        let environment = [
            ("CNI_CONTAINERID", "sandbox-1"),
            ("CNI_NETNS", "/proc/self/ns/net"),
            ("CNI_IFNAME", "pod"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1"),
        ];
        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self { folder, environment, network }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log/spiderpool.log")).unwrap_or_default()
    }

    /// The files of the queue, by name.
    pub(crate) fn queue(&self) -> Vec<PathBuf> {
        let Ok(folder) = fs::read_dir(self.path().join("queue")) else { return Vec::new() };
        let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    pub(crate) fn with(mut self, key: &str, value: impl AsRef<Path>) -> Self {
        let value = value.as_ref().to_str().unwrap().to_owned();
        self.environment.retain(|(name, _)| name != key);
        self.environment.push((key.to_owned(), value));
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.environment.retain(|(name, _)| name != key);
        self
    }

    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.network[key] = value.into();
        self
    }

    pub(crate) fn set_ipam(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.network["ipam"][key] = value.into();
        self
    }

    pub(crate) fn start(&self, verb: &str, stdin: &[u8]) -> Child {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spiderpool"))
            .env_clear()
            .env("CNI_COMMAND", verb)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that refuses by the environment alone does not read it.
        drop(child.stdin.take().unwrap().write_all(stdin));
        child
    }

    pub(crate) fn run(&self, verb: &str) -> Told {
        self.run_with(verb, self.network.to_string().as_bytes())
    }

    pub(crate) fn run_with(&self, verb: &str, stdin: &[u8]) -> Told {
        Told::of(&self.start(verb, stdin).wait_with_output().unwrap())
    }
}

impl Told {
    pub(crate) fn of(output: &Output) -> Self {
        // Whatever happened, it was no crash.
        assert!(output.status.code().is_some_and(|code| code <= 1), "{output:?}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let stdout = if output.stdout.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&output.stdout).unwrap()
        };
        Self { succeeded: output.status.success(), stdout }
    }

    pub(crate) fn code(&self) -> u64 {
        assert!(!self.succeeded, "{self:?}");
        self.stdout["code"].as_u64().unwrap()
    }

    pub(crate) fn message(&self) -> &str {
        assert!(!self.succeeded, "{self:?}");
        self.stdout["msg"].as_str().unwrap()
    }
}
