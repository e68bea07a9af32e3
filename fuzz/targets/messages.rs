//! What plugins and the agent say to each other on the socket, and the DELs that plugins leave on the disk: whatever is read
//! can be written, and reads the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn reads<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let message: T = match serde_json::from_slice(bytes) {
        Ok(message) => message,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let text = serde_json::to_string(&message).expect("what was read can be written");
    let again: T = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(text, serde_json::to_string(&again).expect("and written again"));
}

fuzz_target!(|bytes: &[u8]| {
    reads::<wire::AddRequest>(bytes);
    reads::<wire::AddReply>(bytes);
    reads::<wire::DelRequest>(bytes);
    reads::<wire::ReleaseRequest>(bytes);
    reads::<wire::GcRequest>(bytes);
    reads::<wire::CheckRequest>(bytes);
    reads::<wire::QueuedDel>(bytes);
    reads::<wire::Endpoint>(bytes);
    reads::<wire::CoordinatorConfig>(bytes);
});
