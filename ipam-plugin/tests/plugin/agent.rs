use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What the plugin asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Method and path.
    pub(crate) what: String,
    pub(crate) body: Value,
}

/// Answers the plugin with whatever bytes a test wants.
pub(crate) struct ScriptedAgent {
    asked: Receiver<Asked>,
}

impl ScriptedAgent {
    /// Listens, and lets the script answer each request in order; it may keep the stream, or drop it.
    pub(crate) fn new(folder: &Path, mut script: impl FnMut(&Asked, UnixStream) + Send + 'static) -> Self {
        let listener = UnixListener::bind(folder.join("agent.sock")).unwrap();
        let (tell, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let Some(request) = read(&stream) else { continue };
                script(&request, stream);
                if tell.send(request).is_err() {
                    return;
                }
            }
        });
        Self { asked }
    }

    /// Gives every request the same answer.
    pub(crate) fn saying(folder: &Path, answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        // One that has enough does not read on, which is its right.
        Self::new(folder, move |_, mut stream| drop(stream.write_all(&answer)))
    }

    /// What was asked next.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    /// That nothing more was asked. Requests are told once they are answered, so what the plugin waited for is here.
    pub(crate) fn nothing_more(&self) {
        if let Ok(asked) = self.asked.recv_timeout(Duration::from_millis(50)) {
            panic!("asked without need: {asked:?}");
        }
    }
}

fn read(stream: &UnixStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim().split_once(": ") {
            Some(("Content-Length", text)) => length = text.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let what = first.trim().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    Some(Asked { what, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// An answer with its length, as axum sends it.
pub(crate) fn http(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An answer to ADD with one address of each family.
pub(crate) fn both_families() -> Value {
    json!({
        "ips": [
            { "version": 4, "address": "10.9.0.5/24", "nic": "pod", "ipPool": "four", "gateway": "10.9.0.1", "vlan": 0 },
            { "version": 6, "address": "fd00:9::5/64", "nic": "pod", "ipPool": "six", "gateway": "fd00:9::1" },
            { "version": 4, "address": "10.8.0.5/24", "nic": "net1", "ipPool": "other", "gateway": "10.8.0.1" },
        ],
        "routes": [
            { "ifName": "pod", "dst": "0.0.0.0/0", "gw": "10.9.0.1" },
            { "ifName": "pod", "dst": "::/0", "gw": "fd00:9::1" },
            { "ifName": "net1", "dst": "172.16.0.0/12", "gw": "10.8.0.1" },
        ],
    })
}
