use std::path::PathBuf;

use cni::{Code, Error, Network};
use serde_json::{Map, Value};

use crate::log::{Level, Rotation};

/// The `ipam` object of the network configuration, with upstream's keys; others are left to whoever knows them.
#[derive(Debug)]
pub(crate) struct Config {
    /// `log_level`.
    pub(crate) level: Level,
    /// `log_file_path` and what keeps it small.
    pub(crate) rotation: Rotation,
    /// `default_ipv4_ippool`.
    pub(crate) ipv4_pools: Vec<String>,
    /// `default_ipv6_ippool`.
    pub(crate) ipv6_pools: Vec<String>,
    /// `clean_gateway`.
    pub(crate) clean_gateway: bool,
    /// `match_master_subnet`.
    pub(crate) match_master_subnet: bool,
    /// `ipam_unix_socket_path`.
    pub(crate) socket: PathBuf,
    /// `del_queue_dir`, which upstream does not have.
    pub(crate) queue: PathBuf,
}

impl Config {
    pub(crate) fn read(network: &Network) -> Result<Self, Error> {
        let none = Map::new();
        let keys = match network.keys().get("ipam") {
            None | Some(Value::Null) => &none,
            Some(Value::Object(keys)) => keys,
            Some(_) => return Err(wrong(network, "ipam", "an object")),
        };
        let keys = Keys { network, keys };
        Ok(Self {
            level: match keys.text("log_level")? {
                None => Level::Info,
                Some(level) => Level::parse(level)
                    .ok_or_else(|| wrong(network, "ipam.log_level", "one of debug, info, warn, error"))?,
            },
            rotation: Rotation {
                path: keys.path("log_file_path", "/var/log/spidernet/spiderpool.log")?,
                max_megabytes: keys.number("log_file_max_size", 100)?,
                max_days: keys.number("log_file_max_age", 30)?,
                max_files: keys.number("log_file_max_count", 7)?,
            },
            ipv4_pools: keys.texts("default_ipv4_ippool")?,
            ipv6_pools: keys.texts("default_ipv6_ippool")?,
            clean_gateway: keys.flag("clean_gateway")?,
            match_master_subnet: keys.flag("match_master_subnet")?,
            socket: keys.path("ipam_unix_socket_path", wire::SOCKET)?,
            queue: keys.path("del_queue_dir", wire::DEL_QUEUE)?,
        })
    }
}

struct Keys<'a> {
    network: &'a Network,
    keys: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    /// What is written at a key; null is what Go writes for an empty list.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    fn path(&self, key: &str, default: &str) -> Result<PathBuf, Error> {
        let path = PathBuf::from(self.text(key)?.unwrap_or(default));
        // A runtime may start us in any folder.
        if path.is_absolute() { Ok(path) } else { Err(self.wrong(key, "an absolute path")) }
    }

    fn number(&self, key: &str, default: u64) -> Result<u64, Error> {
        self.get(key).map_or(Ok(default), |value| {
            value.as_u64().ok_or_else(|| self.wrong(key, "a whole number that is not negative"))
        })
    }

    fn flag(&self, key: &str) -> Result<bool, Error> {
        self.get(key)
            .map_or(Ok(false), |value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false")))
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, Error> {
        let wrong = || self.wrong(key, "a list of pool names");
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(wrong)?;
        list.iter()
            .map(|value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(wrong))
            .collect()
    }

    fn wrong(&self, key: &str, must: &str) -> Error {
        wrong(self.network, &format!("ipam.{key}"), must)
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
