//! What interfaces are asked for.

use cni::IfName;
use serde::{Deserialize, Serialize};

use crate::options::{self, MODES, Setting};

/// The name of a bond of which nobody says one, as upstream's.
const BOND: &str = "sp_bond0";
/// The largest VLAN number: 4095 is reserved (IEEE 802.1Q).
const VLAN_MAX: u64 = 4094;
/// What IPv4 needs at least (`ETH_MIN_MTU` in `linux/if_ether.h`), and the most that an IP packet can say of itself.
const MTU: std::ops::RangeInclusive<u64> = 68..=65_535;

/// What is written in a network configuration or a record, not looked at yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// `interfaces`.
    pub interfaces: Vec<String>,
    /// `vlanID`; zero is none.
    #[serde(rename = "vlanID", default)]
    pub vlan: u64,
    /// `mtu`; zero is none.
    #[serde(default)]
    pub mtu: u64,
    /// `bond`.
    #[serde(default)]
    pub bond: Option<AskedBond>,
}

/// The object `bond`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedBond {
    /// `name`; an empty one is upstream's default.
    pub name: String,
    /// `mode`, by name or by number.
    pub mode: String,
    /// `options`.
    pub options: String,
}

/// A key whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The key, with dots.
    pub key: &'static str,
    /// What it must be; completes "must be …".
    pub must: String,
}

/// The interfaces below: at least one, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interfaces {
    first: IfName,
    more: Vec<IfName>,
}

/// What is asked for, in one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(crate) interfaces: Interfaces,
    /// Only with two interfaces and more.
    pub(crate) bond: Option<Bond>,
    /// The VLAN's number and the name of its interface.
    pub(crate) vlan: Option<(u16, IfName)>,
    /// The longest packet that every interface must take at least, in bytes.
    pub(crate) mtu: Option<u32>,
}

/// The bond of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bond {
    pub(crate) name: IfName,
    pub(crate) mode: u8,
    pub(crate) settings: Vec<Setting>,
}

impl Interfaces {
    pub(crate) fn parse(names: &[String]) -> Result<Self, Wrong> {
        let wrong = |must: &str| Wrong { key: "interfaces", must: must.to_owned() };
        let mut parsed: Vec<IfName> = Vec::new();
        for name in names {
            let must = format!("a list of names of interfaces of the node, which {name:?} is none of");
            let name = IfName::parse(name).map_err(|_| wrong(&must))?;
            if parsed.contains(&name) {
                return Err(wrong(&format!("a list of different interfaces, and names {name} twice")));
            }
            parsed.push(name);
        }
        let mut parsed = parsed.into_iter();
        let first = parsed.next().ok_or_else(|| wrong("a list of one interface of the node at least"))?;
        Ok(Self { first, more: parsed.collect() })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &IfName> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

impl Request {
    /// Reads what is asked.
    pub fn new(asked: &Asked) -> Result<Self, Wrong> {
        let Asked { interfaces, vlan, mtu, bond } = asked;
        let interfaces = Interfaces::parse(interfaces)?;
        // One interface needs no bond, whatever is said of one; upstream ignores it likewise.
        let bond = match (interfaces.more.is_empty(), bond) {
            (true, _) => None,
            (false, None) => {
                let must = "an object {\"name\": ..., \"mode\": 0 to 6} with two interfaces and more: they need a bond, or leave one of them";
                return Err(Wrong { key: "bond", must: must.to_owned() });
            }
            (false, Some(bond)) => Some(Bond::new(bond, &interfaces)?),
        };
        let mtu = match mtu {
            0 => None,
            mtu if MTU.contains(mtu) => u32::try_from(*mtu).ok(),
            _ => {
                let must = format!("0 for none, or a number of bytes from {} to {}", MTU.start(), MTU.end());
                return Err(Wrong { key: "mtu", must });
            }
        };
        let below = bond.as_ref().map_or(&interfaces.first, |bond| &bond.name);
        let vlan = match vlan {
            0 => None,
            id @ 1..=VLAN_MAX => Some(vlan_on(below, *id)?),
            _ => {
                let must = format!("0 for none, or a number from 1 to {VLAN_MAX}");
                return Err(Wrong { key: "vlanID", must });
            }
        };
        Ok(Self { interfaces, bond, vlan, mtu })
    }

    /// The name of the interface that pods' networks stand on in the end.
    #[must_use]
    pub fn device(&self) -> &str {
        let vlan = self.vlan.as_ref().map(|(_, name)| name.as_str());
        vlan.unwrap_or_else(|| self.below())
    }

    /// The name of what a VLAN stands on.
    pub(crate) fn below(&self) -> &str {
        self.bond.as_ref().map_or(&self.interfaces.first, |bond| &bond.name).as_str()
    }
}

fn vlan_on(below: &IfName, id: u64) -> Result<(u16, IfName), Wrong> {
    let name = format!("{below}.{id}");
    let id = u16::try_from(id).ok();
    id.zip(IfName::parse(&name).ok()).ok_or_else(|| {
        let must = format!("such that {name:?} is the name of an interface, which has 15 bytes at most: give the interface below the VLAN a shorter name");
        Wrong { key: "vlanID", must }
    })
}

impl Bond {
    fn new(asked: &AskedBond, interfaces: &Interfaces) -> Result<Self, Wrong> {
        let AskedBond { name, mode, options } = asked;
        let wrong = |key, must: String| Wrong { key, must };
        let name = if name.is_empty() { BOND } else { name };
        let name = IfName::parse(name).map_err(|_| {
            wrong(
                "bond.name",
                "the name of an interface: 1 to 15 bytes, no '/', ':' or white space".to_owned(),
            )
        })?;
        if interfaces.iter().any(|it| *it == name) {
            return Err(wrong(
                "bond.name",
                format!("another name than {name}, which \"interfaces\" has, too"),
            ));
        }
        let mode = match mode.as_str() {
            // What Go writes for a number that nobody said.
            "" => 0,
            mode => options::word(mode, &MODES).map_err(|must| wrong("bond.mode", must))?,
        };
        let settings = options::parse(options, interfaces).map_err(|why| {
            wrong("bond.options", format!("KEY=VALUE pairs of Linux' bonding with ';' between them: {why}"))
        })?;
        Ok(Self { name, mode, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(interfaces: &[&str], vlan: u64) -> Asked {
        let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
        Asked { interfaces, vlan, ..Asked::default() }
    }

    fn bond(name: &str, mode: &str, options: &str) -> AskedBond {
        AskedBond { name: name.to_owned(), mode: mode.to_owned(), options: options.to_owned() }
    }

    #[test]
    fn the_device_is_named_as_generated_configurations_name_their_master() {
        let device = |asked: &Asked| Request::new(asked).unwrap().device().to_owned();
        assert_eq!(device(&asked(&["eth1"], 0)), "eth1");
        assert_eq!(device(&asked(&["eth1"], 5)), "eth1.5");
        let two = |vlan, bond| Asked { bond: Some(bond), ..asked(&["eth1", "eth2"], vlan) };
        assert_eq!(device(&two(0, bond("bond0", "1", ""))), "bond0");
        assert_eq!(device(&two(4094, bond("bond0", "active-backup", ""))), "bond0.4094");
        assert_eq!(device(&two(0, bond("", "", ""))), "sp_bond0");
        let one = Asked { bond: Some(bond("bond0", "nonsense", "")), ..asked(&["eth1"], 7) };
        assert_eq!(device(&one), "eth1.7");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let two = |bond| Asked { bond: Some(bond), ..asked(&["eth1", "eth2"], 0) };
        for (asked, key, word) in [
            (asked(&[], 0), "interfaces", "one interface"),
            (asked(&[""], 0), "interfaces", "\"\""),
            (asked(&["a/b"], 0), "interfaces", "a/b"),
            (asked(&["eth1", "eth1"], 0), "interfaces", "eth1 twice"),
            (asked(&["eth1"], 4095), "vlanID", "4094"),
            (asked(&["interface-name"], 4000), "vlanID", "interface-name.4000"),
            (Asked { mtu: 67, ..asked(&["eth1"], 0) }, "mtu", "68"),
            (Asked { mtu: 65_536, ..asked(&["eth1"], 0) }, "mtu", "65535"),
            (asked(&["eth1", "eth2"], 0), "bond", "need a bond"),
            (two(bond("a b", "0", "")), "bond.name", "15 bytes"),
            (two(bond("eth2", "0", "")), "bond.name", "another name than eth2"),
            (two(bond("bond0", "7", "")), "bond.mode", "802.3ad (4)"),
            (two(bond("bond0", "lacp", "")), "bond.mode", "802.3ad (4)"),
            (two(bond("bond0", "0", "speed=9")), "bond.options", "speed"),
        ] {
            let wrong = Request::new(&asked).unwrap_err();
            assert_eq!(wrong.key, key, "{wrong:?}");
            assert!(wrong.must.contains(word), "{wrong:?}");
        }
    }
}
