//! The real binary against an agent that says what the test wants, byte by byte.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's own functions may fail it")]

#[path = "../../../netlink/tests/neighbours/pair.rs"]
mod pair;

mod agent;
mod call;
mod del;
mod input;
mod log;
mod neighbours;
mod replies;
mod verbs;
