//! In which namespaces definitions are kept.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Where SpiderMultusConfigs are turned into definitions.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    /// In every namespace: `*`.
    #[default]
    Everywhere,
    /// In none, because somebody else does it (upstream's controller, say): the empty text.
    Nowhere,
    /// In these.
    Only(BTreeSet<String>),
}

impl Scope {
    /// Returns whether a namespace is in it.
    #[must_use]
    pub fn holds(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Nowhere => false,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}

impl FromStr for Scope {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        Ok(match (names.is_empty(), names.contains("*")) {
            (true, _) => Self::Nowhere,
            (_, true) => Self::Everywhere,
            (false, false) => Self::Only(names),
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("*"),
            Self::Nowhere => Ok(()),
            Self::Only(names) => f.write_str(&names.iter().map(String::as_str).collect::<Vec<_>>().join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        for (text, holds) in
            [("*", [true, true]), ("", [false, false]), ("a", [true, false]), ("b,c", [false, true])]
        {
            let scope: Scope = text.parse().unwrap();
            assert_eq!([scope.holds("a"), scope.holds("b")], holds, "{text}");
            assert_eq!(scope.to_string(), text);
        }
    }

    #[test]
    fn spaces_and_empty_items_do_not_matter() {
        assert_eq!(" a , ,b,".parse::<Scope>().unwrap().to_string(), "a,b");
        assert_eq!("a,*".parse::<Scope>().unwrap(), Scope::Everywhere);
    }
}
