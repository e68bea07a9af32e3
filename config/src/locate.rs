//! Where in the file a value stands: for what is good YAML and still wrong.

use std::collections::BTreeMap;
use std::fmt;

use providers::{Path, Step};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::parse::options;

/// Line and column of a value, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A file as nested values without their contents: only places.
pub(crate) struct Places(Option<Spanned<Tree>>);

enum Tree {
    Leaf,
    List(Vec<Spanned<Self>>),
    Map(BTreeMap<String, Spanned<Self>>),
}

impl Places {
    /// Reads the places of every value. A text that is no YAML has none.
    pub(crate) fn of(text: &str) -> Self {
        Self(serde_saphyr::from_str_with_options(text, options()).ok())
    }

    /// Returns the place of the value at `path`, or of the innermost value around it that is there.
    pub(crate) fn find(&self, path: &Path) -> Option<Place> {
        let mut at = self.0.as_ref()?;
        for step in path.steps() {
            let inner = match (&at.value, step) {
                (Tree::Map(map), Step::Key(key)) => map.get(key),
                (Tree::List(list), Step::Index(index)) => list.get(*index),
                _ => None,
            };
            match inner {
                Some(inner) => at = inner,
                None => break,
            }
        }
        Some(Place { line: at.referenced.line(), column: at.referenced.column() })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

/// Takes every kind of scalar for a leaf.
macro_rules! leaves {
    ($($visit:ident($type:ty))*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Tree, E> { Ok(Tree::Leaf) })*
    };
}

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    leaves! { visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_i128(i128) visit_u128(u128) visit_f64(f64) visit_str(&str) }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Tree::Leaf)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry()? {
            map.insert(key, value);
        }
        Ok(Tree::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_place() {
        let places = Places::of("a: 1\nb:\n  - c: x\n    d: [true, ~, 1.5]\n");
        let at = |path: Path| places.find(&path).map(|place| (place.line, place.column));
        let top = Path::default();
        assert_eq!(at(top.key("a")), Some((1, 4)));
        assert_eq!(at(top.key("b").index(0).key("c")), Some((3, 8)));
        assert_eq!(at(top.key("b").index(0).key("d").index(2)), Some((4, 18)));
    }

    #[test]
    fn a_value_that_is_missing_is_sought_where_it_should_be() {
        let places = Places::of("a:\n  - x: 1\n");
        let place = places.find(&Path::default().key("a").index(0).key("y").index(3));
        assert_eq!(place, Some(Place { line: 2, column: 5 }));
    }
}
