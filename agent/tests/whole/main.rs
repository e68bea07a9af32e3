//! The whole agent: the real binary, a real API server, and requests on the socket as plugins send them.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says what it missed and ends"
)]
#![expect(clippy::similar_names, reason = "what is lost, and how much of it, are named alike")]

mod choice;
mod fixed;
mod ill;
mod kinds;
mod network;
mod nics;
mod peers;
mod plugin;
mod pools;
#[path = "../desk/proxy.rs"]
#[expect(dead_code, reason = "the desks' tests lose replies, these cut the line")]
mod proxy;
mod reclaim;
#[path = "../../../coordinator/tests/plugin/space.rs"]
#[expect(dead_code, reason = "the coordinator's tests send more than these")]
mod space;
mod stage;
mod well;
mod wire;
#[path = "../../../coordinator/tests/plugin/world.rs"]
#[expect(dead_code, reason = "nothing here calls the world outside")]
mod world;
