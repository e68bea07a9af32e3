//! Which nodes are looked at: the comma-separated label conditions of kubectl.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Conditions on a node's labels, all of which must hold; none at all selects every node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSelector(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Exists(String),
    Missing(String),
    Equals(String, String),
    Differs(String, String),
}

impl NodeSelector {
    /// Returns whether a node with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::Exists(key) => labels.contains_key(key),
            Condition::Missing(key) => !labels.contains_key(key),
            Condition::Equals(key, value) => labels.get(key) == Some(value),
            // As in Kubernetes: a node without the label differs.
            Condition::Differs(key, value) => labels.get(key) != Some(value),
        })
    }

    /// Returns whether every node is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Prints the form that the Kubernetes API takes as `labelSelector`.
impl fmt::Display for NodeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, condition) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match condition {
                Condition::Exists(key) => f.write_str(key)?,
                Condition::Missing(key) => write!(f, "!{key}")?,
                Condition::Equals(key, value) => write!(f, "{key}={value}")?,
                Condition::Differs(key, value) => write!(f, "{key}!={value}")?,
            }
        }
        Ok(())
    }
}

/// A condition that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a label condition: write label=value, label!=value, label or !label, several with commas between"
)]
pub struct SelectorError(String);

impl FromStr for NodeSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(|part| condition(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn condition(text: &str) -> Result<Condition, SelectorError> {
    let error = || SelectorError(text.to_owned());
    let pair = |key: &str, value: &str| {
        let (key, value) = (key.trim(), value.trim());
        if is_key(key) && is_value(value) { Ok((key.to_owned(), value.to_owned())) } else { Err(error()) }
    };
    if let Some((key, value)) = text.split_once("!=") {
        return pair(key, value).map(|(key, value)| Condition::Differs(key, value));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return pair(key, value).map(|(key, value)| Condition::Equals(key, value));
    }
    if let Some(key) = text.strip_prefix('!') {
        return pair(key, "").map(|(key, _)| Condition::Missing(key));
    }
    pair(text, "").map(|(key, _)| Condition::Exists(key))
}

/// A label's name, with an optional DNS prefix before a slash.
fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => {
            let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
            !prefix.is_empty()
                && prefix.len() <= 253
                && prefix.bytes().all(inside)
                && !name.is_empty()
                && is_value(name)
        }
        None => !text.is_empty() && is_value(text),
    }
}

/// A label's value: empty, or at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_value(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let end = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().copied().all(inside) && end(bytes.first()) && end(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        selector.parse::<NodeSelector>().unwrap().matches(&labels)
    }

    #[test]
    fn nothing_asked_selects_every_node() {
        assert!(selected("", &[]) && selected(" ", &[("a", "b")]));
    }

    #[test]
    fn all_conditions_must_hold() {
        assert!(selected("a=1,b", &[("a", "1"), ("b", "")]));
        assert!(!selected("a=1,b", &[("a", "1")]));
        assert!(!selected("a=1", &[("a", "2")]));
    }

    #[test]
    fn a_node_without_the_label_differs() {
        assert!(selected("a!=1", &[]) && selected("a!=1", &[("a", "2")]) && !selected("a!=1", &[("a", "1")]));
        assert!(selected("!a", &[]) && !selected("!a", &[("a", "")]));
    }

    #[test]
    fn it_prints_as_the_api_server_reads_it() {
        let text = "node-role.kubernetes.io/x=,a == 1, b!=2 ,!c,d";
        assert_eq!(
            text.parse::<NodeSelector>().unwrap().to_string(),
            "node-role.kubernetes.io/x=,a=1,b!=2,!c,d"
        );
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["a in (b,c)", "a=b=c", "=x", ",", "a,", "a b", "-a", "a/b/c=1", "/a", "a=-", "!", "Ä=1"]
        {
            assert!(text.parse::<NodeSelector>().is_err(), "{text:?}");
        }
    }
}
