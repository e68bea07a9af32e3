//! The whole agent: the real binary, a real API server, and requests on the socket as plugins send them.

#![expect(clippy::expect_used, reason = "a test that cannot go on says what it missed and ends")]

mod choice;
mod fixed;
mod ill;
mod peers;
#[path = "../desk/proxy.rs"]
#[expect(dead_code, reason = "the desks' tests lose replies, these cut the line")]
mod proxy;
mod reclaim;
mod stage;
mod well;
mod wire;
