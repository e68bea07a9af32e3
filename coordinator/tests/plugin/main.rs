//! The real binary on real network namespaces: a node, its pods, and the world outside.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

mod bad;
mod call;
mod overlay;
mod refresh;
mod space;
mod traffic;
mod underlay;
mod world;
