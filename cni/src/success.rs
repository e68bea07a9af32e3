use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::{Cidr, Code, Error, Version};

/// What an ADD made, in no particular version's shape; keys that we do not know are kept and written again.
///
/// An IPAM plugin leaves `interfaces` empty, as the specification wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Success {
    /// The interfaces made.
    pub interfaces: Vec<Interface>,
    /// The addresses given.
    pub ips: Vec<Ip>,
    /// The routes.
    pub routes: Vec<Route>,
    /// The resolver's configuration.
    pub dns: Option<Dns>,
    /// Keys that we do not know.
    pub other: Map<String, Value>,
}

/// An interface, on the host or in the container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address, if it has one.
    pub mac: Option<String>,
    /// Its network namespace; none is the host's.
    pub sandbox: Option<String>,
    /// `mtu`, `socketPath`, `pciID` (1.1.0), and keys that we do not know.
    pub other: Map<String, Value>,
}

/// An address.
#[derive(Clone, Debug, PartialEq)]
pub struct Ip {
    /// The address with its network's prefix length.
    pub address: Cidr,
    /// The network's gateway.
    pub gateway: Option<IpAddr>,
    /// The index in [`Success::interfaces`] of the interface that has it.
    pub interface: Option<u64>,
    /// Keys that we do not know.
    pub other: Map<String, Value>,
}

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where to.
    pub dst: Cidr,
    /// The next hop; none is the network's gateway.
    pub gw: Option<IpAddr>,
    /// `mtu`, `advmss`, `priority`, `table`, `scope` (1.1.0), and keys that we do not know.
    pub other: Map<String, Value>,
}

/// A resolver's configuration, kept as it came.
pub type Dns = Map<String, Value>;

/// What 1.1.0 added to interfaces: older readers are not shown it.
const INTERFACE_1_1: [&str; 3] = ["mtu", "socketPath", "pciID"];
/// What 1.1.0 added to routes.
const ROUTE_1_1: [&str; 5] = ["mtu", "advmss", "priority", "table", "scope"];

impl Success {
    /// Reads a result of any version, since their shapes differ in nothing but what one of them may leave out.
    pub fn from_json(value: &Value) -> Result<Self, Error> {
        let mut keys = object(value, "a result")?;
        // Of the old version; written anew by `to_json`.
        keys.remove("cniVersion");
        Ok(Self {
            interfaces: list(&mut keys, "interfaces", Interface::from_json)?,
            ips: list(&mut keys, "ips", Ip::from_json)?,
            routes: list(&mut keys, "routes", Route::from_json)?,
            dns: keys
                .remove("dns")
                .filter(|dns| !dns.is_null())
                .map(|dns| object(&dns, "dns"))
                .transpose()?,
            other: keys,
        })
    }

    /// Writes it in the shape of a version.
    #[must_use]
    pub fn to_json(&self, version: Version) -> Value {
        let Self { interfaces, ips, routes, dns, other } = self;
        let mut keys = other.clone();
        keys.insert("cniVersion".to_owned(), Value::from(version.as_str()));
        if !interfaces.is_empty() {
            keys.insert(
                "interfaces".to_owned(),
                interfaces.iter().map(|interface| interface.to_json(version)).collect(),
            );
        }
        keys.insert("ips".to_owned(), ips.iter().map(|ip| ip.to_json(version)).collect());
        if !routes.is_empty() {
            keys.insert("routes".to_owned(), routes.iter().map(|route| route.to_json(version)).collect());
        }
        if let Some(dns) = dns {
            keys.insert("dns".to_owned(), Value::Object(dns.clone()));
        }
        Value::Object(keys)
    }
}

impl Interface {
    fn from_json(value: &Value) -> Result<Self, Error> {
        let mut keys = object(value, "an interface")?;
        let name = text(&mut keys, "name")?.ok_or_else(|| wrong("an interface lacks its name"))?;
        Ok(Self { name, mac: text(&mut keys, "mac")?, sandbox: text(&mut keys, "sandbox")?, other: keys })
    }

    fn to_json(&self, version: Version) -> Value {
        let Self { name, mac, sandbox, other } = self;
        let mut keys = without(other, &INTERFACE_1_1, version);
        keys.insert("name".to_owned(), Value::from(name.as_str()));
        for (key, value) in [("mac", mac), ("sandbox", sandbox)] {
            if let Some(value) = value {
                keys.insert(key.to_owned(), Value::from(value.as_str()));
            }
        }
        Value::Object(keys)
    }
}

impl Ip {
    fn from_json(value: &Value) -> Result<Self, Error> {
        let mut keys = object(value, "an address")?;
        // The address says it, too.
        keys.remove("version");
        let interface =
            match keys.remove("interface") {
                None | Some(Value::Null) => None,
                Some(index) => Some(index.as_u64().ok_or_else(|| {
                    wrong(&format!("an address's interface must be an index, and is {index}"))
                })?),
            };
        let address = text(&mut keys, "address")?
            .ok_or_else(|| wrong("an address lacks its key \"address\""))?
            .parse()?;
        Ok(Self { address, gateway: address_of(&mut keys, "gateway")?, interface, other: keys })
    }

    fn to_json(&self, version: Version) -> Value {
        let Self { address, gateway, interface, other } = self;
        let mut keys = other.clone();
        if version < Version::V1_0_0 {
            keys.insert(
                "version".to_owned(),
                Value::from(if address.address().is_ipv4() { "4" } else { "6" }),
            );
        }
        keys.insert("address".to_owned(), Value::from(address.to_string()));
        if let Some(gateway) = gateway {
            keys.insert("gateway".to_owned(), Value::from(gateway.to_string()));
        }
        if let Some(interface) = interface {
            keys.insert("interface".to_owned(), Value::from(*interface));
        }
        Value::Object(keys)
    }
}

impl Route {
    fn from_json(value: &Value) -> Result<Self, Error> {
        let mut keys = object(value, "a route")?;
        let dst = text(&mut keys, "dst")?.ok_or_else(|| wrong("a route lacks its key \"dst\""))?.parse()?;
        Ok(Self { dst, gw: address_of(&mut keys, "gw")?, other: keys })
    }

    fn to_json(&self, version: Version) -> Value {
        let Self { dst, gw, other } = self;
        let mut keys = without(other, &ROUTE_1_1, version);
        keys.insert("dst".to_owned(), Value::from(dst.to_string()));
        if let Some(gw) = gw {
            keys.insert("gw".to_owned(), Value::from(gw.to_string()));
        }
        Value::Object(keys)
    }
}

fn without(keys: &Map<String, Value>, new: &[&str], version: Version) -> Map<String, Value> {
    let mut keys = keys.clone();
    if version < Version::V1_1_0 {
        keys.retain(|key, _| !new.contains(&key.as_str()));
    }
    keys
}

fn object(value: &Value, what: &str) -> Result<Map<String, Value>, Error> {
    value.as_object().cloned().ok_or_else(|| wrong(&format!("{what} must be an object")))
}

fn list<T>(
    keys: &mut Map<String, Value>,
    key: &str,
    read: fn(&Value) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    match keys.remove(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(read).collect(),
        Some(_) => Err(wrong(&format!("{key} must be a list"))),
    }
}

/// Go leaves out or writes an empty text for what is not there.
fn text(keys: &mut Map<String, Value>, key: &str) -> Result<Option<String>, Error> {
    match keys.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) => Err(wrong(&format!("{key} must be a text"))),
    }
}

fn address_of(keys: &mut Map<String, Value>, key: &str) -> Result<Option<IpAddr>, Error> {
    text(keys, key)?
        .map(|text| text.parse().map_err(|_| wrong(&format!("{key} must be an IP address, and is {text:?}"))))
        .transpose()
}

fn wrong(message: &str) -> Error {
    Error::new(Code::Decode, message)
}
