//! The real binary between the simulated cloud and a real API server.

mod ill;
mod lead;
mod stage;
mod well;
