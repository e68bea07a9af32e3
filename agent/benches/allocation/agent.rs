//! The agent as a process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::sleep;

use crate::stage::{PATIENCE, Stage, node};

/// Dropping it kills it.
pub(crate) struct Agent {
    child: Child,
    pub(crate) socket: PathBuf,
    log: PathBuf,
}

impl Agent {
    /// Starts one that reaches the API server directly.
    pub(crate) async fn start(stage: &Stage, at: usize) -> Self {
        Self::start_with(stage, at, stage.plane.kubeconfig()).await
    }

    /// Starts one with the settings of an installation, and waits until it serves.
    pub(crate) async fn start_with(stage: &Stage, at: usize, kubeconfig: &Path) -> Self {
        let file = |suffix: &str| stage.file(&format!("{at}{suffix}"));
        std::fs::write(file(".yml"), "{}").unwrap();
        let (socket, log) = (file(".sock"), file(".log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_spiderpool-agent"));
        command
            .args(["--listen", "127.0.0.1:0", "--namespace", "default", "--node-name", &node(at)])
            .arg("--socket")
            .arg(&socket)
            .arg("--config")
            .arg(file(".yml"))
            .arg("--del-queue")
            .arg(file(".del"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        let agent = Self { child: command.spawn().unwrap(), socket, log };
        let end = Instant::now() + PATIENCE;
        while !agent.serves().await {
            assert!(Instant::now() < end, "agent {at} does not serve");
            sleep(Duration::from_millis(50)).await;
        }
        agent
    }

    async fn serves(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(&self.socket).await else { return false };
        let ask = b"GET /v1/ipam/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(ask).await.is_ok()
            && stream.read_to_string(&mut answer).await.is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    /// A figure of the process, in KiB.
    pub(crate) fn kib(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// A number that the agent said when it was ready.
    pub(crate) fn said(&self, key: &str) -> u64 {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let line = log.lines().find(|line| line.contains("\"message\":\"ready\"")).unwrap();
        serde_json::from_str::<serde_json::Value>(line).unwrap()[key].as_u64().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let told = log.lines().filter(|line| !line.contains("\"INFO\"")).take(20);
            told.for_each(|line| eprintln!("{line}"));
        }
    }
}
