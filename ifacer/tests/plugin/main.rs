//! The real binary on a node of its own, with NICs whose other ends are outside.
//!
//! What needs VLANs or bonds is proved where the kernel has them; where it has not, it is proved that the plugin says so and
//! changes nothing.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

mod bad;
mod bond;
mod call;
mod reboot;
mod space;
mod vlan;
mod world;
