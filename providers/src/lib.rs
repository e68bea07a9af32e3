//! The provider seam: the trait, its error classes, decorators over it, and the conformance suite.

mod claim;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod measured;
mod problem;
mod provider;

pub use claim::claim;
pub use error::{Class, Error};
pub use measured::{Measured, ProviderMetrics};
pub use problem::{Path, Problem, Step};
pub use provider::Provider;
