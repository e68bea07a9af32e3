//! Why a provider could not answer, in classes that the caller can act on.

use std::time::Duration;

/// What a caller does about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The thing asked for does not exist, as the cloud positively says.
    NotFound,
    /// Too many calls: wait, at least as long as the error says.
    Throttled,
    /// Credentials or permissions: retrying does not help until a person acts.
    Denied,
    /// The request or the configuration is wrong: retrying does not help until it changes.
    Invalid,
    /// Anything that may pass by itself: time-outs, broken replies, server faults.
    Transient,
}

impl Class {
    /// Returns whether the failure may pass by itself.
    #[must_use]
    pub fn failure(self) -> model::Failure {
        match self {
            Self::Denied | Self::Invalid => model::Failure::Lasting,
            Self::NotFound | Self::Throttled | Self::Transient => model::Failure::Passing,
        }
    }

    /// Returns the class as a metric label and log field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Transient => "transient",
        }
    }
}

/// A provider's failure: its class, and one sentence that says what was tried, on what, why it failed and, if known,
/// what to do. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the caller does about it.
    pub class: Class,
    /// The sentence.
    pub message: String,
    /// With [`Class::Throttled`]: how long the cloud asked to wait, if it said so.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// Builds an error of a class.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after: None }
    }

    /// Adds how long the cloud asked to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}
