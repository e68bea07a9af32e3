use std::path::PathBuf;
use std::{error, fmt, io};

/// Why the kernel did not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// The network namespace cannot be entered; it may be gone.
    Netns {
        /// Its path.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A call failed.
    Kernel {
        /// What was tried, on what; completes "cannot …".
        doing: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel understood, and refused with a reason in words.
    Refused {
        /// What was tried, on what; completes "cannot …".
        doing: String,
        /// The kernel's code.
        source: io::Error,
        /// The kernel's words.
        reason: String,
    },
    /// The kernel's answer is not of the form that its interface has.
    Malformed {
        /// What was tried, on what; completes "cannot …".
        doing: String,
    },
}

impl Error {
    pub(crate) fn kernel(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Kernel { doing: doing.into(), source: source.into() }
    }

    /// With the kernel's words, if there are any.
    pub(crate) fn refused(doing: impl Into<String>, source: impl Into<io::Error>, reason: String) -> Self {
        if reason.is_empty() {
            return Self::kernel(doing, source);
        }
        Self::Refused { doing: doing.into(), source: source.into(), reason }
    }

    /// The kernel's code, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Netns { source, .. } | Self::Kernel { source, .. } | Self::Refused { source, .. } => {
                source.raw_os_error()
            }
            Self::Malformed { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netns { path, source } => {
                write!(f, "cannot enter the network namespace {}: {source}", path.display())
            }
            Self::Kernel { doing, source } => write!(f, "cannot {doing}: {source}"),
            Self::Refused { doing, source, reason } => write!(f, "cannot {doing}: {source}: {reason}"),
            Self::Malformed { doing } => write!(f, "cannot {doing}: the kernel's answer is malformed"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Netns { source, .. } | Self::Kernel { source, .. } | Self::Refused { source, .. } => {
                Some(source)
            }
            Self::Malformed { .. } => None,
        }
    }
}
