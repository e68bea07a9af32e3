//! What the plugin makes of whatever listens on the agent's socket: its own HTTP, the reply in it, the CNI result.
//!
//! The whole plugin runs, with a configuration of ours; the input is all that the socket says.

#![no_main]
#![allow(dead_code, clippy::pedantic)]

#[path = "../../ipam-plugin/src/add.rs"]
mod add;
#[path = "../../ipam-plugin/src/config.rs"]
mod config;
#[path = "../../ipam-plugin/src/neighbours.rs"]
mod neighbours;
#[path = "../../ipam-plugin/src/queue.rs"]
mod queue;
#[path = "../../ipam-plugin/src/verbs.rs"]
mod verbs;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use cni::{Answer, Success};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Says to everybody what the fuzzer wants said.
static SOCKET: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("fuzz-reply-{}.sock", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // All of a request: closing before it is read would cut the answer.
            drop(stream.read(&mut [0; 4096]));
            let said = SAID.lock().expect("no panic before").clone();
            drop(stream.write_all(&said));
            drop(stream.shutdown(Shutdown::Write));
        }
    });
    path
});

fuzz_target!(|bytes: &[u8]| {
    bytes.clone_into(&mut SAID.lock().expect("no panic before"));
    let network = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "ipvlan",
        "ipam": {
            "type": "spiderpool", "ipam_unix_socket_path": *SOCKET,
            // Nothing can be written there.
            "log_level": "error", "log_file_path": "/proc/none/log", "del_queue_dir": "/proc/none/queue",
        },
    });
    let lookup = |name: &str| {
        let value = match name {
            "CNI_COMMAND" => "ADD",
            "CNI_CONTAINERID" => "sandbox-1",
            "CNI_NETNS" => "/proc/self/ns/net",
            // No interface of that name is here, so no neighbour is asked.
            "CNI_IFNAME" => "fuzzed-pod",
            "CNI_ARGS" => "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1",
            _ => return None,
        };
        Some(value.into())
    };
    match cni::answer(&verbs::Spiderpool, &lookup, || Ok(network.to_string().into_bytes())) {
        Answer::Done(text) => {
            let told: Value = serde_json::from_str(&text.expect("a result")).expect("JSON");
            let success = Success::from_json(&told).expect("a result that can be read");
            assert!(!success.ips.is_empty(), "no success without an address");
        }
        Answer::Failed(text) => {
            let told: Value = serde_json::from_str(&text).expect("JSON");
            assert!(told["code"].as_u64().is_some_and(|code| code >= 4), "{text}");
            assert!(told["msg"].as_str().is_some_and(|sentence| sentence.len() > 10), "{text}");
        }
    }
});
