//! The configuration files of controller, command line and agent.

#![no_main]

#[path = "../../agent/src/settings/file.rs"]
#[allow(dead_code, unreachable_pub, clippy::pedantic)]
mod file;

use config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Config::parse(text, "clouds.yml") {
        Ok(config) => assert!(!config.policy().providers.is_empty()),
        Err(error) => assert!(error.to_string().contains("clouds.yml"), "{error}"),
    }
    // The agent reads its own from a path only.
    let path = std::env::temp_dir().join(format!("fuzz-configuration-{}.yml", std::process::id()));
    std::fs::write(&path, text).expect("a file");
    match file::File::read(&path) {
        Ok(read) => assert!(read.is_some_and(|read| read.file.enable_ipv4 || read.file.enable_ipv6)),
        Err(error) => assert!(error.to_string().contains("configuration file"), "{error}"),
    }
    std::fs::remove_file(&path).expect("the file");
});
