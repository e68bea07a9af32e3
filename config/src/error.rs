//! Why a configuration cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A configuration that cannot be used. One line for each mistake, each with the place in the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("configuration file {} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is there, but its text cannot be had.
    #[error("cannot read configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is wrong.
    #[error("{}", lines(mistakes))]
    Wrong {
        /// At least one, in the order of the file.
        mistakes: Vec<Mistake>,
    },
}

/// One thing that is wrong in the file. Prints as `cloud.yaml:3:11: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file's name, as it was given.
    pub origin: String,
    /// The line, from 1; `None` where the text ends too early to have one.
    pub line: Option<u64>,
    /// The column in characters, from 1.
    pub column: Option<u64>,
    /// The way to the value, what is wrong with it and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, line, column, message } = self;
        f.write_str(origin)?;
        if let (Some(line), Some(column)) = (line, column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {message}")
    }
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
