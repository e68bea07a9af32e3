//! The environment variables that the vendor's tools agree on, as a value, so that tests need not touch the process.

use std::collections::BTreeMap;
use std::fmt;

/// A snapshot of the `ALIBABA_CLOUD_*` variables. Its `Debug` form shows names only, for some values are secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes the variables of this process.
    #[must_use]
    pub fn from_process() -> Self {
        // vars_os, because vars panics on a foreign variable that is not UTF-8.
        std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(key, _)| key.starts_with("ALIBABA_CLOUD_"))
            .collect()
    }

    /// Returns a variable that is set and not empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Tells whether a variable holds `true`, in any case.
    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}
