//! The business parameters of one call, decoded from its query string and form body.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::refusal::Refusal;

/// Splits `a=b&c=d` and decodes both sides: `+` is a space, `%XX` a byte. A pair without `=` has an empty value.
pub(crate) fn decode_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// The parameters by name. A name given twice keeps the last value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// A parameter that is present and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| {
            Refusal::new(
                "MissingParameter",
                format!("The input parameter \"{name}\" that is mandatory for processing this request is not supplied."),
            )
        })
    }

    /// A whole number within bounds, when present.
    pub(crate) fn number(&self, name: &str, bounds: RangeInclusive<usize>) -> Result<Option<usize>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse::<usize>() {
            Ok(number) if bounds.contains(&number) => Ok(Some(number)),
            _ => Err(invalid(name, text)),
        }
    }

    /// A number that the cloud forces into bounds instead of refusing it.
    pub(crate) fn clamped(
        &self,
        name: &str,
        bounds: RangeInclusive<usize>,
    ) -> Result<Option<usize>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let number: i64 = text.parse().map_err(|_| invalid(name, text))?;
        let number = usize::try_from(number).unwrap_or(0);
        Ok(Some(number.clamp(*bounds.start(), *bounds.end())))
    }

    /// The repeat list `Name.1`, `Name.2`, …, at most `most` long. A plain `Name` is not a list and is refused.
    pub(crate) fn list(&self, name: &str, most: usize) -> Result<Vec<&str>, Refusal> {
        if let Some(text) = self.get(name) {
            return Err(invalid(name, text));
        }
        let mut found = BTreeMap::new();
        let prefix = format!("{name}.");
        for (key, value) in self.0.range(prefix.clone()..) {
            let Some(rest) = key.strip_prefix(&prefix) else {
                break;
            };
            let index: usize = rest.parse().map_err(|_| invalid(key, value))?;
            if index == 0 || index > most {
                return Err(invalid(key, value));
            }
            found.insert(index, value.as_str());
        }
        Ok(found.into_values().collect())
    }

    /// The repeat list of parsed values; a malformed one is refused with `code`.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str, most: usize, code: &str) -> Result<Vec<T>, Refusal> {
        self.list(name, most)?
            .into_iter()
            .map(|text| {
                text.parse().map_err(|_| {
                    Refusal::new(code, format!("The specified parameter {name} \"{text}\" is invalid."))
                })
            })
            .collect()
    }

    pub(crate) fn ipv4s(&self, name: &str, most: usize) -> Result<Vec<Ipv4Addr>, Refusal> {
        self.parsed(name, most, "InvalidIp.Address")
    }

    pub(crate) fn ipv6s(&self, name: &str, most: usize) -> Result<Vec<Ipv6Addr>, Refusal> {
        self.parsed(name, most, "InvalidIp.Address")
    }

    /// One parameter that holds a JSON array of strings. The same name as a repeat list is refused, as the cloud
    /// ignores it and answers for everything.
    pub(crate) fn json_list(&self, name: &str, most: usize) -> Result<Option<Vec<String>>, Refusal> {
        let prefix = format!("{name}.");
        if let Some((key, value)) = self.0.range(prefix.clone()..).next()
            && key.starts_with(&prefix)
        {
            return Err(invalid(key, value));
        }
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let list: Vec<String> = serde_json::from_str(text).map_err(|_| invalid(name, text))?;
        if list.len() > most {
            return Err(invalid(name, text));
        }
        Ok(Some(list))
    }

    /// `Tag.N.Key` with its `Tag.N.Value`, which may be absent.
    pub(crate) fn tags(&self) -> Result<Vec<(&str, Option<&str>)>, Refusal> {
        let mut tags = Vec::new();
        for n in 1..=20 {
            if let Some(key) = self.get(&format!("Tag.{n}.Key")) {
                tags.push((key, self.get(&format!("Tag.{n}.Value"))));
            } else if let Some(value) = self.get(&format!("Tag.{n}.Value")) {
                return Err(invalid(&format!("Tag.{n}.Value"), value));
            }
        }
        Ok(tags)
    }

    /// Everything but the named parameters, as one text: the identity of a query or of an idempotent call.
    pub(crate) fn identity(&self, without: &[&str]) -> String {
        let mut text = String::new();
        for (name, value) in self.0.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
            text.push_str(name);
            text.push('=');
            text.push_str(value);
            text.push('\n');
        }
        text
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

pub(crate) fn invalid(name: &str, value: &str) -> Refusal {
    Refusal::new("InvalidParameter", format!("The specified parameter {name} \"{value}\" is not valid."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(text: &str) -> Parameters {
        Parameters::new(decode_pairs(text))
    }

    #[test]
    fn a_repeat_list_keeps_the_order_of_its_numbers() {
        let names: Vec<String> = (1..=12).map(|n| format!("Id.{n}=v{n}")).collect();
        let given = parameters(&names.join("&"));
        assert_eq!(given.list("Id", 100).unwrap().last(), Some(&"v12"));
        assert_eq!(given.list("Id", 11).unwrap_err().code, "InvalidParameter");
    }

    #[test]
    fn instance_ids_must_be_a_json_text_and_no_repeat_list() {
        assert_eq!(
            parameters("InstanceIds=%5B%22i-a%22%5D").json_list("InstanceIds", 100).unwrap(),
            Some(vec!["i-a".to_owned()])
        );
        assert!(parameters("InstanceIds.1=i-a").json_list("InstanceIds", 100).is_err());
    }

    #[test]
    fn plus_and_percent_twenty_are_both_a_space() {
        assert_eq!(decode_pairs("a=x+y%20z%2B"), vec![("a".to_owned(), "x y z+".to_owned())]);
    }
}
