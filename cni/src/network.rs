use serde_json::{Map, Value};

use crate::environment::is_name;
use crate::{Code, ContainerId, Error, IfName, Success, Version};

/// A network configuration, from stdin; every key of it is kept.
#[derive(Clone, Debug)]
pub struct Network {
    version: Version,
    name: String,
    keys: Map<String, Value>,
}

impl Network {
    pub(crate) fn parse(stdin: &[u8]) -> Result<Map<String, Value>, Error> {
        match serde_json::from_slice(stdin) {
            Ok(Value::Object(keys)) => Ok(keys),
            Ok(_) => {
                Err(Error::new(Code::Decode, "the network configuration on stdin is JSON, but no object"))
            }
            Err(error) => Err(Error::new(
                Code::Decode,
                format!("the network configuration on stdin is no JSON: {error}"),
            )),
        }
    }

    pub(crate) fn new(version: Version, keys: Map<String, Value>) -> Result<Self, Error> {
        let name = match keys.get("name") {
            Some(Value::String(name)) if is_name(name) => name.clone(),
            Some(name) => {
                let must =
                    "must be a text of letters, digits, '_', '.' and '-' that starts with a letter or digit";
                return Err(Error::new(
                    Code::InvalidNetwork,
                    format!("the network configuration's key \"name\" {must}, and is {name}"),
                ));
            }
            None => {
                return Err(Error::new(
                    Code::InvalidNetwork,
                    "the network configuration lacks the key \"name\"",
                ));
            }
        };
        Ok(Self { version, name, keys })
    }

    /// The version that the runtime speaks.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All keys, as they came.
    #[must_use]
    pub const fn keys(&self) -> &Map<String, Value> {
        &self.keys
    }

    /// What the plugins before this one made, if any was.
    pub fn prev_result(&self) -> Result<Option<Success>, Error> {
        match self.keys.get("prevResult") {
            None | Some(Value::Null) => Ok(None),
            Some(result) => Success::from_json(result).map(Some).map_err(|error| {
                Error::new(
                    Code::Decode,
                    format!("the network configuration's prevResult cannot be read: {}", error.message),
                )
            }),
        }
    }

    /// The attachments that the runtime still has, from `cni.dev/valid-attachments`; GC without that key is an error, since
    /// taking it for an empty list would free everything.
    pub fn valid_attachments(&self) -> Result<Vec<(ContainerId, IfName)>, Error> {
        let wrong = |why: &str| {
            Error::new(
                Code::InvalidNetwork,
                format!(
                    "GC needs the key \"cni.dev/valid-attachments\" with a list of objects {{containerID, ifname}}, and {why}"
                ),
            )
        };
        // The specification's older text wrote `attachments`, which libcni still sends beside it.
        let list = ["cni.dev/valid-attachments", "cni.dev/attachments"]
            .iter()
            .find_map(|key| self.keys.get(*key))
            .ok_or_else(|| wrong("it is missing"))?;
        list.as_array()
            .ok_or_else(|| wrong("it is no list"))?
            .iter()
            .map(|attachment| {
                let text = |key: &str| {
                    attachment
                        .get(key)
                        .and_then(Value::as_str)
                        .ok_or_else(|| wrong(&format!("an object lacks {key}")))
                };
                Ok((ContainerId::parse(text("containerID")?)?, IfName::parse(text("ifname")?)?))
            })
            .collect()
    }
}
