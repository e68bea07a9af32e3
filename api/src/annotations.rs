//! The annotations of pods and namespaces that decide which pools serve a NIC, and which routes it brings.
//!
//! Nothing here fails as a whole: an annotation that cannot be read is kept as [`BadAnnotation`], and is an error only for
//! whoever needs it.

mod json;
mod networks;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::Family;
use model::select::{BadAnnotation, Given, Networks, NicPools, PodRoute, PoolNames, Wishes};
use serde_json::{Map, Value};

use json::{Fault, Spot};

/// Pod: pools for each NIC.
pub const IPPOOLS: &str = "ipam.spidernet.io/ippools";
/// Pod: pools for whichever NIC is being added.
pub const IPPOOL: &str = "ipam.spidernet.io/ippool";
/// Pod: further routes.
pub const ROUTES: &str = "ipam.spidernet.io/routes";
/// Pod: an automatic pool for each NIC.
pub const SUBNETS: &str = "ipam.spidernet.io/subnets";
/// Pod: an automatic pool for one NIC.
pub const SUBNET: &str = "ipam.spidernet.io/subnet";
/// Pod: the NIC that has the default route; the coordinator reads it.
pub const DEFAULT_ROUTE_NIC: &str = "ipam.spidernet.io/default-route-nic";
/// Namespace: IPv4 pools of its pods.
pub const DEFAULT_IPV4_IPPOOL: &str = "ipam.spidernet.io/default-ipv4-ippool";
/// Namespace: IPv6 pools of its pods.
pub const DEFAULT_IPV6_IPPOOL: &str = "ipam.spidernet.io/default-ipv6-ippool";
/// Pod, Multus: the network behind `eth0`.
pub const DEFAULT_NETWORK: &str = "v1.multus-cni.io/default-network";
/// Pod, Multus: the networks behind the further NICs.
pub const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// What a network is and where its parts may come from, for people.
const POOLS_SHAPE: &str = r#"expected {"ipv4": ["POOL", …], "ipv6": ["POOL", …]}"#;

/// Reads what a pod's annotations ask for.
///
/// `namespace` is the pod's: a network without a namespace is in it. `home` is Spiderpool's own: a default network without
/// a namespace is in that.
#[must_use]
pub fn pod(annotations: &BTreeMap<String, String>, namespace: &str, home: &str) -> Wishes {
    let text = |key: &str| annotations.get(key).map(String::as_str);
    let of_pod = Owner("the pod");
    let subnet = [SUBNETS, SUBNET].into_iter().find(|key| annotations.contains_key(*key));
    Wishes {
        ippools: of_pod.read(IPPOOLS, text(IPPOOLS), |text| nic_pools(&json::read(text)?)),
        ippool: of_pod.read(IPPOOL, text(IPPOOL), |text| some_pools(&Spot::top(&json::read(text)?))),
        routes: of_pod.read(ROUTES, text(ROUTES), |text| routes(&json::read(text)?)),
        networks: Networks {
            default: of_pod
                .read(DEFAULT_NETWORK, text(DEFAULT_NETWORK), |text| networks::default(text, home)),
            further: of_pod.read(NETWORKS, text(NETWORKS), |text| networks::further(text, namespace)),
        },
        subnet,
    }
}

/// Reads the default pools that a namespace's annotations name; none, and empty lists, are nothing given.
#[must_use]
pub fn namespace(annotations: &BTreeMap<String, String>) -> Given<PoolNames> {
    let of_namespace = Owner("the namespace");
    let list = |key: &str| {
        let text = annotations.get(key).map(String::as_str);
        of_namespace.read(key, text, |text| names(&Spot::top(&json::read(text)?))).transpose()
    };
    let both = || {
        Ok(PoolNames {
            v4: list(DEFAULT_IPV4_IPPOOL)?.unwrap_or_default(),
            v6: list(DEFAULT_IPV6_IPPOOL)?.unwrap_or_default(),
        })
    };
    match both() {
        Ok(names) if names.is_empty() => None,
        names => Some(names),
    }
}

/// Whose annotations are read.
struct Owner(&'static str);

impl Owner {
    /// Reads an annotation if it is there; white space alone is as good as nothing.
    fn read<T>(
        &self,
        key: &str,
        text: Option<&str>,
        read: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Given<T> {
        let text = text.filter(|text| !text.trim().is_empty())?;
        Some(read(text).map_err(|Fault { at, why }| BadAnnotation {
            annotation: key.to_owned(),
            owner: self.0,
            at,
            why,
        }))
    }
}

/// Reads the annotation `ippools`.
fn nic_pools(value: &Value) -> Result<Vec<NicPools>, Fault> {
    let top = Spot::top(value);
    let items: Vec<NicPools> = top
        .items("a list of {\"interface\", \"ipv4\", \"ipv6\"}")?
        .map(|spot| nic_item(&spot))
        .collect::<Result<_, _>>()?;
    if items.is_empty() {
        return Err(
            top.fault("the list is empty: name the pools of at least one NIC, or remove the annotation")
        );
    }
    let mut nics = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let Some(nic) = &item.nic else { continue };
        if !nics.insert(nic) {
            return Err(Fault::at(
                format!("at [{at}].interface"),
                format!("{nic:?} has an item already: one for each NIC"),
            ));
        }
    }
    if !nics.is_empty() && nics.len() < items.len() {
        let without = items.iter().position(|item| item.nic.is_none()).unwrap_or_default();
        return Err(Fault::at(
            format!("at [{without}]"),
            "it has no interface, and others have: name the interface in every item or in none".to_owned(),
        ));
    }
    Ok(items)
}

fn nic_item(spot: &Spot<'_>) -> Result<NicPools, Fault> {
    let object = spot
        .object(r#"{"interface": "NIC", "ipv4": ["POOL", …], "ipv6": ["POOL", …], "cleangateway": false}"#)?;
    let nic = match object.get("interface") {
        Some(spot) => Some(spot.text("the NIC's name")?).filter(|name| !name.is_empty()),
        None => None,
    };
    if let (Some(nic), Some(spot)) = (nic, object.get("interface")) {
        model::check_interface(nic).map_err(|error| spot.fault(error.to_string()))?;
    }
    let clean_gateway = object.get("cleangateway").map(|spot| spot.switch()).transpose()?;
    Ok(NicPools { nic: nic.map(str::to_owned), names: some_pools(spot)?, clean_gateway })
}

/// Reads an object with pools by family, at least one.
fn some_pools(spot: &Spot<'_>) -> Result<PoolNames, Fault> {
    let object = spot.object(r#"{"ipv4": ["POOL", …], "ipv6": ["POOL", …]}"#)?;
    let list =
        |key: &str| object.get(key).map(|spot| names(&spot)).transpose().map(Option::unwrap_or_default);
    let names = PoolNames { v4: list("ipv4")?, v6: list("ipv6")? };
    if names.is_empty() {
        return Err(spot.fault(format!("it names no pool: {POOLS_SHAPE}, one of both at least")));
    }
    Ok(names)
}

/// Reads a list of pool names.
fn names(spot: &Spot<'_>) -> Result<Vec<String>, Fault> {
    let name = |spot: Spot<'_>| match spot.text("a pool's name")? {
        "" => Err(spot.fault("the name of a pool is empty")),
        name => Ok(name.to_owned()),
    };
    spot.items("a list of pool names, [\"POOL\", …]")?.map(name).collect()
}

/// Reads the annotation `routes`.
fn routes(value: &Value) -> Result<Vec<PodRoute>, Fault> {
    let route = |spot: Spot<'_>| {
        let object = spot.object(r#"{"dst": "CIDR", "gw": "ADDRESS"}"#)?;
        let part = |key: &str| {
            object.get(key).ok_or_else(|| {
                spot.fault(format!("it has no {key}: expected {{\"dst\": \"CIDR\", \"gw\": \"ADDRESS\"}}"))
            })
        };
        let (to, via) = (part("dst")?, part("gw")?);
        let dst: IpNet = to.parsed("a block of addresses such as 10.0.0.0/16")?;
        let gw: IpAddr = via.parsed("an address such as 192.168.0.1")?;
        if Family::of(dst.addr()) != Family::of(gw) {
            return Err(spot.fault("dst and gw are of different families"));
        }
        Ok(PodRoute { dst: dst.trunc(), gw })
    };
    Spot::top(value).items("a list of {\"dst\": \"CIDR\", \"gw\": \"ADDRESS\"}")?.map(route).collect()
}

/// The keys of an object; Go, which reads them upstream, takes them in any case.
fn key_of<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let same = |(own, _): &(&'a String, &'a Value)| own.eq_ignore_ascii_case(key);
    object
        .get(key)
        .or_else(|| object.iter().find(same).map(|(_, value)| value))
        .filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests;
