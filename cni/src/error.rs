use std::fmt;

use serde_json::{Value, json};

use crate::Version;

/// What kind of failure an [`Error`] is: the specification's codes, and the plugin's own from 100 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 1: the version is not spoken, or has no such verb.
    IncompatibleVersion,
    /// 2: a field of the network configuration is not supported; the message names it.
    UnsupportedField,
    /// 3: the container is unknown; the runtime need not clean up.
    UnknownContainer,
    /// 4: an environment variable is missing or malformed; the message names it.
    InvalidEnvironment,
    /// 5: reading or writing failed.
    Io,
    /// 6: something could not be decoded.
    Decode,
    /// 7: the network configuration is invalid.
    InvalidNetwork,
    /// 11: a passing state; the runtime should try again.
    TryAgain,
    /// 50, of STATUS only: the plugin cannot serve an ADD.
    NotAvailable,
    /// 51, of STATUS only: nor may existing containers have full connectivity.
    LimitedConnectivity,
    /// 100 and above: the plugin's own.
    Plugin(u16),
}

impl Code {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::UnsupportedField => 2,
            Self::UnknownContainer => 3,
            Self::InvalidEnvironment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::InvalidNetwork => 7,
            Self::TryAgain => 11,
            Self::NotAvailable => 50,
            Self::LimitedConnectivity => 51,
            Self::Plugin(number) => number,
        }
    }
}

/// Why a verb failed, as the runtime reads it from stdout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind.
    pub code: Code,
    /// One sentence for an administrator: what was tried, on what, why it failed, what to do.
    pub message: String,
    /// More, where there is more; else empty.
    pub details: String,
}

impl Error {
    /// A failure without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    /// Adds what the sentence has no room for.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The error object of the specification, which is the same in every version.
    #[must_use]
    pub fn to_json(&self, version: Version) -> Value {
        let mut object =
            json!({ "cniVersion": version.as_str(), "code": self.code.number(), "msg": self.message });
        if let (Some(object), false) = (object.as_object_mut(), self.details.is_empty()) {
            object.insert("details".to_owned(), Value::from(self.details.as_str()));
        }
        object
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code.number())?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details) }
    }
}

impl std::error::Error for Error {}
