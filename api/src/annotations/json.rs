//! JSON inside an annotation, with the place of every value for whoever has to mend it.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::Value;

use super::key_of;

/// What is wrong in an annotation, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: String,
    pub(super) why: String,
}

impl Fault {
    pub(super) fn at(at: String, why: String) -> Self {
        Self { at, why }
    }
}

/// Reads a JSON text.
pub(super) fn read(text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|error| {
        let at = format!("at line {} column {}", error.line(), error.column());
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        Fault { at, why: format!("it is no JSON: {why}") }
    })
}

/// A value and its place: `[0].ipv4[1]`; the top has none.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    value: &'a Value,
    path: String,
}

/// An object and its place.
pub(super) struct Object<'a> {
    of: &'a serde_json::Map<String, Value>,
    path: String,
}

impl<'a> Spot<'a> {
    pub(super) fn top(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    /// Returns a fault of this value.
    pub(super) fn fault(&self, why: impl Into<String>) -> Fault {
        let at = if self.path.is_empty() { "at its top".to_owned() } else { format!("at {}", self.path) };
        Fault { at, why: why.into() }
    }

    fn other(&self, expected: &str) -> Fault {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.fault(format!("expected {expected}, found {found}"))
    }

    /// Returns the items of a list; `null` is an empty one, as it is for Go.
    pub(super) fn items(&self, expected: &str) -> Result<impl Iterator<Item = Spot<'a>>, Fault> {
        let items: &'a [Value] = match self.value {
            Value::Array(items) => items,
            Value::Null => &[],
            _ => return Err(self.other(expected)),
        };
        let path = self.path.clone();
        Ok(items.iter().enumerate().map(move |(at, value)| Spot { value, path: format!("{path}[{at}]") }))
    }

    pub(super) fn object(&self, expected: &str) -> Result<Object<'a>, Fault> {
        match self.value {
            Value::Object(of) => Ok(Object { of, path: self.path.clone() }),
            _ => Err(self.other(expected)),
        }
    }

    pub(super) fn text(&self, expected: &str) -> Result<&'a str, Fault> {
        self.value.as_str().ok_or_else(|| self.other(&format!("{expected} as a text")))
    }

    pub(super) fn switch(&self) -> Result<bool, Fault> {
        self.value.as_bool().ok_or_else(|| self.other("true or false"))
    }

    /// Reads a text that has a grammar of its own.
    pub(super) fn parsed<T: FromStr>(&self, expected: &str) -> Result<T, Fault>
    where
        T::Err: Display,
    {
        let text = self.text(expected)?;
        text.parse().map_err(|error: T::Err| self.fault(format!("{text:?} is not {expected}: {error}")))
    }
}

impl<'a> Object<'a> {
    /// Returns the value of a key; `null` is as good as none.
    pub(super) fn get(&self, key: &str) -> Option<Spot<'a>> {
        let dot = if self.path.is_empty() { "" } else { "." };
        key_of(self.of, key).map(|value| Spot { value, path: format!("{}{dot}{key}", self.path) })
    }
}
