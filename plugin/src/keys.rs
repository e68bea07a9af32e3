use std::path::PathBuf;

use cni::{Code, Error, Network};
use serde_json::{Map, Value};

/// The keys of one object of a network configuration. Each is optional, and null is as good as none.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    network: &'a Network,
    /// Where the object is: empty, or its key with a dot behind.
    place: &'static str,
    object: Option<&'a Map<String, Value>>,
}

impl<'a> Keys<'a> {
    /// Those at the top.
    #[must_use]
    pub const fn top(network: &'a Network) -> Self {
        Self { network, place: "", object: Some(network.keys()) }
    }

    /// Those of the object at a key of the top; `place` is the key with a dot behind.
    pub fn of(network: &'a Network, place: &'static str) -> Result<Self, Error> {
        let key = place.trim_end_matches('.');
        match network.keys().get(key) {
            None | Some(Value::Null) => Ok(Self { network, place, object: None }),
            Some(Value::Object(keys)) => Ok(Self { network, place, object: Some(keys) }),
            Some(_) => Err(wrong(network, key, "an object")),
        }
    }

    /// What is written at a key; null is what Go writes for an empty list.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.object?.get(key).filter(|value| !value.is_null())
    }

    /// A text; an empty one is none.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// An absolute path.
    pub fn path(&self, key: &str, default: &str) -> Result<PathBuf, Error> {
        let path = PathBuf::from(self.text(key)?.unwrap_or(default));
        // A runtime may start us in any folder.
        if path.is_absolute() { Ok(path) } else { Err(self.wrong(key, "an absolute path")) }
    }

    /// A number that is not negative.
    pub fn number(&self, key: &str, default: u64) -> Result<u64, Error> {
        self.get(key).map_or(Ok(default), |value| {
            value.as_u64().ok_or_else(|| self.wrong(key, "a whole number that is not negative"))
        })
    }

    /// Yes or no; no without a word.
    pub fn flag(&self, key: &str) -> Result<bool, Error> {
        self.get(key)
            .map_or(Ok(false), |value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false")))
    }

    /// A list of texts, of which none is empty; `must` says what it must be.
    pub fn texts(&self, key: &str, must: &str) -> Result<Vec<String>, Error> {
        let wrong = || self.wrong(key, must);
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(wrong)?;
        list.iter()
            .map(|value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(wrong))
            .collect()
    }

    /// The error for a key that is not what it must be.
    #[must_use]
    pub fn wrong(&self, key: &str, must: &str) -> Error {
        wrong(self.network, &format!("{}{key}", self.place), must)
    }
}

fn wrong(network: &Network, key: &str, must: &str) -> Error {
    let name = network.name();
    Error::new(
        Code::InvalidNetwork,
        format!(
            "the key \"{key}\" of the network configuration {name:?} must be {must}: correct it in the CNI configuration file or the NetworkAttachmentDefinition"
        ),
    )
}
