//! The settings of a bond, by their names in Linux and iproute2.
//!
//! Names, numbers and ranges are of `drivers/net/bonding/bond_options.c` and `include/uapi/linux/if_link.h` in Linux. Which of
//! them go with which mode is left to the kernel, since that differs from version to version.

use std::net::Ipv4Addr;

use netlink::{BondOption, BondValue, Mac};

use crate::request::Interfaces;

/// The modes, in the order of their numbers (`linux/if_bonding.h`).
pub(crate) const MODES: [&str; 7] =
    ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];

const INT_MAX: u32 = i32::MAX.cast_unsigned();
/// `BOND_MAX_ARP_TARGETS` (net/bonding.h).
const ADDRESSES_MAX: usize = 16;

/// `IFLA_BOND_MIIMON`.
const MIIMON: u16 = 3;
/// `IFLA_BOND_ARP_INTERVAL`.
const ARP_INTERVAL: u16 = 7;
/// In milliseconds, what Linux itself takes for the modes that cannot do without (`BOND_DEFAULT_MIIMON`).
const MIIMON_DEFAULT: u32 = 100;
/// `IFLA_BOND_UPDELAY`, `IFLA_BOND_DOWNDELAY` and `IFLA_BOND_PEER_NOTIF_DELAY`, which the kernel rounds to multiples of miimon.
const ROUNDED: [u16; 3] = [4, 5, 28];

#[derive(Clone, Copy)]
enum Form {
    Byte(u8, u8),
    Short(u16, u16),
    Number(u32, u32),
    /// The words of 0, 1, ...; 8 bits wide.
    Words(&'static [&'static str]),
    /// The same, 32 bits wide.
    WideWords(&'static [&'static str]),
    Mac,
    Addresses,
    /// The name of one of the interfaces.
    Part(When),
}

/// When a setting can be made that names a part of the bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// With the bond.
    First,
    /// When the part is one.
    Last,
}

const SWITCH: Form = Form::Words(&["off", "on"]);

const TABLE: [(&str, u16, Form); 29] = [
    ("active_slave", 2, Form::Part(When::Last)),
    ("miimon", MIIMON, Form::Number(0, INT_MAX)),
    ("updelay", 4, Form::Number(0, INT_MAX)),
    // Upstream's name for it.
    ("up_delay", 4, Form::Number(0, INT_MAX)),
    ("downdelay", 5, Form::Number(0, INT_MAX)),
    ("use_carrier", 6, SWITCH),
    ("arp_interval", ARP_INTERVAL, Form::Number(0, INT_MAX)),
    ("arp_ip_target", 8, Form::Addresses),
    (
        "arp_validate",
        9,
        Form::WideWords(&["none", "active", "backup", "all", "filter", "filter_active", "filter_backup"]),
    ),
    ("arp_all_targets", 10, Form::WideWords(&["any", "all"])),
    ("primary", 11, Form::Part(When::First)),
    ("primary_reselect", 12, Form::Words(&["always", "better", "failure"])),
    ("fail_over_mac", 13, Form::Words(&["none", "active", "follow"])),
    (
        "xmit_hash_policy",
        14,
        Form::Words(&["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"]),
    ),
    ("resend_igmp", 15, Form::Number(0, 255)),
    ("num_grat_arp", 16, Form::Byte(0, 255)),
    ("num_unsol_na", 16, Form::Byte(0, 255)),
    ("all_slaves_active", 17, SWITCH),
    ("min_links", 18, Form::Number(0, INT_MAX)),
    ("lp_interval", 19, Form::Number(1, INT_MAX)),
    ("packets_per_slave", 20, Form::Number(0, 65_535)),
    ("lacp_rate", 21, Form::Words(&["slow", "fast"])),
    ("ad_select", 22, Form::Words(&["stable", "bandwidth", "count"])),
    ("ad_actor_sys_prio", 24, Form::Short(1, 65_535)),
    ("ad_user_port_key", 25, Form::Short(0, 1023)),
    ("ad_actor_system", 26, Form::Mac),
    ("tlb_dynamic_lb", 27, SWITCH),
    ("peer_notif_delay", 28, Form::Number(0, 300_000)),
    ("lacp_active", 29, SWITCH),
];

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub(crate) name: &'static str,
    attribute: u16,
    value: Value,
    /// The value as it was written.
    pub(crate) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Plain(BondValue),
    /// One of the interfaces, whose number only the kernel knows.
    Part(String, When),
}

impl Setting {
    /// As the kernel takes it; `number` knows the interfaces.
    pub(crate) fn resolve(&self, number: impl FnOnce(&str) -> Option<u32>) -> Option<BondOption> {
        let value = match &self.value {
            Value::Plain(value) => value.clone(),
            Value::Part(name, _) => BondValue::Number(number(name)?),
        };
        Some(BondOption { attribute: self.attribute, value })
    }

    /// Whether a bond tells it as it was asked for: others round it, or change it while they work.
    pub(crate) fn is_kept(&self) -> bool {
        !ROUNDED.contains(&self.attribute) && !matches!(self.value, Value::Part(_, When::Last))
    }

    /// Whether it is made when the parts are in the bond.
    pub(crate) const fn is_last(&self) -> bool {
        matches!(self.value, Value::Part(_, When::Last))
    }
}

/// What is added when nobody says how the bond finds out that a part is dead: without, it never does.
pub(crate) fn monitoring(settings: &[Setting]) -> Option<Setting> {
    let is_said = settings.iter().any(|it| [MIIMON, ARP_INTERVAL].contains(&it.attribute));
    let value = Value::Plain(BondValue::Number(MIIMON_DEFAULT));
    let text = MIIMON_DEFAULT.to_string();
    (!is_said).then_some(Setting { name: "miimon", attribute: MIIMON, value, text })
}

/// Reads `KEY=VALUE;KEY=VALUE`. The error is why not, in words.
pub(crate) fn parse(text: &str, interfaces: &Interfaces) -> Result<Vec<Setting>, String> {
    let mut settings: Vec<Setting> = Vec::new();
    for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} lacks its \"=\""))?;
        let (key, value) = (key.trim(), value.trim());
        let setting = setting(key, value, interfaces)?;
        if let Some(other) = settings.iter().find(|it| it.attribute == setting.attribute) {
            return Err(format!("{key:?} and {:?} are the same setting, said twice", other.name));
        }
        settings.push(setting);
    }
    Ok(settings)
}

fn setting(key: &str, text: &str, interfaces: &Interfaces) -> Result<Setting, String> {
    if key == "mode" {
        return Err("\"mode\" is no option: it has a key of its own, bond.mode".to_owned());
    }
    let known = TABLE.iter().find(|(name, ..)| *name == key);
    let (name, attribute, form) = known.ok_or_else(|| {
        let mut all: Vec<_> = TABLE.iter().map(|(name, ..)| *name).collect();
        all.sort_unstable();
        format!("{key:?} is unknown; known are {}", all.join(", "))
    })?;
    let wrong = |must: String| format!("{name} must be {must}, and is {text:?}");
    let value = match form {
        Form::Byte(low, high) => BondValue::Byte(between(text, *low, *high).map_err(wrong)?),
        Form::Short(low, high) => BondValue::Short(between(text, *low, *high).map_err(wrong)?),
        Form::Number(low, high) => BondValue::Number(between(text, *low, *high).map_err(wrong)?),
        Form::Words(words) => BondValue::Byte(word(text, words).map_err(wrong)?),
        Form::WideWords(words) => BondValue::Number(word(text, words).map_err(wrong)?.into()),
        Form::Mac => BondValue::Mac(mac(text).ok_or_else(|| {
            wrong("a MAC address of one station, such as 02:00:00:00:00:01, with colons".to_owned())
        })?),
        Form::Addresses => BondValue::Addresses(addresses(text).ok_or_else(|| {
            wrong(format!("one to {ADDRESSES_MAX} different IPv4 addresses with commas between them"))
        })?),
        Form::Part(when) => {
            if !interfaces.iter().any(|it| it.as_str() == text) {
                return Err(wrong("one of \"interfaces\"".to_owned()));
            }
            let value = Value::Part(text.to_owned(), *when);
            return Ok(Setting { name, attribute: *attribute, value, text: text.to_owned() });
        }
    };
    Ok(Setting { name, attribute: *attribute, value: Value::Plain(value), text: text.to_owned() })
}

fn between<T: TryFrom<u64> + PartialOrd + Copy + std::fmt::Display>(
    text: &str,
    low: T,
    high: T,
) -> Result<T, String> {
    let number = digits(text).and_then(|number| T::try_from(number).ok());
    let number = number.filter(|number| *number >= low && *number <= high);
    number.ok_or_else(|| format!("a number from {low} to {high}"))
}

/// Numbers without a sign, which Rust's parser would take.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A word, or its number.
pub(crate) fn word(text: &str, words: &[&str]) -> Result<u8, String> {
    let by_number = digits(text).filter(|number| usize::try_from(*number).is_ok_and(|it| it < words.len()));
    let found = by_number.and_then(|number| u8::try_from(number).ok());
    let found = found.or_else(|| (0..).zip(words).find(|(_, word)| **word == text).map(|(at, _)| at));
    found.ok_or_else(|| {
        let all: Vec<_> = (0..words.len()).zip(words).map(|(at, word)| format!("{word} ({at})")).collect();
        format!("one of {}", all.join(", "))
    })
}

fn mac(text: &str) -> Option<Mac> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| {
            let fits = byte.len() == 2 && byte.bytes().all(|it| it.is_ascii_hexdigit());
            fits.then(|| u8::from_str_radix(byte, 16).ok())?
        })
        .collect::<Option<_>>()?;
    let bytes: [u8; 6] = bytes.try_into().ok()?;
    let [first, ..] = bytes;
    // A group's is none, and nor is nobody's.
    (first & 1 == 0 && bytes != [0; 6]).then_some(Mac(bytes))
}

/// With commas, as iproute2 takes them, or as the JSON list that upstream takes.
fn addresses(text: &str) -> Option<Vec<Ipv4Addr>> {
    let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let mut addresses: Vec<Ipv4Addr> = Vec::new();
    for address in list.split(',') {
        let address = address.trim().trim_matches('"').parse().ok()?;
        if addresses.contains(&address) {
            return None;
        }
        addresses.push(address);
    }
    (addresses.len() <= ADDRESSES_MAX).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interfaces() -> Interfaces {
        Interfaces::parse(&["eth1".to_owned(), "eth2".to_owned()]).unwrap()
    }

    fn read(text: &str) -> Result<Vec<BondOption>, String> {
        let number = |name: &str| Some(if name == "eth1" { 11 } else { 12 });
        let settings = parse(text, &interfaces())?;
        Ok(settings.iter().map(|setting| setting.resolve(number).unwrap()).collect())
    }

    #[test]
    fn settings_are_read_by_name_and_by_number() {
        use BondValue::{Addresses, Byte, Mac as MacOf, Number, Short};
        for (text, attribute, value) in [
            ("miimon=100", 3, Number(100)),
            (" updelay = 200 ;", 4, Number(200)),
            ("up_delay=200", 4, Number(200)),
            ("xmit_hash_policy=layer3+4", 14, Byte(1)),
            ("xmit_hash_policy=1", 14, Byte(1)),
            ("arp_validate=all", 9, Number(3)),
            ("lacp_rate=fast", 21, Byte(1)),
            ("use_carrier=on", 6, Byte(1)),
            ("use_carrier=0", 6, Byte(0)),
            ("ad_actor_sys_prio=65535", 24, Short(65_535)),
            ("ad_actor_system=02:00:00:00:00:0a", 26, MacOf(Mac([2, 0, 0, 0, 0, 10]))),
            (
                "arp_ip_target=10.0.0.1,10.0.0.2",
                8,
                Addresses(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]),
            ),
            (
                "arp_ip_target=[\"10.0.0.1\", \"10.0.0.2\"]",
                8,
                Addresses(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]),
            ),
            ("primary=eth2", 11, Number(12)),
            ("active_slave=eth1", 2, Number(11)),
        ] {
            assert_eq!(read(text), Ok(vec![BondOption { attribute, value }]), "{text}");
        }
        assert_eq!(read(""), Ok(Vec::new()));
        assert_eq!(read("miimon=100;lacp_rate=slow").unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_could_be() {
        for (text, words) in [
            ("speed=9", &["\"speed\" is unknown", "xmit_hash_policy"][..]),
            ("miimon", &["\"miimon\" lacks"]),
            ("miimon=", &["miimon must be a number from 0 to 2147483647"]),
            ("miimon=-1", &["miimon must be"]),
            ("miimon=+1", &["miimon must be"]),
            ("miimon=4294967296", &["miimon must be"]),
            ("lp_interval=0", &["a number from 1 to"]),
            ("ad_user_port_key=1024", &["from 0 to 1023"]),
            ("lacp_rate=quick", &["slow (0), fast (1)", "\"quick\""]),
            ("lacp_rate=2", &["slow (0), fast (1)"]),
            ("ad_actor_system=01:00:00:00:00:0a", &["MAC address of one station"]),
            ("ad_actor_system=00:00:00:00:00:00", &["MAC address"]),
            ("ad_actor_system=2:0:0:0:0:a", &["MAC address"]),
            ("arp_ip_target=fd00::1", &["IPv4"]),
            ("arp_ip_target=10.0.0.1,10.0.0.1", &["different"]),
            ("primary=eth9", &["one of \"interfaces\"", "eth9"]),
            ("mode=1", &["bond.mode"]),
            ("updelay=1;up_delay=2", &["said twice"]),
        ] {
            let message = read(text).unwrap_err();
            assert!(words.iter().all(|word| message.contains(word)), "{text}: {message}");
        }
    }

    #[test]
    fn a_bond_of_which_nobody_says_how_it_is_watched_is_watched() {
        for (text, adds) in
            [("", true), ("xmit_hash_policy=1", true), ("miimon=0", false), ("arp_interval=200", false)]
        {
            assert_eq!(monitoring(&parse(text, &interfaces()).unwrap()).is_some(), adds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z_0-9=;.,:\\[\\]\" +-]{0,40}") {
            if let Err(message) = read(&text) {
                prop_assert!(!message.is_empty());
            }
        }
    }
}
