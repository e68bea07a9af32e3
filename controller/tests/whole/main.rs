//! The real binary between the simulated cloud and a real API server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the stage's own functions are tests as well")]

mod admission;
mod coordinator;
mod definitions;
mod ill;
mod lead;
mod reclaim;
mod stage;
mod well;
