//! Agents as processes that can be killed, paused and started again, and how a plugin talks to them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use testbed::{Signal, spawn_tied};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// One node's agent.
pub(crate) struct Agent {
    pub(crate) node: String,
    socket: PathBuf,
    queue: PathBuf,
    log: PathBuf,
    line: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Agent {
    /// Starts the agent of a node, with its files in `dir`.
    pub(crate) fn start(node: &str, dir: &Path, kubeconfig: &Path) -> Self {
        let file = |suffix: &str| dir.join(format!("{node}.{suffix}"));
        // Short, so that addresses come back while those who had them are remembered.
        std::fs::write(file("yml"), "addressRestSeconds: 1\n").expect("a configuration file");
        let queue = file("del");
        std::fs::create_dir_all(&queue).expect("a folder");
        let level = std::env::var("SPIDERPOOL_SOAK_LOG").unwrap_or_else(|_| "warn".to_owned());
        let path = |path: &Path| path.display().to_string();
        let line = [
            ("--node-name", node.to_owned()),
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--log", level),
            ("--namespace", "default".to_owned()),
            ("--socket", path(&file("sock"))),
            ("--config", path(&file("yml"))),
            ("--del-queue", path(&queue)),
            ("--kubeconfig", path(kubeconfig)),
        ];
        let line = line.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let (node, socket, log) = (node.to_owned(), file("sock"), file("log"));
        let agent = Self { node, socket, queue, log, line, child: Mutex::new(None) };
        agent.launch();
        agent
    }

    /// Starts the process, in the place of one that was killed.
    pub(crate) fn launch(&self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_spiderpool-agent"));
        command.args(&self.line).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = spawn_tied(command, Signal::KILL).expect("an agent");
        *self.child.lock().unwrap() = Some(child);
    }

    /// Kills the process (-9); fails when it had ended by itself.
    pub(crate) fn kill(&self) -> Result<(), String> {
        let mut child = self.child.lock().unwrap().take().ok_or("it was not started")?;
        let ended = child.try_wait().map_err(|error| error.to_string())?;
        if let Some(status) = ended {
            return Err(format!("the agent of {} ended by itself: {status}", self.node));
        }
        child.kill().and_then(|()| child.wait()).map(drop).map_err(|error| error.to_string())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.lock().unwrap();
        let child = child.as_ref().expect("a running agent");
        kill_process(Pid::from_child(child), signal).expect("a signal");
    }

    /// Returns the lines of its log that tell of a bug.
    pub(crate) fn panics(&self) -> Vec<String> {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
    }

    /// Says how many DELs wait on its disk.
    pub(crate) fn queued(&self) -> usize {
        std::fs::read_dir(&self.queue).map_or(0, Iterator::count)
    }

    pub(crate) async fn serves(&self) -> bool {
        let ask = self.talk("GET", "/v1/ipam/healthy", "");
        timeout(Duration::from_secs(5), ask).await.is_ok_and(|answer| answer.is_ok())
    }

    /// Asks as a plugin does, one connection a request. A failure is told in a few words that are the same for its like.
    pub(crate) async fn ask(&self, method: &str, body: &Value, patience: Duration) -> Result<Value, String> {
        let answer = timeout(patience, self.talk(method, "/v1/ipam/ip", &body.to_string())).await;
        answer.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    async fn talk(&self, method: &str, path: &str, body: &str) -> Result<Value, String> {
        let cut = |error: std::io::Error| format!("no answer: {}", error.kind());
        let mut stream =
            UnixStream::connect(&self.socket).await.map_err(|error| format!("no agent: {}", error.kind()))?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.map_err(cut)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(cut)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer: closed before")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("refused: {}", alike(body)));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(body).map_err(|_| "half an answer".to_owned())
    }

    /// Leaves a DEL on the disk, as the plugin does when it could not tell it.
    pub(crate) fn leave(&self, request: &Value) {
        let id = format!(
            "{}_{}",
            request["containerID"].as_str().expect("one"),
            request["ifName"].as_str().expect("one")
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let temporary = self.queue.join(format!("{id}.tmp"));
        let queued = json!({"request": request, "queuedAt": now});
        std::fs::write(&temporary, queued.to_string()).expect("a file");
        std::fs::rename(&temporary, self.queue.join(format!("{id}.json"))).expect("its name");
    }
}

/// A sentence without the names and numbers in it.
fn alike(sentence: &str) -> String {
    let words = sentence.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.take(24).collect::<Vec<_>>().join(" ")
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut *self.child.lock().unwrap() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
