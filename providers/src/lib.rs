//! The provider seam: the trait, its error classes, decorators over it, and the conformance suite.

mod error;
mod problem;
mod provider;

pub use error::{Class, Error};
pub use problem::{Path, Problem, Step};
pub use provider::Provider;
