//! The provider seam: the trait, its error classes, decorators over it, and the conformance suite.

mod error;
mod provider;

pub use error::{Class, Error};
pub use provider::Provider;
