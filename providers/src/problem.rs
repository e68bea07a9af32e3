//! What is wrong in a provider's settings, and where: so that all of it can be shown at once, with line and column.

use std::fmt;

use crate::{Class, Error};

/// One step from the top of a configuration file to a value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

/// The way from the top of a configuration file to a value: prints as `providers[1].nodes.node-a[0].ips[2]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<Step>);

impl Path {
    /// Returns the path to `key` in the mapping that this path leads to.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.join(Step::Key(key.to_owned()))
    }

    /// Returns the path to item `index` of the list that this path leads to.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.join(Step::Index(index))
    }

    /// Returns the steps, top first.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    fn join(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One mistake in a provider's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// Where it is.
    pub path: Path,
    /// What is wrong with the value there, and what would be right.
    pub message: String,
}

impl Problem {
    /// Builds a problem.
    pub fn new(path: Path, message: impl Into<String>) -> Self {
        Self { path, message: message.into() }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::new(Class::Invalid, problem.to_string())
    }
}

impl FromIterator<Problem> for Error {
    /// Joins the problems into one [`Class::Invalid`], in their order.
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        let sentences: Vec<String> = problems.into_iter().map(|problem| problem.to_string()).collect();
        Self::new(Class::Invalid, sentences.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_file() {
        let path =
            Path::default().key("providers").index(1).key("nodes").key("a.example").index(0).key("ips");
        assert_eq!(path.index(2).to_string(), "providers[1].nodes.a.example[0].ips[2]");
    }

    #[test]
    fn problems_join_into_one_invalid_error() {
        let at = Path::default().key("a");
        let error: Error =
            [Problem::new(at.clone(), "is odd"), Problem::new(at.index(1), "is even")].into_iter().collect();
        assert_eq!((error.class, error.message.as_str()), (Class::Invalid, "a: is odd; a[1]: is even"));
    }
}
