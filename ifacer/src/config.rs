//! The keys of the network configuration.

use cni::{Error, Network};
use plugin::{Keys, Level, Rotation};
use serde_json::Value;

use crate::assert::{LOCK, Places, RECORDS};
use crate::request::{Asked, AskedBond, Request};

/// All that a call goes by.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) request: Request,
    pub(crate) asked: Asked,
    pub(crate) places: Places,
    pub(crate) level: Level,
    pub(crate) rotation: Rotation,
}

impl Config {
    pub(crate) fn read(network: &Network) -> Result<Self, Error> {
        let keys = Keys::top(network);
        let asked = Asked {
            interfaces: keys.texts("interfaces", "a list of names of interfaces of the node")?,
            vlan: keys.number("vlanID", 0)?,
            mtu: keys.number("mtu", 0)?,
            bond: match keys.get("bond") {
                None => None,
                Some(_) => Some(bond(&Keys::of(network, "bond.")?)?),
            },
        };
        let request = Request::new(&asked).map_err(|wrong| keys.wrong(wrong.key, &wrong.must))?;
        let places = Places { records: keys.path("stateDir", RECORDS)?, lock: keys.path("lockFile", LOCK)? };
        let log = Keys::of(network, "logOptions.")?;
        let level = log.text("logLevel")?.map(|text| {
            Level::parse(text).ok_or_else(|| log.wrong("logLevel", "one of debug, info, warn, error"))
        });
        Ok(Self {
            request,
            asked,
            places,
            level: level.transpose()?.unwrap_or(Level::Info),
            rotation: Rotation {
                path: log.path("logFile", "/var/log/spidernet/ifacer.log")?,
                max_megabytes: log.number("logMaxSize", 100)?,
                max_days: log.number("logMaxAge", 30)?,
                max_files: log.number("logMaxCount", 7)?,
            },
        })
    }
}

fn bond(keys: &Keys<'_>) -> Result<AskedBond, Error> {
    Ok(AskedBond {
        name: keys.text("name")?.unwrap_or_default().to_owned(),
        mode: match keys.get("mode") {
            None => String::new(),
            Some(Value::String(word)) => word.clone(),
            // A number that is none of the modes is refused with the list of them.
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(keys.wrong("mode", "a number from 0 to 6, or Linux' word for it")),
        },
        options: keys.text("options")?.unwrap_or_default().to_owned(),
    })
}
