//! A text that must never be printed.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A secret: its `Debug` form is `***`, it has no `Display`, and only [`expose`](Self::expose) shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, to sign or to send it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `text` with every occurrence of the secret covered.
    pub(crate) fn redact(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "***") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Returns an access key id with its middle covered: enough to tell two keys apart, too little to use.
pub(crate) fn mask(id: &str) -> String {
    let chars: Vec<char> = id.chars().collect();
    // Below twelve characters the ends would be most of it.
    match (chars.get(..4), chars.len().checked_sub(4).and_then(|at| chars.get(at..))) {
        (Some(head), Some(tail)) if chars.len() >= 12 => {
            format!("{}***{}", head.iter().collect::<String>(), tail.iter().collect::<String>())
        }
        _ => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_in_its_debug_form() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
        assert_eq!(Secret::new("hunter2").redact("it is hunter2."), "it is ***.");
        assert_eq!(Secret::new("").redact("as it was"), "as it was");
    }

    #[test]
    fn a_masked_id_shows_its_ends_only() {
        assert_eq!(mask("LTAI5tEXAMPLEKEYID"), "LTAI***EYID");
        assert_eq!(mask("short"), "***");
    }
}
