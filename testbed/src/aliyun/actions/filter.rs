//! The filters that listings share: exact texts and tags, all of which must hold.

use std::collections::BTreeMap;

use crate::aliyun::parameters::Parameters;
use crate::aliyun::refusal::Refusal;

/// How a field is read from an item.
pub(super) type Field<T> = fn(&T) -> &str;

/// What a listing asks for.
pub(super) struct Filter<'a, T> {
    texts: Vec<(Field<T>, &'a str)>,
    tags: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a, T> Filter<'a, T> {
    /// Takes the parameters of these names, and the tags.
    pub(super) fn new(parameters: &'a Parameters, fields: &[(&str, Field<T>)]) -> Result<Self, Refusal> {
        let texts = fields.iter().filter_map(|(name, field)| Some((*field, parameters.get(name)?))).collect();
        Ok(Self { texts, tags: parameters.tags()? })
    }

    /// Tells whether tags are asked for.
    pub(super) fn is_tagged(&self) -> bool {
        !self.tags.is_empty()
    }

    /// Tells whether an item with these tags is asked for.
    pub(super) fn admits(&self, item: &T, tags: &BTreeMap<String, String>) -> bool {
        self.texts.iter().all(|(field, text)| field(item) == *text)
            && self.tags.iter().all(|(key, value)| {
                tags.get(*key).is_some_and(|held| value.is_none_or(|value| held == value))
            })
    }
}
