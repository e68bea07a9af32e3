//! A network interface as a cloud knows it, and the identifiers around it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address_set::AddressSet;

/// Declares a newtype over the text of an identifier: compared and printed as is, never looked into.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the identifier's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<S: Into<String>> From<S> for $name {
            fn from(text: S) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier! {
    /// The cloud's name of a virtual machine: `i-bp1…`; for the static provider, the node's name.
    InstanceId
}
identifier! {
    /// The cloud's name of a NIC: `eni-…`; for the static provider, `node/interface`.
    NicId
}
identifier! {
    /// The cloud's name of a subnet: `vsw-…` on Alibaba Cloud; for the static provider, its CIDR.
    SubnetId
}
identifier! {
    /// The name of a provider in the configuration: unique in the cluster, recorded on everything it creates.
    ProviderName
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<String> = self.0.iter().map(|octet| format!("{octet:02x}")).collect();
        f.write_str(&text.join(":"))
    }
}

/// A text that is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address like 00:16:3e:0a:00:01")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let hex = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(hex).ok_or_else(error)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self(octets))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What pods may do with a NIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NicUse {
    /// Its secondary addresses belong to pods.
    Pods,
    /// It is somebody else's: the reason, for people to read (`tag unmanaged=true`, `type Trunk`, …). Pools that it had
    /// drain.
    LeftAlone(String),
    /// It is in between, or not fully shown: the reason, for people to read (`status Detaching`, …). Pools that it has
    /// stay as they are, and none is made.
    Unclear(String),
}

/// One NIC of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nic {
    /// The cloud's identifier.
    pub id: NicId,
    /// Its Ethernet address; ipvlan children share it. `None` only where the source has none (static).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its position in the instance: 0 is the primary NIC. `None` when the cloud does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The interface's name in the guest, where the source knows it (static); otherwise it is made from `index`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The subnet it is attached to; a key of [`Inventory::subnets`](crate::Inventory::subnets).
    pub subnet: SubnetId,
    /// The addresses that are the node's own and never a pod's, as far as the cloud marks them.
    #[serde(default)]
    pub primary: Vec<IpAddr>,
    /// The addresses that the cloud forwards for this NIC beside the primary ones: secondary addresses and whole
    /// delegated prefixes, both families.
    #[serde(default)]
    pub addresses: AddressSet,
    /// Whether pods may use it.
    pub use_: NicUse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_round_trips_in_lower_case() {
        assert_eq!("00:16:3E:0a:00:01".parse::<Mac>().unwrap().to_string(), "00:16:3e:0a:00:01");
    }

    #[test]
    fn what_is_no_mac_is_refused() {
        for text in [
            "",
            "00:16:3e:0a:00",
            "00:16:3e:0a:00:01:02",
            "0:16:3e:0a:00:01",
            "+0:16:3e:0a:00:01",
            "zz:16:3e:0a:00:01",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
