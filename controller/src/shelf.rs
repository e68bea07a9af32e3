//! Objects of one kind, kept from what their watch tells.

use std::collections::{BTreeMap, BTreeSet};

/// One thing that a watch told of objects of kind `T`, keyed by `name` or `namespace/name`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Delta<T> {
    /// A fresh listing begins: what it does not name by its end is gone.
    Begin,
    /// The object is there, and this is how it looks.
    Here(String, T),
    /// The listing that began is complete.
    End,
    /// The object is gone.
    Gone(String),
}

impl<A, B> Delta<(A, B)> {
    /// Tells the same of both halves.
    pub(crate) fn split(self) -> (Delta<A>, Delta<B>) {
        match self {
            Self::Begin => (Delta::Begin, Delta::Begin),
            Self::Here(key, (a, b)) => (Delta::Here(key.clone(), a), Delta::Here(key, b)),
            Self::End => (Delta::End, Delta::End),
            Self::Gone(key) => (Delta::Gone(key.clone()), Delta::Gone(key)),
        }
    }
}

/// Objects of one kind.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    /// The objects, as far as they are known.
    pub(crate) items: BTreeMap<String, T>,
    /// The keys that the listing under way has named so far.
    listing: Option<BTreeSet<String>>,
    /// Whether a listing was ever complete.
    pub(crate) complete: bool,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), listing: None, complete: false }
    }
}

impl<T> Shelf<T> {
    /// Takes a delta in and returns whether anything changed that `matters` (before, after).
    pub(crate) fn take(&mut self, delta: Delta<T>, matters: impl Fn(&T, &T) -> bool) -> bool {
        match delta {
            Delta::Begin => {
                self.listing = Some(BTreeSet::new());
                false
            }
            Delta::Here(key, item) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(key.clone());
                }
                let before = self.items.insert(key.clone(), item);
                let after = self.items.get(&key);
                before.zip(after).is_none_or(|(before, after)| matters(&before, after))
            }
            Delta::End => {
                let first = !std::mem::replace(&mut self.complete, true);
                let listed = self.listing.take().unwrap_or_default();
                let count = self.items.len();
                self.items.retain(|key, _| listed.contains(key));
                first || self.items.len() != count
            }
            Delta::Gone(key) => self.items.remove(&key).is_some(),
        }
    }
}
