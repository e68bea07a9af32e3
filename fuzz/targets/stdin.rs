//! A call of the CNI plugin: environment and network configuration, through the protocol and the plugin's own keys.
//!
//! Input: lines `KEY=VALUE` of the environment, an empty line, stdin.

#![no_main]

#[path = "../../ipam-plugin/src/config.rs"]
#[allow(dead_code, clippy::pedantic)]
mod config;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use cni::{Answer, Attachment, Error, Network, Plugin, Success, Version};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Reads all that the real one reads, and asks nobody.
struct Reader;

fn read(network: &Network) -> Result<(), Error> {
    let config = config::Config::read(network)?;
    assert!(config.socket.is_absolute() && config.queue.is_absolute() && config.rotation.path.is_absolute());
    assert!(!network.name().is_empty());
    Ok(())
}

fn file_name(attachment: &Attachment) {
    // The queue's files are named so.
    let name = format!("{}_{}", attachment.container_id, attachment.if_name);
    assert!(!name.contains(['/', '\0']) && !name.starts_with('.'), "{name}");
}

impl Plugin for Reader {
    fn add(&self, attachment: &Attachment) -> Result<Success, Error> {
        read(&attachment.network)?;
        plugin::Pod::required(&attachment.args)?;
        file_name(attachment);
        assert!(attachment.netns.is_some());
        let success = attachment.network.prev_result()?.unwrap_or_default();
        for version in [Version::LATEST, attachment.network.version()] {
            Success::from_json(&success.to_json(version)).expect("what is told can be read");
        }
        Ok(success)
    }

    fn del(&self, attachment: &Attachment) -> Result<(), Error> {
        file_name(attachment);
        let _ = plugin::Pod::known(&attachment.args);
        read(&attachment.network)
    }

    fn check(&self, attachment: &Attachment, made: &Success) -> Result<(), Error> {
        drop(made.to_json(attachment.network.version()));
        read(&attachment.network)
    }

    fn status(&self, network: &Network) -> Result<(), Error> {
        read(network)
    }

    fn gc(&self, network: &Network) -> Result<(), Error> {
        read(network)?;
        network.valid_attachments().map(drop)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let split = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (environment, stdin) = match split {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, &b""[..]),
    };
    let variables: Vec<(&[u8], &[u8])> = environment
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            Some((&line[..at], &line[at + 1..]))
        })
        .collect();
    let lookup = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name.as_bytes());
        found.map(|(_, value)| OsString::from_vec(value.to_vec()))
    };
    match cni::answer(&Reader, &lookup, || Ok(stdin.to_vec())) {
        Answer::Done(None) => {}
        Answer::Done(Some(text)) => {
            let told: Value = serde_json::from_str(&text).expect("JSON");
            assert!(told["cniVersion"].is_string(), "{text}");
        }
        Answer::Failed(text) => {
            let told: Value = serde_json::from_str(&text).expect("JSON");
            assert!(told["code"].as_u64().is_some_and(|code| code > 0), "{text}");
            assert!(told["msg"].as_str().is_some_and(|sentence| sentence.len() > 10), "{text}");
        }
    }
});
