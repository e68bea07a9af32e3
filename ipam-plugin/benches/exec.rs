//! The plugin as kubelet's runtime sees it: one process for each verb. Size, and time from spawn to exit.
//!
//! Set `SPIDERPOOL_PLUGIN` to the binary as it is shipped; without it cargo's own build is measured, which is larger and slower.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench's own functions may fail it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::{Value, json};

const WARM_UPS: usize = 10;
const ROUNDS: usize = 200;

/// A program with what it is given.
struct Program {
    name: &'static str,
    path: PathBuf,
    verb: &'static str,
    stdin: String,
    times: Vec<Duration>,
}

fn main() {
    let shipped = env::var_os("SPIDERPOOL_PLUGIN").map(PathBuf::from);
    let note =
        if shipped.is_some() { "as it is shipped" } else { "cargo's build; SPIDERPOOL_PLUGIN is not set" };
    let is_shipped = shipped.is_some();
    let plugin = shipped.unwrap_or_else(|| env!("CARGO_BIN_EXE_spiderpool").into());
    let folder = tempfile::tempdir().unwrap();
    serve(&folder.path().join("agent.sock"));

    let network = |ipam: Value| {
        json!({ "cniVersion": "1.0.0", "name": "net", "type": "ipvlan", "ipam": ipam }).to_string()
    };
    let at = |name: &str| folder.path().join(name);
    let ours = network(
        json!({ "type": "spiderpool", "ipam_unix_socket_path": at("agent.sock"), "log_file_path": at("log"), "del_queue_dir": at("queue") }),
    );
    let theirs = network(
        json!({ "type": "static", "addresses": [{ "address": "10.0.0.5/24", "gateway": "10.0.0.1" }] }),
    );
    let program = |name, path: &Path, verb, stdin: &str| Program {
        name,
        path: path.to_owned(),
        verb,
        stdin: stdin.to_owned(),
        times: Vec::new(),
    };
    let mut programs = vec![
        program("/bin/true", Path::new("/bin/true"), "ADD", ""),
        program("spiderpool VERSION", &plugin, "VERSION", &ours),
        program("spiderpool ADD", &plugin, "ADD", &ours),
        program("spiderpool DEL", &plugin, "DEL", &ours),
    ];
    // Upstream's plugin itself needs 30 MB of Go modules; this is the smallest of the same make.
    match testbed::Plugins::upstream() {
        Ok(folder) => programs.push(program(
            "Go's static IPAM plugin 1.1.1 ADD, which asks nobody",
            &folder.join("static"),
            "ADD",
            &theirs,
        )),
        Err(error) => println!("without Go's static plugin beside it: {error}"),
    }
    // In turn, so that whatever else the machine does hits all alike.
    for round in 0..WARM_UPS + ROUNDS {
        for program in &mut programs {
            let took = run(program);
            if round >= WARM_UPS {
                program.times.push(took);
            }
        }
    }

    println!("== the CNI plugin, {note}");
    let size = fs::metadata(&plugin).unwrap().len();
    row("size", &format!("{}.{:03} MB", size / 1_000_000, size / 1000 % 1000), "reach: 1.3 MB at most");
    assert!(!is_shipped || size <= 1_300_000, "{size} bytes are more than the plugin may have");
    let bare = median(&mut programs[0].times);
    for program in &mut programs {
        let (middle, late) = (median(&mut program.times), program.times[ROUNDS * 95 / 100]);
        let times = middle.as_secs_f64() / bare.as_secs_f64();
        let note = format!("p95 {:.2} ms, {times:.1} x /bin/true", late.as_secs_f64() * 1e3);
        row(program.name, &format!("{:.2} ms", middle.as_secs_f64() * 1e3), &note);
    }
}

/// Runs it once, from spawn to exit.
fn run(program: &Program) -> Duration {
    let begin = Instant::now();
    let mut child = Command::new(&program.path)
        .env_clear()
        .envs([
            ("CNI_COMMAND", program.verb),
            ("CNI_CONTAINERID", "sandbox-1"),
            ("CNI_NETNS", "/proc/self/ns/net"),
            ("CNI_IFNAME", "eth0"),
        ])
        .env("CNI_PATH", "/opt/cni/bin")
        .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().unwrap();
    // /bin/true does not read.
    drop(stdin.write_all(program.stdin.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let took = begin.elapsed();
    assert!(output.status.success(), "{}: {output:?}", program.name);
    took
}

/// An agent that knows one answer.
fn serve(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let reply = json!({
        "ips": [{ "version": 4, "address": "10.0.0.5/24", "nic": "eth0", "ipPool": "pool", "gateway": "10.0.0.1" }],
        "routes": [{ "ifName": "eth0", "dst": "0.0.0.0/0", "gw": "10.0.0.1" }],
    })
    .to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{reply}", reply.len());
    thread::spawn(move || listener.incoming().for_each(|stream| serve_one(stream.unwrap(), &answer)));
}

fn serve_one(mut stream: UnixStream, answer: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(text) = line.strip_prefix("Content-Length: ") {
            length = text.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Prints one line of the table.
fn row(what: &str, figure: &str, note: &str) {
    println!("| {what:<52} | {figure:>12} | {note}");
}
