//! The demo shows what it promises, what it suggests works, and it leaves nothing behind.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is test code, its fixtures too")]

#[path = "built/product.rs"]
mod built;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testbed::{Signal, spawn_tied};

/// The demo takes 15 s on an idle machine; this is for one whose cores all do something else.
const PATIENCE: Duration = Duration::from_mins(3);

/// The controller that the demo shall show.
fn controller() -> PathBuf {
    std::env::var_os("CONTROLLER_BIN").map_or_else(|| built::product("spiderpool-controller"), PathBuf::from)
}

/// A running demo.
struct Demo {
    process: Child,
    lines: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    /// Reads it to its end.
    reader: Option<JoinHandle<()>>,
    seen: Vec<String>,
}

impl Demo {
    fn start(controller: &Path, exit: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
        command
            .arg("demo")
            .env("CONTROLLER_BIN", controller)
            .env("DEMO_EXIT", exit)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = spawn_tied(command, Signal::KILL).unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let stderr = Arc::new(Mutex::new(String::new()));
        let (pipe, text) = (BufReader::new(process.stderr.take().unwrap()), Arc::clone(&stderr));
        let reader = thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                *text.lock().unwrap() += &(line + "\n");
            }
        });
        Self { process, lines, stderr, reader: Some(reader), seen: Vec::new() }
    }

    /// Reads on until a line contains `text`, and returns it.
    fn says(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no {text:?}: {error}\n{}\n{}", self.seen.join("\n"), self.stderr()),
            }
            let line = self.seen.last().unwrap();
            if line.contains(text) {
                return line.clone();
            }
        }
    }

    /// What it says until it has been silent for `pause`.
    fn says_until_silent(&self, pause: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(pause) {
            lines.push(line);
        }
        lines
    }

    /// The folder of its control plane.
    fn folder(&mut self) -> PathBuf {
        let line = self.says("$ cat ");
        let file = line.trim().strip_prefix("$ cat ").unwrap();
        Path::new(file).parent().unwrap().to_owned()
    }

    fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait().unwrap();
                    self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
                    return status;
                }
                Err(RecvTimeoutError::Timeout) => panic!("it does not end\n{}", self.stderr()),
            }
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Waits until the folder is gone, and every process that was started with a path in it.
fn nothing_is_left(folder: &Path) {
    let begun = Instant::now();
    loop {
        let left = processes_of(folder);
        if left.is_empty() && !folder.exists() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "left: {} {left:?}", folder.display());
        thread::sleep(Duration::from_millis(50));
    }
}

fn processes_of(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder.to_str().unwrap())).collect()
}

#[test]
fn the_demo_shows_the_seeds_pools_and_how_they_follow_the_cloud() {
    let mut demo = Demo::start(&controller(), "1");
    let folder = demo.folder();
    assert!(demo.ended().success(), "{}\n{}", demo.seen.join("\n"), demo.stderr());
    let shown = demo.seen.join("\n");
    for range in [
        "[172.31.199.185-172.31.199.189]",
        "[172.31.199.190-172.31.199.194]",
        "[192.168.0.156-192.168.0.160]",
        "[192.168.0.161-192.168.0.165]",
        "[2001:db8:31:c0ac::185-2001:db8:31:c0ac::187]",
        "[2001:db8:31:c0c0::161-2001:db8:31:c0c0::163]",
    ] {
        assert!(shown.contains(range), "{range} is not shown:\n{shown}");
    }
    for (pattern, times) in [("ipvlan-eth1 ", 1), ("[192.168.0.163]", 1), ("worker-2-eth", 4), (" s\n", 8)] {
        assert_eq!(shown.matches(pattern).count(), times, "{pattern:?} in\n{shown}");
    }
    nothing_is_left(&folder);
}

#[test]
fn what_the_demo_suggests_works_and_a_signal_takes_all_down() {
    let mut demo = Demo::start(&controller(), "");
    let folder = demo.folder();
    demo.says("7. It stays up");
    let script = demo.says_until_silent(Duration::from_secs(2)).join("\n");
    let output = Command::new("bash").args(["-euxo", "pipefail", "-c", &script]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{out}\n{err}");
    for sign in [
        r#"{"done":"assign"}"#,
        r#"{"done":"unassign"}"#,
        "spiderpool_cloud_",
        "Discovered",
        r#""level":"INFO""#,
    ] {
        assert!(out.contains(sign), "no {sign} in what these print:\n{script}\n{out}\n{err}");
    }
    assert!(processes_of(&folder).len() >= 5, "etcd, three of Kubernetes, the controller");
    demo.signal("TERM");
    assert!(demo.ended().success(), "{}", demo.stderr());
    nothing_is_left(&folder);
}

#[test]
fn a_killed_demo_leaves_nothing_running() {
    let mut demo = Demo::start(&controller(), "1");
    let folder = demo.folder();
    demo.says("3. ");
    demo.signal("KILL");
    demo.ended();
    nothing_is_left(&folder);
}

/// Runs the demo with a script in the controller's place until it fails, and returns what it says then.
fn failure_with(script: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    std::fs::write(&broken, format!("#!/bin/sh\necho 'the reason' >&2\n{script}\n")).unwrap();
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut demo = Demo::start(&broken, "1");
    let folder = demo.folder();
    assert_eq!(demo.ended().code(), Some(1));
    nothing_is_left(&folder);
    demo.stderr()
}

#[test]
fn a_controller_that_fails_fails_the_demo_and_its_log_is_shown() {
    let said = failure_with("exit 3");
    assert!(said.contains("ended by itself (exit status: 3)") && said.contains("the reason"), "{said}");
}

#[test]
fn a_controller_that_does_nothing_fails_the_demo_after_half_a_minute() {
    let listening = r#"{"message":"listening","address":"127.0.0.1:1"}"#;
    let said = failure_with(&format!("echo '{listening}' >&2; exec sleep 300"));
    assert!(said.contains("not within 30 s: the seed's pools") && said.contains("the reason"), "{said}");
}

#[test]
fn a_controller_that_is_not_there_is_said_before_anything_starts() {
    let mut demo = Demo::start(Path::new("/nonexistent/controller"), "1");
    assert_eq!(demo.ended().code(), Some(1));
    let said = demo.stderr();
    assert!(said.contains("/nonexistent/controller is not there") && said.contains("make demo"), "{said}");
}
