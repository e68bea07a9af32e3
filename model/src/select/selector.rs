//! Label selectors: `matchLabels` and `matchExpressions` of Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

/// A selector: all its requirements must be met; one without requirements selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// The requirements, an entry of `matchLabels` being [`Requirement::In`] with one value.
    pub requirements: Vec<Requirement>,
}

/// What one label has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// It is there and has one of the values.
    In(String, BTreeSet<String>),
    /// It is not there, or has none of the values.
    NotIn(String, BTreeSet<String>),
    /// It is there.
    Exists(String),
    /// It is not there.
    DoesNotExist(String),
}

impl LabelSelector {
    /// Returns the first requirement that the labels do not meet.
    #[must_use]
    pub fn unmet(&self, labels: &Labels) -> Option<&Requirement> {
        self.requirements.iter().find(|requirement| !requirement.is_met(labels))
    }
}

impl Requirement {
    /// Returns whether the labels meet it.
    #[must_use]
    pub fn is_met(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }

    /// Returns the key of the label that it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => key,
        }
    }
}

impl fmt::Display for Requirement {
    /// Writes it as `kubectl get -l` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
        match self {
            Self::In(key, values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Self::In(key, values) => write!(f, "{key} in ({})", list(values)),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", list(values)),
            Self::Exists(key) => write!(f, "{key}"),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels() -> impl Strategy<Value = Labels> {
        proptest::collection::btree_map("[ab]", "[xyz]", 0..3)
    }

    fn values() -> impl Strategy<Value = BTreeSet<String>> {
        proptest::collection::btree_set("[xyz]", 1..3)
    }

    fn requirement() -> impl Strategy<Value = Requirement> {
        ("[ab]", values(), 0..4_u8).prop_map(|(key, values, kind)| match kind {
            0 => Requirement::In(key, values),
            1 => Requirement::NotIn(key, values),
            2 => Requirement::Exists(key),
            _ => Requirement::DoesNotExist(key),
        })
    }

    proptest! {
        #[test]
        fn notin_is_the_opposite_of_in_and_absence_of_presence(labels in labels(), key in "[ab]", values in values()) {
            let met = |requirement: Requirement| requirement.is_met(&labels);
            prop_assert_ne!(met(Requirement::In(key.clone(), values.clone())), met(Requirement::NotIn(key.clone(), values.clone())));
            prop_assert_ne!(met(Requirement::Exists(key.clone())), met(Requirement::DoesNotExist(key.clone())));
            // What is in a set of values is there.
            prop_assert!(!met(Requirement::In(key.clone(), values)) || met(Requirement::Exists(key)));
        }

        #[test]
        fn a_further_requirement_never_selects_more(
            labels in labels(), some in proptest::collection::vec(requirement(), 0..4), one in requirement(),
        ) {
            let few = LabelSelector { requirements: some.clone() };
            let more = LabelSelector { requirements: some.into_iter().chain([one.clone()]).collect() };
            prop_assert_eq!(more.unmet(&labels).is_none(), few.unmet(&labels).is_none() && one.is_met(&labels));
        }

        #[test]
        fn an_empty_selector_selects_everything(labels in labels()) {
            prop_assert!(LabelSelector::default().unmet(&labels).is_none());
        }
    }

    #[test]
    fn requirements_read_as_kubectl_writes_them() {
        let set = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
        assert_eq!(Requirement::In("zone".into(), set(&["a"])).to_string(), "zone=a");
        assert_eq!(Requirement::In("zone".into(), set(&["b", "a"])).to_string(), "zone in (a,b)");
        assert_eq!(Requirement::NotIn("zone".into(), set(&["a"])).to_string(), "zone notin (a)");
        assert_eq!(Requirement::Exists("zone".into()).to_string(), "zone");
        assert_eq!(Requirement::DoesNotExist("zone".into()).to_string(), "!zone");
    }
}
